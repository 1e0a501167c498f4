//! One TCP connection as a reading and a writing half, in the clear or under TLS.
//!
//! In and out: owned buffers, which travel into the kernel and come back. Never: drops a byte that
//! was read; a half that is dropped with an operation in flight leaves its buffer to the ring.

use std::io;
use std::rc::Rc;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, OwnedReadHalf};
use monoio::net::TcpStream;

use super::tls::Session;
use crate::worker::write_end::WriteEnd;

/// The reading half.
#[derive(Debug)]
pub enum Reader {
    Plain(OwnedReadHalf<TcpStream>),
    Tls { half: OwnedReadHalf<TcpStream>, session: Rc<Session>, sealed: Vec<u8> },
}

/// The writing half.
#[derive(Debug)]
pub enum Writer {
    Plain(WriteEnd),
    Tls { half: WriteEnd, session: Rc<Session> },
}

/// Sealed bytes read at once: one TLS record and its head.
const RECORD: usize = 16 * 1024 + 512;

/// Splits a connected socket, without delay on small writes.
pub fn split(stream: TcpStream) -> (Reader, Writer) {
    // Without it Nagle's algorithm holds events back; a socket that refuses is already dead.
    let _dead = stream.set_nodelay(true);
    let (reader, writer) = WriteEnd::split(stream);
    (Reader::Plain(reader), Writer::Plain(writer))
}

impl Reader {
    /// Whether both sides agreed on HTTP/2 in the TLS handshake.
    pub fn chose_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls { session, .. } => session.chose_http2(),
        }
    }

    /// Appends what arrives to `buf`, within its capacity. 0 bytes: the peer has closed.
    pub async fn read(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Self::Plain(half) => append(half, buf).await,
            Self::Tls { half, session, sealed } => read_sealed(half, session, sealed, buf).await,
        }
    }
}

async fn append(half: &mut OwnedReadHalf<TcpStream>, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    let (start, end) = (buf.len(), buf.capacity());
    let (result, slice) = half.read(buf.slice_mut(start..end)).await;
    (result, slice.into_inner())
}

async fn read_sealed(
    half: &mut OwnedReadHalf<TcpStream>,
    session: &Session,
    sealed: &mut Vec<u8>,
    mut buf: Vec<u8>,
) -> (io::Result<usize>, Vec<u8>) {
    loop {
        match session.open(&mut buf) {
            Ok(Some(count)) => return (Ok(count), buf),
            Ok(None) => {}
            Err(error) => return (Err(error), buf),
        }
        let mut raw = std::mem::take(sealed);
        raw.clear();
        raw.reserve(RECORD);
        let (result, raw) = append(half, raw).await;
        let fed = match result {
            Ok(_) => session.feed(&raw),
            Err(error) => Err(error),
        };
        *sealed = raw;
        if let Err(error) = fed {
            return (Err(error), buf);
        }
    }
}

impl Writer {
    /// Writes `buf` from `start` to its end; gives the buffer back.
    pub async fn write(&mut self, buf: Vec<u8>, start: usize) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Plain(half) => {
                let end = buf.len();
                let (result, slice) = half.write_all(buf.slice(start..end)).await;
                (result, slice.into_inner())
            }
            Self::Tls { half, session } => {
                let sealed = match session.seal(buf.get(start..).unwrap_or_default()) {
                    Ok(sealed) => sealed,
                    Err(error) => return (Err(error), buf),
                };
                (half.write_all(sealed).await.0, buf)
            }
        }
    }

    /// Sends what the socket takes without waiting, and says how much that was. None under TLS,
    /// where what is sealed has to be sent.
    pub fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.send_now(bytes),
            Self::Tls { .. } => Ok(0),
        }
    }

    /// Says that nothing more comes.
    pub async fn close(&mut self) {
        let last = match self {
            Self::Plain(half) => half.shutdown().await,
            Self::Tls { half, session } => {
                let goodbye = session.close();
                let _gone = half.write_all(goodbye).await;
                half.shutdown().await
            }
        };
        // The peer may have gone first.
        drop(last);
    }
}

/// Does the TLS handshake on a fresh connection; `session` knows its role.
pub async fn secure(
    reader: Reader,
    writer: Writer,
    session: Session,
) -> io::Result<(Reader, Writer)> {
    let (Reader::Plain(mut inner_reader), Writer::Plain(mut inner_writer)) = (reader, writer)
    else {
        return Err(io::Error::other("TLS inside TLS"));
    };
    let mut raw = Vec::with_capacity(RECORD);
    while session.handshaking() {
        let flight = session.pending()?;
        if !flight.is_empty() {
            inner_writer.write_all(flight).await.0?;
        }
        if !session.handshaking() {
            break;
        }
        raw.clear();
        let (result, read) = append(&mut inner_reader, raw).await;
        raw = read;
        if result? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed during the TLS handshake",
            ));
        }
        if let Err(error) = session.feed(&raw) {
            // The alert that says why.
            if let Ok(alert) = session.pending() {
                let _gone = inner_writer.write_all(alert).await;
            }
            return Err(error);
        }
    }
    let flight = session.pending()?;
    if !flight.is_empty() {
        inner_writer.write_all(flight).await.0?;
    }
    let session = Rc::new(session);
    Ok((
        Reader::Tls { half: inner_reader, session: Rc::clone(&session), sealed: raw },
        Writer::Tls { half: inner_writer, session },
    ))
}
