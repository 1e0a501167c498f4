//! Writes the frames of a streamed answer in the framing that the client's language uses.
//!
//! In: an event name and its JSON, written piece by piece into [`Frames::json`]. Out: finished
//! frames, ready for the socket, in [`Frames::take`]. Never: flushes, waits or holds a finished
//! frame back; the caller writes out after each input.

use super::aws_event_stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How frames are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// `application/vnd.amazon.eventstream`.
    AwsEventStream,
    /// The same with every JSON in a `chunk` event, as base64 (Bedrock's invoke with stream).
    AwsInvokeChunks,
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
    /// Where the frame being written starts (AWS framing patches its lengths at the end), or its
    /// JSON (server-sent events).
    begun: usize,
    /// Where the JSON of the chunk being written starts, to be put into base64 at the end.
    chunk: Option<usize>,
    scratch: Vec<u8>,
}

/// An event type that no AWS SDK knows, and so passes over.
const HEARTBEAT: &str = "heartbeat";

impl Frames {
    pub fn new(framing: Framing) -> Self {
        Self { framing, buf: Vec::new(), begun: 0, chunk: None, scratch: Vec::new() }
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
                self.begun = self.buf.len();
            }
            Framing::AwsEventStream => {
                aws_event_stream::begin(&mut self.buf, "event", name.unwrap_or_default());
            }
            Framing::AwsInvokeChunks => {
                aws_event_stream::begin(&mut self.buf, "event", "chunk");
                self.chunk = Some(self.buf.len());
            }
        }
        &mut self.buf
    }

    /// Begins the frame that ends a stream in an error called `name` (`throttlingException`); its
    /// JSON follows, then [`Frames::end`]. Server-sent events have no such frame: an event `error`.
    pub fn exception(&mut self, name: &str) -> &mut Vec<u8> {
        match self.framing {
            Framing::Sse => self.begin(Some("error")),
            Framing::AwsEventStream | Framing::AwsInvokeChunks => {
                self.begun = self.buf.len();
                aws_event_stream::begin(&mut self.buf, "exception", name);
                &mut self.buf
            }
        }
    }

    /// The buffer that the frame's JSON is appended to, between `begin` and `end`.
    pub fn json(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    pub fn end(&mut self) {
        match self.framing {
            Framing::Sse => {
                self.unbreak();
                self.buf.extend_from_slice(b"\n\n");
            }
            Framing::AwsEventStream => aws_event_stream::end(&mut self.buf, self.begun),
            Framing::AwsInvokeChunks => {
                if let Some(start) = self.chunk.take() {
                    if self.buf.get(start..) == Some(b"[DONE]") {
                        // The end mark of OpenAI's events is no JSON; here the bytes end.
                        self.buf.truncate(self.begun);
                        return;
                    }
                    self.wrap(start);
                }
                aws_event_stream::end(&mut self.buf, self.begun);
            }
        }
    }

    /// A frame that every client of the framing ignores, to keep a quiet stream alive.
    pub fn heartbeat(&mut self) {
        match self.framing {
            Framing::Sse => self.buf.extend_from_slice(b": ka\n\n"),
            Framing::AwsEventStream | Framing::AwsInvokeChunks => {
                let begun = self.buf.len();
                aws_event_stream::begin(&mut self.buf, "event", HEARTBEAT);
                self.buf.extend_from_slice(b"{}");
                aws_event_stream::end(&mut self.buf, begun);
            }
        }
    }

    /// A raw value may come with line breaks between its members, which would end the line: in
    /// JSON they are white space, so they become blanks.
    fn unbreak(&mut self) {
        let Some(data) = self.buf.get_mut(self.begun..) else { return };
        let mut rest = data;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (_, from) = rest.split_at_mut(at);
            let Some((byte, after)) = from.split_first_mut() else { return };
            *byte = b' ';
            rest = after;
        }
    }

    /// Puts the JSON from `start` on into `{"bytes": base64}`.
    fn wrap(&mut self, start: usize) {
        self.scratch.clear();
        self.scratch.extend(self.buf.drain(start..));
        self.buf.extend_from_slice(b"{\"bytes\":\"");
        let at = self.buf.len();
        let len = base64::encoded_len(self.scratch.len(), true).unwrap_or_default();
        self.buf.resize(at + len, b'=');
        if let Some(place) = self.buf.get_mut(at..) {
            // The place has the exact length, so this cannot fail.
            let _ = STANDARD.encode_slice(&self.scratch, place);
        }
        self.buf.extend_from_slice(b"\"}");
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
