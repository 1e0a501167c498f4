//! Splits server-sent events out of reads of any size.
//!
//! In: the bytes of an event stream, as they come. Out: each event's name and data, borrowed from
//! the read when the event lies whole in it. Never: copies more than the part of an event that a
//! read ends in, waits for more than the event's end, or passes on comments and unknown fields.
//! WHATWG HTML §9.2.6; but an event that the end of the stream cuts off is given, too (providers
//! leave the last blank line out).

use crate::wire::frames::Frame;

/// Why a stream can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// One event is larger than the limit, in bytes.
    #[error("a stream event is larger than {0} bytes")]
    Oversized(usize),
    /// A name or data is not UTF-8.
    #[error("a stream event is not UTF-8")]
    NotUtf8,
}

/// Reads one stream.
#[derive(Debug)]
pub struct Splitter {
    max_event_bytes: usize,
    /// The event that the last read ended in, from its first line on.
    partial: Vec<u8>,
    event: Event,
}

/// The event being read. Offsets count from its first byte, in the read or in the partial copy.
#[derive(Debug, Default)]
struct Event {
    /// Where the current line starts.
    line: usize,
    /// Bytes that hold no line end but those seen.
    seen: usize,
    name: Option<(usize, usize)>,
    data: Option<(usize, usize)>,
    /// All data lines, if there are several.
    joined: Vec<u8>,
    several: bool,
    /// The byte before was a CR: a LF here belongs to it.
    after_cr: bool,
    /// Not the stream's first line: a byte order mark can't stand here.
    begun: bool,
}

impl Splitter {
    /// A splitter that refuses events (and runs of lines without a blank one) above the limit.
    pub fn new(max_event_bytes: usize) -> Self {
        Self { max_event_bytes, partial: Vec::new(), event: Event::default() }
    }

    /// Takes the next bytes, and gives each event that they complete to `each`.
    ///
    /// # Errors
    /// [`Malformed`]; the events before it were given, and the stream can't be read on.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let mut rest = bytes;
        if !self.partial.is_empty() {
            rest = self.complete(bytes, each)?;
        }
        while !rest.is_empty() {
            let Some(end) = self.event.read(rest) else {
                let from = self.event.forget_ignored();
                return self.keep(rest.get(from..).unwrap_or_default());
            };
            self.dispatch(rest.get(..end).unwrap_or_default(), each)?;
            rest = rest.get(end..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes the end of the stream: an event that lacks its blank line is given to `each`.
    ///
    /// # Errors
    /// As [`Splitter::feed`].
    pub fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let partial = std::mem::take(&mut self.partial);
        if self.event.line < partial.len() {
            self.event.field(&partial, partial.len());
        }
        self.dispatch(&partial, each)
    }

    /// Whether the bytes so far end between two events: other lines may be put into the stream.
    pub fn at_boundary(&self) -> bool {
        self.partial.is_empty()
    }

    /// Adds lines to the partial event until it is whole; gives the bytes behind it.
    fn complete<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut dyn FnMut(Frame<'_>),
    ) -> Result<&'b [u8], Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = memchr::memchr2(b'\n', b'\r', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at_checked(line).unwrap_or_default();
            rest = behind;
            self.keep(line)?;
            if let Some(end) = self.event.read(&self.partial) {
                let mut partial = std::mem::take(&mut self.partial);
                self.dispatch(partial.get(..end).unwrap_or_default(), each)?;
                partial.clear();
                self.partial = partial;
                return Ok(rest);
            }
            let ignored = self.event.forget_ignored();
            if ignored > 0 {
                self.partial.drain(..ignored);
            }
            if self.partial.is_empty() {
                return Ok(rest);
            }
        }
        Ok(rest)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.partial.len() + bytes.len() > self.max_event_bytes {
            return Err(Malformed::Oversized(self.max_event_bytes));
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives the event that `bytes` is, if it has data, and begins the next one.
    fn dispatch(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let event = &mut self.event;
        let (name, data) = (event.name.take(), event.data.take());
        let several = std::mem::take(&mut event.several);
        (event.line, event.seen) = (0, 0);
        let Some(data) = data else { return Ok(()) };
        if bytes.len() > self.max_event_bytes {
            return Err(Malformed::Oversized(self.max_event_bytes));
        }
        let data = if several { Some(&event.joined[..]) } else { bytes.get(data.0..data.1) };
        let name = name.and_then(|(start, end)| bytes.get(start..end));
        let text = |raw| simdutf8::basic::from_utf8(raw).map_err(|_| Malformed::NotUtf8);
        let name = text(name.unwrap_or_default())?;
        each(Frame {
            name: (!name.is_empty()).then_some(name),
            exception: false,
            data: text(data.unwrap_or_default())?,
        });
        Ok(())
    }
}

impl Event {
    /// Reads on in the event's bytes; where it ends, if it does.
    fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            if std::mem::take(&mut self.after_cr) {
                match bytes.get(self.seen) {
                    Some(b'\n') => {
                        self.seen += 1;
                        self.line = self.seen;
                    }
                    Some(_) => {}
                    None => {
                        self.after_cr = true;
                        return None;
                    }
                }
            }
            let rest = bytes.get(self.seen..)?;
            let Some(length) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.seen = bytes.len();
                return None;
            };
            let end = self.seen + length;
            self.after_cr = bytes.get(end) == Some(&b'\r');
            self.seen = end + 1;
            let blank = self.field(bytes, end);
            self.line = self.seen;
            if blank {
                return Some(self.seen);
            }
        }
    }

    /// Takes the line that ends at `end`; whether it is blank.
    fn field(&mut self, bytes: &[u8], end: usize) -> bool {
        if !std::mem::replace(&mut self.begun, true)
            && bytes.get(self.line..end).is_some_and(|line| line.starts_with(b"\xef\xbb\xbf"))
        {
            self.line += 3;
        }
        let line = bytes.get(self.line..end).unwrap_or_default();
        if let Some(value) = line.strip_prefix(b"data").and_then(value) {
            let start = end - value.len();
            match self.data {
                None => self.data = Some((start, end)),
                Some((first, last)) => {
                    if !std::mem::replace(&mut self.several, true) {
                        self.joined.clear();
                        self.joined.extend_from_slice(bytes.get(first..last).unwrap_or_default());
                    }
                    self.joined.push(b'\n');
                    self.joined.extend_from_slice(value);
                }
            }
        } else if let Some(value) = line.strip_prefix(b"event").and_then(value) {
            self.name = Some((end - value.len(), end));
        }
        line.is_empty()
    }

    /// Moves the event's start behind lines that say nothing: how many bytes those are.
    fn forget_ignored(&mut self) -> usize {
        if self.name.is_some() || self.data.is_some() {
            return 0;
        }
        self.seen -= self.line;
        std::mem::take(&mut self.line)
    }
}

/// A field's value, given what follows its name: none if the name goes on.
fn value(after_name: &[u8]) -> Option<&[u8]> {
    match after_name {
        [] => Some(after_name),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}
