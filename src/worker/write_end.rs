//! The writing end of a connected socket: through the ring, or at once.
//!
//! In: owned buffers for the ring, borrowed bytes for [`WriteEnd::send_now`]. Out: how much the kernel
//! took. A write through the ring is submitted together with others and costs the least where many
//! connections are busy; a lone small piece of a stream is cheaper sent at once: no operation to
//! keep, no completion to wake for. Never: blocks; writes to a socket that is no longer its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use monoio::buf::IoBuf;
use monoio::io::{AsyncWriteRent, AsyncWriteRentExt, OwnedWriteHalf};
use monoio::net::TcpStream;
use rustix::net::SendFlags;

/// Owns the writing half, and with it its share of the socket.
#[derive(Debug)]
pub struct WriteEnd {
    half: OwnedWriteHalf<TcpStream>,
    /// The number of the socket that `half` keeps open.
    socket: RawFd,
}

impl WriteEnd {
    /// Splits a stream; gives the reading half beside.
    pub fn split(stream: TcpStream) -> (monoio::io::OwnedReadHalf<TcpStream>, Self) {
        let socket = stream.as_raw_fd();
        let (reader, half) = monoio::io::Splitable::into_split(stream);
        (reader, Self { half, socket })
    }

    /// Writes all of `buf` through the ring.
    pub async fn write_all<B: IoBuf + 'static>(&mut self, buf: B) -> (io::Result<()>, B) {
        let (result, buf) = self.half.write_all(buf).await;
        (result.map(drop), buf)
    }

    /// Sends what the socket takes without waiting, and says how much that was; 0 if it is full.
    /// No write through the ring may be under way.
    #[expect(unsafe_code, reason = "a socket is borrowed by its number")]
    pub fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: `half` keeps the socket open for as long as `self` lives, and nothing else
        // closes it; the number was the socket's own when the two were split.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) };
        match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that nothing more comes.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
