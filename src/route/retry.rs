//! What to do after an attempt failed: the matrix of the contract as one function.
//!
//! In: what failed, how often it was tried, what is left to try. Out: wait and try the same key,
//! another key, the next target, or stop. Only before the client's first byte. Never: waits.
//!
//! | failure | while retries are left | then |
//! |---|---|---|
//! | 5xx, no connection, reset, time-out | same key, after a backoff | next target |
//! | 429, or words of it | next key, after a backoff | next target |
//! | 401, 402, 403, no access to the model | next key at once, retries or not | next target |
//! | 400, 404, 422 and other 4xx | - | next target |
//! | client gone, refused by policy | - | stop |

use super::random::Random;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// 5xx, DNS, connect, reset before the first byte, time-out.
    Down,
    /// The upstream's limit; the pause that it asked for.
    Limited { retry_after_ms: Option<u64> },
    /// This key cannot do this: wrong, unpaid, blocked, without access to the model.
    KeyDead,
    /// The upstream understood the request and will not have it.
    Rejected,
    /// The client went away.
    Cancelled,
    /// The gateway's own rules.
    Blocked,
}

impl Cause {
    /// Of an upstream's answer: its status, and what its error says.
    pub fn of_answer(status: u16, message: &str, retry_after_ms: Option<u64>) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| contains(message, word));
        match status {
            429 => Self::Limited { retry_after_ms },
            401..=403 => Self::KeyDead,
            400 | 404 | 422 if says(&NO_ACCESS) => Self::KeyDead,
            400..=499 if says(&LIMITED) => Self::Limited { retry_after_ms },
            408 | 425 => Self::Down,
            400..=499 => Self::Rejected,
            _ if says(&LIMITED) => Self::Limited { retry_after_ms },
            _ => Self::Down,
        }
    }
}

const LIMITED: [&str; 5] =
    ["rate limit", "rate_limit", "too many requests", "throttl", "quota exceeded"];
const NO_ACCESS: [&str; 6] = [
    "access to the model",
    "access to model",
    "model access",
    "not available in your region",
    "not supported in this region",
    "end of its life",
];

fn contains(text: &str, lower: &str) -> bool {
    text.as_bytes().windows(lower.len()).any(|part| part.eq_ignore_ascii_case(lower.as_bytes()))
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Retries of this target so far; key changes because of dead keys do not count.
    pub retries: u32,
    pub max_retries: u32,
    /// Whether the target has a key that this request has not used.
    pub unused_key: bool,
    /// Whether it has a key that is not dead for this request, beside the one that failed.
    pub live_key: bool,
    /// Whether there is another target.
    pub next_target: bool,
}

/// How long to wait: `network_config.retry_backoff_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub initial_ms: u64,
    pub max_ms: u64,
}

impl Backoff {
    /// `min(initial * 2^retries, max)`, give or take a fifth.
    pub fn pause(self, retries: u32, random: Random) -> u64 {
        let doubled = self.initial_ms.saturating_mul(1_u64 << retries.min(32));
        let whole = doubled.min(self.max_ms).min(u64::from(u32::MAX));
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most 32 bits, times 1.2"
        )]
        let jittered = (whole as f64 * (0.8 + 0.4 * random.unit())).round() as u64;
        jittered
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Same {
        after_ms: u64,
    },
    /// `dead`: the key that failed is no good for the rest of this request. Where no unused key is
    /// left, the used ones begin again.
    NextKey {
        after_ms: u64,
        dead: bool,
    },
    NextTarget,
    /// Give the first error back.
    Stop,
    /// As stop, because every key was refused: 502 `upstream_credentials_exhausted`.
    Exhausted,
}

/// The next step after a failure.
pub fn after(cause: Cause, standing: &Standing, backoff: Backoff, random: Random) -> Retry {
    let onward = if standing.next_target { Retry::NextTarget } else { Retry::Stop };
    let retries_left = standing.retries < standing.max_retries;
    let pause = || backoff.pause(standing.retries, random);
    match cause {
        Cause::Cancelled | Cause::Blocked => Retry::Stop,
        Cause::Rejected => onward,
        Cause::KeyDead if standing.live_key => Retry::NextKey { after_ms: 0, dead: true },
        Cause::KeyDead if standing.next_target => Retry::NextTarget,
        Cause::KeyDead => Retry::Exhausted,
        Cause::Down | Cause::Limited { .. } if !retries_left => onward,
        Cause::Down => Retry::Same { after_ms: pause() },
        Cause::Limited { .. } if standing.unused_key => {
            Retry::NextKey { after_ms: pause(), dead: false }
        }
        Cause::Limited { retry_after_ms } => {
            // The same key again: not before it said, and not at all if that is too long.
            let after_ms = pause().max(retry_after_ms.unwrap_or(0));
            match (after_ms > backoff.max_ms.saturating_mul(2), standing.next_target) {
                (true, true) => Retry::NextTarget,
                (true, false) => Retry::Stop,
                (false, _) => Retry::NextKey { after_ms, dead: false },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial_ms: 500, max_ms: 5_000 };
    const FRESH: Standing = Standing {
        retries: 0,
        max_retries: 2,
        unused_key: true,
        live_key: true,
        next_target: true,
    };

    fn next(cause: Cause, standing: Standing) -> Retry {
        after(cause, &standing, BACKOFF, Random::new(3))
    }

    #[test]
    fn the_matrix() {
        let limited = Cause::Limited { retry_after_ms: None };
        let tired = Standing { retries: 2, ..FRESH };
        let last = Standing { next_target: false, ..tired };
        assert!(matches!(next(Cause::Down, FRESH), Retry::Same { after_ms: 400..=600 }));
        assert_eq!(next(Cause::Down, tired), Retry::NextTarget);
        assert_eq!(next(Cause::Down, last), Retry::Stop);
        assert!(matches!(next(limited, FRESH), Retry::NextKey { after_ms: 400.., dead: false }));
        assert_eq!(next(limited, tired), Retry::NextTarget);
        let no_retries = Standing { max_retries: 0, ..FRESH };
        assert_eq!(next(Cause::KeyDead, no_retries), Retry::NextKey { after_ms: 0, dead: true });
        let all_dead = Standing { live_key: false, ..FRESH };
        assert_eq!(next(Cause::KeyDead, all_dead), Retry::NextTarget);
        let alone = Standing { next_target: false, ..all_dead };
        assert_eq!(next(Cause::KeyDead, alone), Retry::Exhausted);
        assert_eq!(next(Cause::Rejected, FRESH), Retry::NextTarget, "fallbacks run on 4xx, too");
        assert_eq!(next(Cause::Rejected, last), Retry::Stop);
        assert_eq!(next(Cause::Cancelled, FRESH), Retry::Stop);
        assert_eq!(next(Cause::Blocked, FRESH), Retry::Stop);
    }

    #[test]
    fn a_long_pause_is_not_waited_for() {
        let one_key = Standing { unused_key: false, ..FRESH };
        let limited = |ms| Cause::Limited { retry_after_ms: Some(ms) };
        assert_eq!(next(limited(3_000), one_key), Retry::NextKey { after_ms: 3_000, dead: false });
        assert_eq!(next(limited(60_000), one_key), Retry::NextTarget);
        let alone = Standing { next_target: false, ..one_key };
        assert_eq!(next(limited(60_000), alone), Retry::Stop);
    }

    #[test]
    fn pauses_double_to_their_limit() {
        for (retries, whole) in
            [(0, 500), (1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (99, 5_000)]
        {
            for seed in 0..100 {
                let pause = BACKOFF.pause(retries, Random::new(seed));
                assert!((whole * 8 / 10..=whole * 12 / 10).contains(&pause), "{retries}: {pause}");
            }
        }
    }

    #[test]
    fn answers_are_understood() {
        let cause = |status, message| Cause::of_answer(status, message, Some(7));
        let limited = Cause::Limited { retry_after_ms: Some(7) };
        assert_eq!(cause(429, ""), limited);
        assert_eq!(cause(400, "ThrottlingException: slow down"), limited);
        assert_eq!(cause(503, "Rate limit reached"), limited);
        assert_eq!(cause(500, "oops"), Cause::Down);
        assert_eq!(cause(529, "overloaded"), Cause::Down);
        assert_eq!(cause(408, ""), Cause::Down);
        assert_eq!(cause(401, ""), Cause::KeyDead);
        let no_access = "You don't have access to the model with the specified model ID.";
        assert_eq!(cause(400, no_access), Cause::KeyDead);
        assert_eq!(cause(404, "model not found"), Cause::Rejected);
        assert_eq!(cause(422, "bad field"), Cause::Rejected);
    }
}
