//! Splits and writes `application/vnd.amazon.eventstream` frames.
//!
//! In: an upstream's bytes, cut wherever the network cut them; or the parts of a frame to write.
//! Out: [`Frame`]s with their JSON as text, borrowed from the input where it holds them whole; or
//! finished bytes. Both checksums are verified and written. Never: keeps more than one frame, waits,
//! or reads a frame that is longer than the caller allows.
//!
//! A frame is: total length, length of the headers, CRC-32 of these eight bytes, the headers, the
//! payload, CRC-32 of all before; numbers are big-endian.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>

use super::frames::Frame;
use super::{json_read, json_write};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PRELUDE: usize = 12;
const TRAILER: usize = 4;
/// The most that the AWS SDKs accept.
const HEADERS_MAX: usize = 128 * 1024;

/// Which rule of the framing an upstream broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a frame of {0} bytes is longer than allowed")]
    TooLong(u32),
    #[error("a frame's lengths contradict each other")]
    Lengths,
    #[error("the checksum of a frame's lengths is wrong")]
    PreludeChecksum,
    #[error("the checksum of a frame is wrong")]
    Checksum,
    #[error("a frame's headers cannot be read")]
    Headers,
    #[error("a frame's payload is not UTF-8 text")]
    NotText,
    #[error("a chunk's bytes are not base64")]
    NotBase64,
}

/// What the payload of an event frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// The event's JSON (`ConverseStream`).
    Json,
    /// `{"bytes": base64}` around the model's own JSON (`InvokeModelWithResponseStream`), which is
    /// unwrapped: the frame is then named after the `type` in it, if it has one.
    Chunks,
}

/// Finds the frames in a stream. After an error the stream is over.
#[derive(Debug)]
pub struct Splitter {
    max: usize,
    payload: Payload,
    /// The beginning of a frame that the last input did not hold whole.
    held: Vec<u8>,
    /// JSON that does not stand in the input as such.
    scratch: Vec<u8>,
}

impl Splitter {
    pub fn new(max_frame_bytes: usize) -> Self {
        Self::of(Payload::Json, max_frame_bytes)
    }

    pub fn of(payload: Payload, max_frame_bytes: usize) -> Self {
        Self { max: max_frame_bytes, payload, held: Vec::new(), scratch: Vec::new() }
    }

    /// Says every frame that is complete with `bytes`, in order.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Frame<'_>),
    ) -> Result<(), Malformed> {
        while !self.held.is_empty() && !bytes.is_empty() {
            let want = match frame_len(&self.held, self.max)? {
                Some(total) => total,
                None => PRELUDE,
            };
            let missing = want.saturating_sub(self.held.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(missing);
            self.held.extend_from_slice(now);
            bytes = rest;
            if frame_len(&self.held, self.max)? == Some(self.held.len()) {
                let frame = std::mem::take(&mut self.held);
                self.say(&frame, each)?;
                self.held = frame;
                self.held.clear();
            }
        }
        while let Some(total) = frame_len(bytes, self.max)? {
            let Some((frame, rest)) = bytes.split_at_checked(total) else { break };
            self.say(frame, each)?;
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether no frame is half read: otherwise an end of the bytes is a cut.
    pub fn at_boundary(&self) -> bool {
        self.held.is_empty()
    }

    fn say(&mut self, frame: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let (body, sum) =
            frame.split_at_checked(frame.len() - TRAILER).ok_or(Malformed::Lengths)?;
        if crc32fast::hash(body).to_be_bytes() != sum {
            return Err(Malformed::Checksum);
        }
        let headers_len = body.get(4..8).map_or(0, be32) as usize;
        let (headers, payload) = body
            .get(PRELUDE..)
            .and_then(|rest| rest.split_at_checked(headers_len))
            .ok_or(Malformed::Lengths)?;
        let headers = Headers::read(headers)?;
        let data = simdutf8::basic::from_utf8(payload).map_err(|_| Malformed::NotText)?;
        let exception = matches!(headers.message_type, Some("exception" | "error"));
        if let Some(code) = headers.error_code {
            self.scratch.clear();
            let mut object = json_write::Object::begin(&mut self.scratch);
            object.text("message", headers.error_message.unwrap_or_default());
            object.end();
            let data = std::str::from_utf8(&self.scratch).map_err(|_| Malformed::NotText)?;
            each(Frame { name: Some(code), exception: true, data });
            return Ok(());
        }
        if self.payload == Payload::Chunks && !exception && headers.event_type == Some("chunk") {
            return self.say_chunk(data, each);
        }
        let name = if exception { headers.exception_type } else { headers.event_type };
        each(Frame { name, exception, data });
        Ok(())
    }

    fn say_chunk(
        &mut self,
        payload: &str,
        each: &mut dyn FnMut(Frame<'_>),
    ) -> Result<(), Malformed> {
        let encoded = json_read::text_field(payload, "bytes").ok_or(Malformed::NotBase64)?;
        self.scratch.clear();
        STANDARD
            .decode_vec(encoded.as_bytes(), &mut self.scratch)
            .map_err(|_| Malformed::NotBase64)?;
        let data = simdutf8::basic::from_utf8(&self.scratch).map_err(|_| Malformed::NotText)?;
        let name = json_read::text_field(data, "type");
        each(Frame { name: name.as_deref(), exception: false, data });
        Ok(())
    }
}

/// The whole length of the frame that begins here; `None` while its lengths are incomplete.
fn frame_len(bytes: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    let (lengths, sum) = prelude.split_at(8);
    if crc32fast::hash(lengths).to_be_bytes() != sum {
        return Err(Malformed::PreludeChecksum);
    }
    let (total, headers) = lengths.split_at(4);
    let (total, headers) = (be32(total), be32(headers) as usize);
    let len = total as usize;
    if len > max {
        return Err(Malformed::TooLong(total));
    }
    if headers > HEADERS_MAX || len < PRELUDE + TRAILER || headers > len - PRELUDE - TRAILER {
        return Err(Malformed::Lengths);
    }
    Ok(Some(len))
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

/// The headers that mean something here.
#[derive(Default)]
struct Headers<'f> {
    message_type: Option<&'f str>,
    event_type: Option<&'f str>,
    exception_type: Option<&'f str>,
    error_code: Option<&'f str>,
    error_message: Option<&'f str>,
}

impl<'f> Headers<'f> {
    fn read(mut bytes: &'f [u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        while !bytes.is_empty() {
            let (name, value) = header(&mut bytes).ok_or(Malformed::Headers)?;
            let place = match name {
                b":message-type" => &mut found.message_type,
                b":event-type" => &mut found.event_type,
                b":exception-type" => &mut found.exception_type,
                b":error-code" => &mut found.error_code,
                b":error-message" => &mut found.error_message,
                _ => continue,
            };
            let text = value.ok_or(Malformed::Headers)?;
            *place = Some(std::str::from_utf8(text).map_err(|_| Malformed::Headers)?);
        }
        Ok(found)
    }
}

/// One header: its name, and its value if that is a string.
fn header<'f>(bytes: &mut &'f [u8]) -> Option<(&'f [u8], Option<&'f [u8]>)> {
    let name_len = usize::from(*bytes.split_off_first()?);
    let name = bytes.split_off(..name_len)?;
    let kind = *bytes.split_off_first()?;
    let len = match kind {
        0 | 1 => 0,                                    // true, false
        2 => 1,                                        // byte
        3 => 2,                                        // short
        4 => 4,                                        // integer
        5 | 8 => 8,                                    // long, timestamp
        9 => 16,                                       // uuid
        6 | 7 => be32(bytes.split_off(..2)?) as usize, // bytes, string
        _ => return None,
    };
    let value = bytes.split_off(..len)?;
    Some((name, (kind == 7).then_some(value)))
}

/// Appends everything of a frame up to its payload. `kind` is `event` or `exception`.
pub(super) fn begin(out: &mut Vec<u8>, kind: &str, name: &str) {
    out.extend_from_slice(&[0; PRELUDE]);
    let start = out.len();
    push_header(out, if kind == "event" { ":event-type" } else { ":exception-type" }, name);
    push_header(out, ":content-type", "application/json");
    push_header(out, ":message-type", kind);
    let headers = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start - 8..start - 4) {
        place.copy_from_slice(&headers.to_be_bytes());
    }
}

/// Closes the frame that was begun at `begun`: patches its lengths and both checksums.
pub(super) fn end(out: &mut Vec<u8>, begun: usize) {
    let total = u32::try_from(out.len() - begun + TRAILER).unwrap_or(u32::MAX);
    if let Some(prelude) = out.get_mut(begun..begun + PRELUDE) {
        prelude[..4].copy_from_slice(&total.to_be_bytes());
        let sum = crc32fast::hash(&prelude[..8]);
        prelude[8..].copy_from_slice(&sum.to_be_bytes());
    }
    let sum = crc32fast::hash(out.get(begun..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
}

/// Names are at most 255 bytes long, values at most 32767: both come from this crate.
fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(0));
    out.extend_from_slice(name.as_bytes());
    out.push(7);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::{Frames, Framing};

    type Seen = Vec<(Option<String>, bool, String)>;

    fn split(payload: Payload, pieces: &[&[u8]]) -> (Seen, Result<(), Malformed>, bool) {
        let mut splitter = Splitter::of(payload, 1 << 20);
        let mut seen = Seen::new();
        for piece in pieces {
            let done = splitter.feed(piece, &mut |f| {
                seen.push((f.name.map(ToOwned::to_owned), f.exception, f.data.to_owned()));
            });
            if done.is_err() {
                return (seen, done, splitter.at_boundary());
            }
        }
        (seen, Ok(()), splitter.at_boundary())
    }

    fn raw(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let total = u32::try_from(headers.len() + payload.len() + 16).unwrap();
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn sample() -> Vec<u8> {
        let mut frames = Frames::new(Framing::AwsEventStream);
        frames.begin(Some("messageStart")).extend_from_slice(br#"{"role":"assistant"}"#);
        frames.end();
        frames.heartbeat();
        frames.begin(Some("contentBlockDelta")).extend_from_slice("{\"t\":\"Zürich\"}".as_bytes());
        frames.end();
        frames.exception("throttlingException").extend_from_slice(br#"{"message":"slow"}"#);
        frames.end();
        frames.bytes().to_vec()
    }

    /// Recorded from botocore's own writer of test streams.
    const RECORDED: &[u8] = b"\0\0\0v\0\0\0R\x96\xd5\xfa\xde\x0b:event-type\x07\0\x0cmessageStart\
\x0d:content-type\x07\0\x10application/json\x0d:message-type\x07\0\x05event{\"role\":\"assistant\"}o\xa8\xc5\x99";

    #[test]
    fn the_bytes_are_those_that_aws_sends() {
        let mut frames = Frames::new(Framing::AwsEventStream);
        frames.begin(Some("messageStart")).extend_from_slice(br#"{"role":"assistant"}"#);
        frames.end();
        assert_eq!(frames.bytes(), RECORDED);
    }

    #[test]
    fn every_split_gives_the_same_frames() {
        let bytes = sample();
        let (whole, done, boundary) = split(Payload::Json, &[&bytes]);
        assert_eq!((done, boundary, whole.len()), (Ok(()), true, 4));
        assert_eq!(whole[2].2, "{\"t\":\"Zürich\"}");
        assert_eq!(
            whole[3],
            (Some("throttlingException".into()), true, r#"{"message":"slow"}"#.into())
        );
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let (seen, done, boundary) = split(Payload::Json, &[head, tail]);
            assert_eq!((&seen, done, boundary), (&whole, Ok(()), true), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(split(Payload::Json, &single), (whole, Ok(()), true));
    }

    #[test]
    fn a_cut_is_no_boundary() {
        let bytes = sample();
        let ends: Vec<usize> =
            (0..=bytes.len()).filter(|&cut| split(Payload::Json, &[&bytes[..cut]]).2).collect();
        assert_eq!(ends.len(), 5);
        assert_eq!(ends.last(), Some(&bytes.len()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for at in 0..RECORDED.len() {
            let mut bytes = RECORDED.to_vec();
            bytes[at] ^= 0x10;
            let (seen, done, _) = split(Payload::Json, &[&bytes]);
            assert!(seen.is_empty() && done.is_err(), "byte {at}: {seen:?} {done:?}");
        }
    }

    #[test]
    fn broken_rules_are_named() {
        let mut long = Splitter::new(64);
        assert_eq!(long.feed(RECORDED, &mut |_| ()), Err(Malformed::TooLong(0x76)));
        let feed = |bytes: &[u8]| split(Payload::Json, &[bytes]).1;
        let mut short = [0, 0, 0, 15, 0, 0, 0, 0].to_vec();
        short.extend_from_slice(&crc32fast::hash(&short).to_be_bytes());
        assert_eq!(feed(&short), Err(Malformed::Lengths));
        let mut headers = [0, 0, 0, 17, 0, 0, 0, 2].to_vec();
        headers.extend_from_slice(&crc32fast::hash(&headers).to_be_bytes());
        assert_eq!(feed(&headers), Err(Malformed::Lengths));
        assert_eq!(feed(&raw(b"\x01a\x0a", b"{}")), Err(Malformed::Headers));
        assert_eq!(feed(&raw(b"\x01a\x07\x00\x09x", b"{}")), Err(Malformed::Headers));
        assert_eq!(feed(&raw(b"\x0b:event-type\x02x", b"{}")), Err(Malformed::Headers));
        assert_eq!(feed(&raw(b"", b"\xff")), Err(Malformed::NotText));
        let chunk = raw(b"\x0b:event-type\x07\0\x05chunk", br#"{"bytes":"%"}"#);
        assert_eq!(split(Payload::Chunks, &[&chunk]).1, Err(Malformed::NotBase64));
    }

    #[test]
    fn headers_of_every_kind_are_passed_over() {
        let mut headers = Vec::new();
        for (kind, len) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)] {
            headers.extend_from_slice(&[1, b'x', kind]);
            headers.extend(std::iter::repeat_n(9, len));
        }
        headers.extend_from_slice(b"\x01x\x06\0\x03abc");
        headers.extend_from_slice(b"\x0b:event-type\x07\0\x01m");
        let (seen, done, _) = split(Payload::Json, &[&raw(&headers, b"{}")]);
        assert_eq!((seen, done), (vec![(Some("m".into()), false, "{}".into())], Ok(())));
    }

    #[test]
    fn error_frames_carry_their_message_in_headers() {
        let headers = b"\x0d:message-type\x07\0\x05error\x0b:error-code\x07\0\x04Oops\
\x0e:error-message\x07\0\x05bad\"!";
        let (seen, ..) = split(Payload::Json, &[&raw(headers, b"")]);
        assert_eq!(seen, [(Some("Oops".into()), true, r#"{"message":"bad\"!"}"#.into())]);
    }

    #[test]
    fn chunks_are_unwrapped() {
        let mut frames = Frames::new(Framing::AwsInvokeChunks);
        frames.begin(Some("ping")).extend_from_slice(br#"{"type":"ping"}"#);
        frames.end();
        frames.begin(None).extend_from_slice("{\"outputs\":[{\"text\":\"ü\"}]}".as_bytes());
        frames.end();
        frames.exception("modelTimeoutException").extend_from_slice(br#"{"message":"late"}"#);
        frames.end();
        let (outer, ..) = split(Payload::Json, &[frames.bytes()]);
        assert_eq!(
            outer[0],
            (Some("chunk".into()), false, r#"{"bytes":"eyJ0eXBlIjoicGluZyJ9"}"#.into())
        );
        let (inner, done, _) = split(Payload::Chunks, &[frames.bytes()]);
        assert_eq!(done, Ok(()));
        assert_eq!(inner[0], (Some("ping".into()), false, r#"{"type":"ping"}"#.into()));
        assert_eq!(inner[1], (None, false, "{\"outputs\":[{\"text\":\"ü\"}]}".into()));
        assert_eq!(
            inner[2],
            (Some("modelTimeoutException".into()), true, r#"{"message":"late"}"#.into())
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            events in proptest::collection::vec(("[a-zA-Z]{1,30}", "\\PC{0,200}"), 0..6),
            chunked: bool, cut: proptest::sample::Index,
        ) {
            let (framing, payload) = if chunked {
                (Framing::AwsInvokeChunks, Payload::Chunks)
            } else {
                (Framing::AwsEventStream, Payload::Json)
            };
            let mut frames = Frames::new(framing);
            let mut written = Seen::new();
            for (name, text) in events {
                let mut json = Vec::new();
                let mut object = json_write::Object::begin(&mut json);
                object.text("type", &name).text("text", &text);
                object.end();
                frames.begin(Some(&name)).extend_from_slice(&json);
                frames.end();
                written.push((Some(name), false, String::from_utf8(json).unwrap()));
            }
            let bytes = frames.bytes();
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let (seen, done, boundary) = split(payload, &[head, tail]);
            proptest::prop_assert_eq!((seen, done, boundary), (written, Ok(()), true));
        }

        #[test]
        fn any_bytes_are_survived(
            headers: Vec<u8>, payload: Vec<u8>, noise: Vec<u8>, chunked: bool,
        ) {
            let payload_kind = if chunked { Payload::Chunks } else { Payload::Json };
            let frame = raw(&headers, &payload);
            let _ = split(payload_kind, &[&frame, &noise]);
            let _ = split(payload_kind, &[&noise]);
        }
    }
}
