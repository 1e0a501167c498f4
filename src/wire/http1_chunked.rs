//! Decodes chunked bodies in place, as they arrive.
//!
//! In: the bytes of a body as read, in any cut. Out: the payload, moved together at the front of
//! the same buffer. Never: allocates, keeps bytes, or passes on chunk extensions and trailers
//! (both are checked against limits and dropped). Bare LF, a bare CR, blanks around the size and
//! sizes beyond 64 bits are refused: each is a way to make two servers disagree about where a
//! message ends. RFC 9112 §7.1.

use crate::wire::http1::Refusal;
use crate::wire::http1_write::is_token_byte;

/// Longest chunk-size line and longest trailer line, without its line end.
const LINE_BYTES: u32 = 4096;
/// All trailer lines together.
const TRAILER_BYTES: u32 = 16_384;

/// The decoder of one body.
///
/// | state | awaits | then |
/// |---|---|---|
/// | Size | hex digits, `;` or CR | Extension, SizeLf |
/// | Extension | anything up to CR | SizeLf |
/// | SizeLf | LF | Data, or TrailerLine after the chunk of size 0 |
/// | Data | payload | DataCr, DataLf, Size |
/// | TrailerLine | a name's first byte, or CR | TrailerName, LastLf |
/// | TrailerName, TrailerValue, TrailerLf | one field line | TrailerLine |
/// | LastLf | LF | Done |
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    /// Payload bytes of the current chunk: as read so far, then as still to come.
    left: u64,
    digits: u32,
    line: u32,
    trailers: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// What one call of [`Chunked::decode`] did to its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the buffer that belonged to the body. All of them, unless the body ended: what
    /// stands behind is the next message, and was left where it is.
    pub consumed: usize,
    /// Payload bytes, now at the front of the buffer.
    pub produced: usize,
    /// The body has ended, trailers and all.
    pub done: bool,
}

impl Chunked {
    /// Decodes `buf` in place.
    ///
    /// # Errors
    /// 400 and close if the framing is broken or a limit is passed; the body can't be resumed.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Progress, Refusal> {
        let mut read = 0;
        let mut produced = 0;
        while self.state != State::Done {
            if self.state == State::Data {
                let there = buf.len() - read;
                let part = usize::try_from(self.left).map_or(there, |left| left.min(there));
                if read != produced {
                    buf.copy_within(read..read + part, produced);
                }
                read += part;
                produced += part;
                self.left -= part as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            }
            let Some(&byte) = buf.get(read) else { break };
            self.state = self.framing(byte)?;
            read += 1;
        }
        Ok(Progress { consumed: read, produced, done: self.state == State::Done })
    }

    /// Whether the whole body has been decoded.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes one byte that is not payload, and gives the next state.
    fn framing(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (State::Size, b';') if self.digits > 0 => Ok(State::Extension),
            (State::Size, _) => self.size_digit(byte),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, _) => self.text(byte, State::Extension),
            (State::SizeLf, b'\n') => {
                self.line = 0;
                self.digits = 0;
                Ok(if self.left == 0 { State::TrailerLine } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::TrailerLine, b'\r') => Ok(State::LastLf),
            (State::TrailerLine | State::TrailerName, _) if is_token_byte(byte) => {
                self.text(byte, State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerName, b':') | (State::TrailerValue, _) => {
                self.text(byte, State::TrailerValue)
            }
            (State::TrailerLf, b'\n') => {
                self.line = 0;
                Ok(State::TrailerLine)
            }
            (State::LastLf, b'\n') => Ok(State::Done),
            (State::SizeLf | State::TrailerLf | State::LastLf, _) => {
                Err(Refusal::bad("a CR without LF in chunk framing"))
            }
            (State::DataCr | State::DataLf, _) => {
                Err(Refusal::bad("a chunk is longer than its size says"))
            }
            _ => Err(Refusal::bad("a trailer line is no header")),
        }
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, Refusal> {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(Refusal::bad("a chunk size is not hexadecimal"));
        };
        if self.digits == 0 {
            self.left = 0;
        }
        self.digits += 1;
        if self.digits > 16 {
            return Err(Refusal::bad("a chunk size is too large"));
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// Counts a byte of an extension or a trailer against the limits.
    fn text(&mut self, byte: u8, next: State) -> Result<State, Refusal> {
        if (byte < 0x20 && byte != b'\t') || byte == 0x7f {
            return Err(Refusal::bad("a control byte in chunk framing"));
        }
        self.line += 1;
        if self.line > LINE_BYTES {
            return Err(Refusal::bad("a chunk line is too long"));
        }
        if next != State::Extension {
            self.trailers += 1;
            if self.trailers > TRAILER_BYTES {
                return Err(Refusal::bad("the trailers are too long"));
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire` in reads of `step` bytes: the payload, and what stood behind the body.
    fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Refusal> {
        let mut chunked = Chunked::default();
        let mut payload = Vec::new();
        for (nth, read) in wire.chunks(step).enumerate() {
            let mut read = read.to_vec();
            let progress = chunked.decode(&mut read)?;
            payload.extend_from_slice(&read[..progress.produced]);
            if progress.done {
                let mut behind = read[progress.consumed..].to_vec();
                behind.extend_from_slice(&wire[wire.len().min((nth + 1) * step)..]);
                return Ok((payload, behind, true));
            }
            assert_eq!(progress.consumed, read.len());
        }
        Ok((payload, Vec::new(), false))
    }

    #[test]
    fn a_body_decodes_alike_in_every_cut() {
        let wire = b"4;name=\"v\"\r\nWiki\r\n0006\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nx-sum: 1\r\nY:\r\n\r\nGET /next";
        for step in 1..=wire.len() {
            let (payload, behind, done) = decode(wire, step).unwrap();
            assert!(done);
            assert_eq!(payload, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(behind, b"GET /next", "{step}");
        }
    }

    #[test]
    fn a_cut_body_is_never_done() {
        let wire = b"4\r\nWiki\r\n0\r\n\r\n";
        for len in 0..wire.len() {
            assert!(!decode(&wire[..len], 3).unwrap().2, "{len}");
        }
        assert!(decode(wire, 3).unwrap().2);
    }

    #[test]
    fn broken_framing_is_refused() {
        let wires: [&[u8]; 22] = [
            b"4\nWiki\r\n0\r\n\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWiki!\r\n0\r\n\r\n",
            b"4\r\nWiki\r\n0\n\n",
            b"4\r\nWiki\r\n0\r\n\n",
            b"4 \r\nWiki\r\n",
            b" 4\r\nWiki\r\n",
            b"+4\r\nWiki\r\n",
            b"-1\r\n",
            b"0x4\r\nWiki\r\n",
            b"g\r\n",
            b"\r\n",
            b";a\r\n",
            b"10000000000000000\r\n",
            b"00000000000000001\r\n",
            b"4;a\nWiki\r\n",
            b"4;a\rb\r\nWiki\r\n",
            b"4;\0\r\nWiki\r\n",
            b"0\r\n a: folded\r\n\r\n",
            b"0\r\nname : v\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\na: \x01\r\n\r\n",
        ];
        for wire in wires {
            for step in [1, wire.len()] {
                let refusal = decode(wire, step).expect_err(&String::from_utf8_lossy(wire));
                assert!(refusal.status == 400 && refusal.close);
            }
        }
    }

    #[test]
    fn extensions_and_trailers_have_limits() {
        let line = |extension: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(extension));
        assert!(decode(line(4096).as_bytes(), 100).unwrap().2);
        assert_eq!(
            decode(line(4097).as_bytes(), 100).unwrap_err().reason,
            "a chunk line is too long"
        );
        let trailers = |count: usize| format!("0\r\n{}\r\n", "name: value12345\r\n".repeat(count));
        assert!(decode(trailers(1024).as_bytes(), 100).unwrap().2);
        assert_eq!(
            decode(trailers(1025).as_bytes(), 100).unwrap_err().reason,
            "the trailers are too long"
        );
    }

    #[test]
    fn many_chunks_do_not_add_up_to_a_limit() {
        let wire = format!("{}0\r\n\r\n", "1;ext=1\r\nx\r\n".repeat(10_000));
        let (payload, _, done) = decode(wire.as_bytes(), 4096).unwrap();
        assert!(done && payload.len() == 10_000);
    }

    proptest::proptest! {
        #[test]
        fn any_payload_comes_back(parts: Vec<Vec<u8>>, step in 1_usize..50) {
            let mut wire = Vec::new();
            for part in parts.iter().filter(|part| !part.is_empty()) {
                let (prefix, used) = crate::wire::http1_write::chunk_prefix(part.len());
                wire.extend_from_slice(&prefix[..used]);
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (payload, behind, done) = decode(&wire, step).unwrap();
            proptest::prop_assert!(done && behind.is_empty());
            proptest::prop_assert_eq!(payload, parts.concat());
        }
    }
}
