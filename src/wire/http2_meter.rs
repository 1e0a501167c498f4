//! Counts the frames of an HTTP/2 client, so that one who only makes work is noticed.
//!
//! In: the bytes that a client sent, the worker's clock, what was answered. Out: whether the client
//! spends more than it may. Every frame that carries nothing costs some of a budget; time and answers
//! fill it up again. Never: judges a frame's content (the HTTP/2 library does), keeps payload.
//!
//! The floods that this is about: rapid reset (CVE-2023-44487), pings, settings, empty data and the
//! data dribble (CVE-2019-9511 to -9518), endless CONTINUATION (CVE-2024-27316).

/// What may be spent at once, and what it fills up to.
const BUDGET: u32 = 4000;
/// What comes back each second.
const REFILL: u32 = 400;
/// What one piece of an answer brings: a client acknowledges each on the stream and the connection.
const ANSWERED: u32 = 4;
/// Smaller pieces of data are work rather than content.
const SMALL: u32 = 64;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client sent more frames that carry nothing than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

/// The frames of one connection.
#[derive(Debug)]
pub struct Meter {
    /// The frame head that is being received.
    head: [u8; FRAME_HEAD],
    filled: usize,
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    /// A request's head has begun and not ended.
    headers: bool,
    budget: u32,
    refilled_ms: u64,
}

impl Meter {
    /// For a connection that begins with the client's preface.
    pub fn new(now_ms: u64) -> Self {
        Self {
            head: [0; FRAME_HEAD],
            filled: 0,
            skip: PREFACE,
            headers: false,
            budget: BUDGET,
            refilled_ms: now_ms,
        }
    }

    /// Takes note of bytes as they were received.
    ///
    /// # Errors
    /// The budget is spent: the connection has to end.
    pub fn receive(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        self.refill(now_ms);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip > 0 {
                break;
            }
            let wanted = (FRAME_HEAD - self.filled).min(bytes.len());
            let (taken, rest) = bytes.split_at(wanted);
            if let Some(room) = self.head.get_mut(self.filled..self.filled + wanted) {
                room.copy_from_slice(taken);
            }
            self.filled += wanted;
            bytes = rest;
            if self.filled == FRAME_HEAD {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// Whether the client is in the middle of a request's head, or of some frame's.
    pub fn awaits_head(&self) -> bool {
        let kind = self.head.get(3).copied().unwrap_or_default();
        let inside = self.skip > 0 && matches!(kind, HEADERS | CONTINUATION);
        self.headers || self.filled > 0 || inside
    }

    /// A piece of an answer was sent; what small ones bring would pay for asking byte by byte.
    pub fn answered(&mut self, length: usize) {
        if length >= SMALL as usize {
            self.budget = (self.budget + ANSWERED).min(BUDGET);
        }
    }

    /// A request was malformed beyond what the library checks.
    pub fn broken(&mut self) {
        self.budget = self.budget.saturating_sub(20);
    }

    fn refill(&mut self, now_ms: u64) {
        let passed = u32::try_from(now_ms.saturating_sub(self.refilled_ms)).unwrap_or(u32::MAX);
        let fresh = passed.saturating_mul(REFILL / 50) / (1000 / 50);
        if fresh > 0 {
            self.budget = self.budget.saturating_add(fresh).min(BUDGET);
            self.refilled_ms = now_ms;
        }
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = length as usize;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.headers = flags & END_HEADERS == 0;
        }
        let cost = match kind {
            DATA if flags & END_STREAM != 0 || length >= SMALL => 0,
            DATA if length == 0 => 20,
            HEADERS | PRIORITY | WINDOW_UPDATE => 1,
            PING => 4,
            CONTINUATION => 10,
            RST_STREAM | SETTINGS | GOAWAY => 20,
            // Tiny data; what nobody knows.
            _ => 2,
        };
        self.budget = self.budget.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        frame.extend_from_slice(payload);
        frame
    }

    fn opened() -> Meter {
        let mut meter = Meter::new(0);
        meter.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0).unwrap();
        meter
    }

    /// How many of `frames` a client can send at once.
    fn most(frames: &[u8]) -> usize {
        let mut meter = opened();
        (0..100_000).take_while(|_| meter.receive(frames, 0).is_ok()).count()
    }

    #[test]
    fn each_flood_ends() {
        let reset = [frame(HEADERS, 5, b"x"), frame(RST_STREAM, 0, &[0; 4])].concat();
        assert_eq!(most(&reset), 190, "rapid reset");
        assert_eq!(most(&frame(PING, 0, &[0; 8])), 1000, "pings");
        assert_eq!(most(&frame(SETTINGS, 0, b"")), 200, "settings");
        assert_eq!(most(&frame(DATA, 0, b"")), 200, "empty data");
        assert_eq!(most(&frame(DATA, 0, b"x")), 2000, "tiny data");
        assert_eq!(most(&frame(CONTINUATION, 0, &[0; 9000])), 400, "continuation");
        assert_eq!(most(&frame(WINDOW_UPDATE, 0, &[0; 4])), 4000, "window updates");
        assert_eq!(most(&frame(PRIORITY, 0, &[0; 5])), 4000, "priorities");
        assert_eq!(most(&frame(0x55, 0, b"")), 2000, "unknown frames");
    }

    #[test]
    fn content_costs_nothing() {
        assert_eq!(most(&frame(DATA, 0, &[b'x'; 16_384])), 100_000);
        assert_eq!(most(&frame(DATA, END_STREAM, b"")), 100_000);
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        let ping = frame(PING, 0, &[0; 8]);
        let mut meter = opened();
        let sent = (0..100_000)
            .take_while(|_| ping.iter().all(|byte| meter.receive(&[*byte], 0).is_ok()))
            .count();
        assert_eq!(sent, 1000);
    }

    #[test]
    fn time_and_answers_fill_the_budget() {
        let ping = frame(PING, 0, &[0; 8]);
        let spent = || {
            let mut meter = opened();
            assert!((0..1000).all(|_| meter.receive(&ping, 0).is_ok()));
            meter
        };
        assert_eq!(spent().receive(&ping, 0), Err(Flood));
        let mut meter = spent();
        assert!((1..=100).all(|nth| meter.receive(&ping, nth * 10).is_ok()), "100 pings a second");
        assert_eq!(meter.receive(&ping, 1000), Err(Flood));
        let mut meter = spent();
        meter.answered(200);
        assert!(meter.receive(&ping, 0).is_ok());
        meter.answered(1);
        assert_eq!(meter.receive(&ping, 0), Err(Flood), "a dribble brings nothing");
    }

    #[test]
    fn an_open_head_is_known() {
        let mut meter = opened();
        assert!(!meter.awaits_head());
        let whole = frame(HEADERS, 4, b"abc");
        meter.receive(&whole[..4], 0).unwrap();
        assert!(meter.awaits_head(), "half a frame head");
        meter.receive(&whole[4..11], 0).unwrap();
        assert!(meter.awaits_head(), "half its payload");
        meter.receive(&whole[11..], 0).unwrap();
        assert!(!meter.awaits_head());
        meter.receive(&frame(HEADERS, 0, b"abc"), 0).unwrap();
        assert!(meter.awaits_head());
        meter.receive(&frame(CONTINUATION, 4, b"abc"), 0).unwrap();
        assert!(!meter.awaits_head());
    }
}
