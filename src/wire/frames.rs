//! Writes the frames of a streamed answer in the framing that the client's language uses.
//!
//! In: an event name and its JSON, written piece by piece into [`Frames::json`]. Out: finished
//! frames, ready for the socket, in [`Frames::take`]. Never: flushes, waits or holds a finished
//! frame back; the caller writes out after each input.

/// How frames are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// `application/vnd.amazon.eventstream`.
    AwsEventStream,
}

/// One frame of a streamed answer as it came from an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The SSE `event:` line, the AWS `:event-type` or `:exception-type`.
    pub name: Option<&'a str>,
    /// AWS `:message-type` exception or error.
    pub exception: bool,
    /// The JSON (SSE `data:` lines joined by newlines; the AWS payload).
    pub data: &'a str,
}

/// A buffer of frames. One per streamed answer; its capacity is kept between events.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    buf: Vec<u8>,
    /// Where the frame being written starts (AWS framing patches its lengths at the end).
    begun: usize,
}

impl Frames {
    pub fn new(framing: Framing) -> Self {
        Self { framing, buf: Vec::new(), begun: 0 }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Begins a frame. SSE writes the `event:` line only when `name` is given.
    pub fn begin(&mut self, name: Option<&str>) -> &mut Vec<u8> {
        self.begun = self.buf.len();
        match self.framing {
            Framing::Sse => {
                if let Some(name) = name {
                    self.buf.extend_from_slice(b"event: ");
                    self.buf.extend_from_slice(name.as_bytes());
                    self.buf.push(b'\n');
                }
                self.buf.extend_from_slice(b"data: ");
            }
            Framing::AwsEventStream => {}
        }
        &mut self.buf
    }

    /// The buffer that the frame's JSON is appended to, between `begin` and `end`.
    pub fn json(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    pub fn end(&mut self) {
        match self.framing {
            Framing::Sse => self.buf.extend_from_slice(b"\n\n"),
            Framing::AwsEventStream => {}
        }
    }

    /// A frame that every client of the framing ignores, to keep a quiet stream alive.
    pub fn heartbeat(&mut self) {
        match self.framing {
            Framing::Sse => self.buf.extend_from_slice(b": ka\n\n"),
            Framing::AwsEventStream => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Forgets the finished bytes and keeps the buffer.
    pub fn clear(&mut self) {
        self.buf.clear();
    }

    /// Takes the finished bytes; `spare` becomes the next buffer.
    pub fn take(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.buf, spare)
    }
}
