//! Splits server-sent events out of reads of any size.
//!
//! In: the bytes of an event stream, as they come. Out: each event's name and data, borrowed from
//! the read when the event lies whole in it. Never: copies more than the part of an event that a
//! read ends in, waits for more than the event's end, or passes on comments and unknown fields.
//! WHATWG HTML §9.2.6; but an event that the end of the stream cuts off is given, too (providers
//! leave the last blank line out).

use crate::wire::frames::Frame;

/// Buffers above this are given back after the event that needed them.
const KEPT_BYTES: usize = 16 * 1024;

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
    /// What the stream failed with; it is not read on then.
    failed: Option<Malformed>,
}

/// The event being read. Offsets count from its first byte, in the read or in the partial copy.
#[derive(Debug, Default)]
struct Event {
    /// Where the current line starts.
    line: usize,
    /// Bytes that hold no line end but those seen.
    seen: usize,
    /// Where the first line that says something starts, once there is one.
    from: usize,
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
        Self { max_event_bytes, partial: Vec::new(), event: Event::default(), failed: None }
    }

    /// Takes the next bytes, and gives each event that they complete to `each`.
    ///
    /// # Errors
    /// [`Malformed`], from then on for good; the events before it were given.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let outcome = self.read(bytes, each);
        self.failed = outcome.err();
        outcome
    }

    /// Takes the end of the stream: an event that lacks its blank line is given to `each`.
    ///
    /// # Errors
    /// As [`Splitter::feed`].
    pub fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
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

    fn read(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
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
                if partial.capacity() <= KEPT_BYTES {
                    partial.clear();
                    self.partial = partial;
                }
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
        let from = event.from;
        (event.line, event.seen, event.from) = (0, 0, 0);
        let Some(data) = data else { return Ok(()) };
        if bytes.len() - from > self.max_event_bytes {
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
        if several && event.joined.capacity() > KEPT_BYTES {
            event.joined = Vec::new();
        }
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
        if self.says_nothing() {
            self.from = self.line;
        }
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

    /// Moves the event's start behind the lines that say nothing: how many bytes those are.
    fn forget_ignored(&mut self) -> usize {
        let from = if self.says_nothing() { self.line } else { self.from };
        if from > 0 {
            self.line -= from;
            self.seen -= from;
            self.from = 0;
            for (start, end) in [&mut self.name, &mut self.data].into_iter().flatten() {
                *start -= from;
                *end -= from;
            }
        }
        from
    }

    fn says_nothing(&self) -> bool {
        self.name.is_none() && self.data.is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    type Events = Vec<(Option<String>, String)>;

    fn split<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> Result<Events, Malformed> {
        let mut events = Vec::new();
        let mut each = |frame: Frame<'_>| {
            assert!(!frame.exception);
            events.push((frame.name.map(str::to_owned), frame.data.to_owned()));
        };
        let mut splitter = Splitter::new(4096);
        for read in reads {
            splitter.feed(read, &mut each)?;
        }
        splitter.finish(&mut each)?;
        Ok(events)
    }

    fn events(pairs: &[(&str, &str)]) -> Events {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        pairs.iter().map(|(n, data)| (name(n), (*data).to_owned())).collect()
    }

    const SAMPLES: [(&str, &[(&str, &str)]); 10] = [
        (
            "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n\
             event: content_block_delta\ndata: {\"delta\":{\"text\":\"h\u{e9}llo \u{1f916}\"}}\n\n",
            &[
                ("message_start", "{\"type\":\"message_start\"}"),
                ("ping", "{\"type\": \"ping\"}"),
                ("content_block_delta", "{\"delta\":{\"text\":\"h\u{e9}llo \u{1f916}\"}}"),
            ],
        ),
        (
            "data: {\"choices\":[]}\n\n: OPENROUTER PROCESSING\n\ndata:{\"usage\":null}\n\ndata: [DONE]\n\n",
            &[("", "{\"choices\":[]}"), ("", "{\"usage\":null}"), ("", "[DONE]")],
        ),
        ("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", &[("a", "1"), ("", "2")]),
        ("event: a\rdata: 1\r\rdata: 2\r\r", &[("a", "1"), ("", "2")]),
        (
            "data: 1\r\n\ndata: 2\n\r\ndata: 3\n\rdata: 4\r\r\n",
            &[("", "1"), ("", "2"), ("", "3"), ("", "4")],
        ),
        ("\u{feff}data: 1\n\n\u{feff}data: 2\n\ndata: 3\n\n", &[("", "1"), ("", "3")]),
        (
            "data: one\nid: 7\ndata:  two \nretry: 10\ndata\n:data: no\ndata:three\n\n",
            &[("", "one\n two \n\nthree")],
        ),
        ("data\n\ndata:\n\ndata: \n\n", &[("", ""), ("", ""), ("", "")]),
        (
            "event: lost\n\nevent: first\nevent:second\ndatax: 1\n data: 2\nEvent: 3\ndata: x\n\nevent\ndata: y\n\n",
            &[("second", "x"), ("", "y")],
        ),
        ("\n\r\n\r: only\n: comments\n\n\n", &[]),
    ];

    #[test]
    fn samples_split_alike_wherever_they_are_cut() {
        for (stream, expected) in SAMPLES {
            let (stream, expected) = (stream.as_bytes(), events(expected));
            assert_eq!(split([stream]).unwrap(), expected);
            assert_eq!(split(stream.chunks(1)).unwrap(), expected, "one byte at a time");
            for first in 0..=stream.len() {
                let (head, tail) = stream.split_at(first);
                assert_eq!(split([head, tail]).unwrap(), expected, "cut at {first}");
                for second in first..=stream.len() {
                    let (middle, tail) = tail.split_at(second - first);
                    assert_eq!(split([head, middle, tail]).unwrap(), expected, "{first}, {second}");
                }
            }
        }
    }

    #[test]
    fn the_end_of_the_stream_ends_its_last_event() {
        for (stream, _) in SAMPLES {
            let whole = split([stream.as_bytes()]).unwrap();
            let bare = stream.trim_end_matches(['\n', '\r']).as_bytes();
            assert_eq!(split([bare]).unwrap(), whole);
            assert_eq!(split(bare.chunks(1)).unwrap(), whole);
        }
        assert_eq!(split([&b"event: a\n"[..]]).unwrap(), []);
    }

    #[test]
    fn an_event_is_given_as_soon_as_it_is_whole() {
        let mut splitter = Splitter::new(100);
        let mut given = 0;
        for (read, expected) in [
            ("data: 1\n", 0),
            ("\n", 1),
            ("data: 2\r", 1),
            ("\n\r", 2),
            ("\n", 2),
            ("data: 3\n\ndata: 4\n\nda", 4),
            ("ta: 5\n\n: x", 5),
        ] {
            splitter.feed(read.as_bytes(), &mut |_| given += 1).unwrap();
            assert_eq!(given, expected, "{read:?}");
        }
    }

    #[test]
    fn a_heartbeat_fits_only_between_events() {
        let mut splitter = Splitter::new(100);
        assert!(splitter.at_boundary());
        for (read, boundary) in [
            ("event: a\n", false),
            ("data: 1\n", false),
            ("\n", true),
            (": ping\n", true),
            ("\n", true),
            (": pi", false),
            ("ng\n", true),
            ("id: 1\n", true),
            ("data: 1\r", false),
            ("\n\r", true),
            ("\n", true),
            ("data: 1\n\nd", false),
            ("ata: 2\n\n", true),
        ] {
            splitter.feed(read.as_bytes(), &mut |_| ()).unwrap();
            assert_eq!(splitter.at_boundary(), boundary, "{read:?}");
        }
    }

    #[test]
    fn an_event_has_a_size_limit_and_a_stream_has_none() {
        let event = |size: usize| format!("data: {}\n\n", "x".repeat(size - 8));
        for step in [1, 7, 10_000] {
            assert_eq!(split(event(4096).as_bytes().chunks(step)).unwrap().len(), 1);
            let oversized = split(event(4097).as_bytes().chunks(step));
            assert_eq!(oversized, Err(Malformed::Oversized(4096)), "{step}");
            let endless = "x".repeat(5000);
            assert_eq!(split(endless.as_bytes().chunks(step)), Err(Malformed::Oversized(4096)));
            let quiet = ": keep-alive\n".repeat(2000) + "data: 1\n\n";
            assert_eq!(split(quiet.as_bytes().chunks(step)).unwrap().len(), 1);
        }
    }

    #[test]
    fn only_utf8_is_passed_on_and_events_before_it_are_not_lost() {
        for stream in [&b"data: 1\n\ndata: \xff\n\n"[..], b"data: 1\n\nevent: \xc3\ndata: 2\n\n"] {
            for step in [1, 100] {
                let mut splitter = Splitter::new(100);
                let mut given = 0;
                let outcome = stream
                    .chunks(step)
                    .try_for_each(|read| splitter.feed(read, &mut |_| given += 1));
                assert_eq!((outcome, given), (Err(Malformed::NotUtf8), 1));
                assert!(splitter.feed(b"data: 3\n\n", &mut |_| ()).is_err(), "it stays so");
                assert!(splitter.finish(&mut |_| ()).is_err());
            }
        }
        assert_eq!(split([&b": \xff\nid: \xff\ndata: 1\n\n"[..]]).unwrap().len(), 1);
    }
}
