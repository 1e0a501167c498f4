//! A request whose body goes upstream as it comes: forms and files, of any size.
//!
//! In: a parcel with the body's begin, the client that sends the rest. Out: the answer's head. One
//! piece is held at a time, whatever the body's size; a slow upstream slows the client. An upstream
//! that answers before it has everything is heard at once. Never: sends a body twice: what has left
//! cannot be sent to anybody else.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::Core;
use super::exchange::{self, Answer, Halt, Parcel, late};
use super::failure::{Failure, Whose};
use crate::chat::ErrorKind;
use crate::net::client_conn::{BodyFault, ClientConn, Incoming, Interrupt};
use crate::net::upstream::{HEADROOM, READ, UpstreamConn};
use crate::provider::{Origin, Provider};
use crate::wire::http1::{self, BodyKind};

/// How long an upstream that takes no more may need to say why.
const LAST_WORD: std::time::Duration = std::time::Duration::from_secs(2);

/// Sends `parcel` and the rest of the client's body behind it, and waits for the answer's head.
///
/// # Errors
/// [`Halt::Gone`], or the [`Failure`] of whoever broke off.
pub async fn send(
    core: &Core,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    (provider, origin): (&Provider, &Origin),
    parcel: &mut Parcel,
) -> Result<Answer, Halt> {
    // A pooled connection may turn out to be closed, and there would be nothing to send again.
    let mut conn = exchange::connect(core, client, provider, origin, true).await?;
    incoming.spent = true;
    let mut buf = core.buffers.take();
    buf.resize(HEADROOM, 0);
    let mut upload = Upload { provider, chunked: incoming.rest == BodyKind::Chunked, early: false };
    let (result, heard) = upload.run(client, &mut conn, parcel, buf).await?;
    incoming.rest = client.body_left();
    let nothing = heard.len() == HEADROOM;
    match result {
        Ok(()) => {}
        Err(_) if !nothing => {}
        Err(_) => {
            let what = "it closed the connection before it had the whole request";
            return Err(Failure::broken(&provider.name, what).into());
        }
    }
    let head = exchange::read_head(client, provider, conn, heard, parcel.head_only).await?;
    let mut answer = head.map_err(|broken| Halt::from(broken.failure(provider)))?;
    if upload.early {
        answer.spoil();
    }
    Ok(answer)
}

/// A body on its way.
struct Upload<'u> {
    provider: &'u Provider,
    chunked: bool,
    /// The upstream answered before it had everything.
    early: bool,
}

/// What the upstream said by the end of a body; an error: the connection broke.
type Heard = (std::io::Result<()>, Vec<u8>);

impl Upload<'_> {
    /// Sends everything, listening all the while.
    async fn run(
        &mut self,
        client: &mut ClientConn,
        conn: &mut UpstreamConn,
        parcel: &mut Parcel,
        buf: Vec<u8>,
    ) -> Result<Heard, Halt> {
        let Some((reader, writer)) = conn.halves() else {
            return Ok((Err(std::io::ErrorKind::NotConnected.into()), buf));
        };
        let network = &self.provider.network;
        let mut hearing = pin!(reader.read(buf));
        let mut out = std::mem::take(&mut parcel.head);
        self.frame(parcel.buf.get(parcel.start..).unwrap_or_default(), &mut out);
        let mut piece = Vec::with_capacity(4 * READ);
        let mut more = true;
        loop {
            let writing = pin!(writer.write(out, 0));
            let both = select(writing, hearing.as_mut());
            let done = client.guard(network.first_byte_timeout, both).await;
            let done = done.map_err(|why| late(self.provider, why, "it did not take the request"));
            out = match done? {
                Either::Left(((Ok(()), written), _)) => written,
                Either::Left(((Err(error), _), _)) => {
                    // Whoever closes early may have said why.
                    let last = client.guard(LAST_WORD, hearing).await;
                    self.early = true;
                    return match last {
                        Ok((_, heard)) => Ok((Err(error), heard)),
                        Err(Interrupt::Gone) => Err(Halt::Gone),
                        Err(Interrupt::Expired) => {
                            let what = "it closed the connection within the request";
                            Err(Failure::broken(&self.provider.name, what).into())
                        }
                    };
                }
                Either::Right((heard, _)) => return Ok(self.answered_early(heard)),
            };
            out.clear();
            if !more {
                break;
            }
            piece.clear();
            let received = {
                let receiving = pin!(client.read_body(&mut piece, network.idle_timeout));
                match select(receiving, hearing.as_mut()).await {
                    Either::Left((received, _)) => Ok(received),
                    Either::Right((heard, _)) => Err(heard),
                }
            };
            more = match received {
                Ok(received) => received.map_err(|why| fault(&why))?,
                Err(heard) => return Ok(self.answered_early(heard)),
            };
            if more {
                self.frame(&piece, &mut out);
            } else if self.chunked {
                out.extend_from_slice(http1::LAST_CHUNK);
            } else {
                break;
            }
        }
        let heard = client.guard(network.first_byte_timeout, hearing).await;
        let heard = heard.map_err(|why| late(self.provider, why, "it sent no answer"))?;
        Ok((heard.0.map(drop), heard.1))
    }

    fn answered_early(&mut self, (result, heard): (std::io::Result<usize>, Vec<u8>)) -> Heard {
        self.early = true;
        let nothing = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        (result.and_then(|count| if count > 0 { Ok(()) } else { Err(nothing()) }), heard)
    }

    fn frame(&self, payload: &[u8], out: &mut Vec<u8>) {
        if !self.chunked {
            out.extend_from_slice(payload);
        } else if !payload.is_empty() {
            let (prefix, used) = http1::chunk_prefix(payload.len());
            out.extend_from_slice(prefix.get(..used).unwrap_or_default());
            out.extend_from_slice(payload);
            out.extend_from_slice(http1::CHUNK_END);
        }
    }
}

/// What went wrong with the client's body, said to the client; its connection ends with it.
pub fn fault(fault: &BodyFault) -> Halt {
    let (status, kind, message) = match fault {
        BodyFault::Gone => return Halt::Gone,
        BodyFault::Late => (408, ErrorKind::Timeout, "the request body took too long"),
        BodyFault::Refused(refusal) => {
            (refusal.status, ErrorKind::of_status(refusal.status), refusal.reason)
        }
    };
    let mut failure = Failure::new(status, kind, Whose::Client, message);
    failure.close = true;
    failure.into()
}
