//! What a worker has learnt of the places it calls: which to leave alone for a while, and which
//! answer well.
//!
//! In: outcomes of calls, and now in milliseconds. Out: whether a place may be called, and a factor
//! for its weight. A place is a provider, or one of its keys. Each worker learns for itself: a
//! breaker needs no agreement. Never: reads a clock.
//!
//! A breaker is closed, opens after failures in a row, and after its pause lets one call through;
//! that one closes it, or opens it for twice as long.
//!
//! | state | success | failure | pause is over |
//! |---|---|---|---|
//! | `Closed` | failures = 0 | one more; at the limit `Open` | - |
//! | `Open` | `Closed` | stays | the next call makes it `Probing` |
//! | `Probing` | `Closed` | `Open`, twice as long | - |

use super::random::hash;
use hashbrown::HashMap;

/// Most places that are remembered.
const MAX_PLACES: usize = 10_000;
/// A call that never reported back does not keep a breaker half open for ever.
const PROBE_MS: i64 = 60_000;
/// How much the newest outcome counts in the averages.
const NEWEST: f64 = 0.2;
/// No place falls below this share of its weight, or it could never show that it is well again.
const FLOOR: f64 = 0.05;

/// A provider, or one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(u64);

impl Place {
    pub fn provider(name: &str) -> Self {
        Self(hash(&[name]))
    }

    /// By the key's id.
    pub fn key(provider: &str, id: &str) -> Self {
        Self(hash(&[provider, id]))
    }
}

/// How a call failed, as far as the place is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 5xx, no connection, no answer in time.
    Down,
    /// 429, with the pause that it asked for.
    Limited { retry_after_ms: Option<i64> },
    /// 401, 402, 403: the credential is no good.
    Refused,
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Failures in a row.
    pub failures: u32,
    pub pause_ms: i64,
    pub max_pause_ms: i64,
    /// Weights follow latency and errors, too.
    pub adaptive: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { failures: 5, pause_ms: 5_000, max_pause_ms: 120_000, adaptive: false }
    }
}

#[derive(Debug, Clone, Copy)]
enum Breaker {
    Closed { failures: u32 },
    Open { until: i64, pause: i64 },
    Probing { since: i64, pause: i64 },
}

#[derive(Debug, Clone, Copy)]
struct Record {
    breaker: Breaker,
    /// Share of failures, lately.
    errors: f64,
    /// Milliseconds per call, lately.
    latency: Option<f64>,
    last: i64,
}

/// What is known of a place, for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// `closed`, `open` or `probing`.
    pub breaker: &'static str,
    /// In a row, while the breaker is closed.
    pub failures: u32,
    /// How long the breaker stays open, in milliseconds.
    pub open_for_ms: i64,
    /// Share of failures, lately, 0 to 1.
    pub errors: f64,
    /// Milliseconds to the head of an answer, lately.
    pub latency_ms: Option<f64>,
}

/// The memory of one worker.
#[derive(Debug, Default)]
pub struct Health {
    places: HashMap<Place, Record>,
    tuning: Tuning,
}

impl Health {
    pub fn new(tuning: Tuning) -> Self {
        Self { places: HashMap::new(), tuning }
    }

    /// Whether weights follow latency and errors.
    pub fn adapt(&mut self, adaptive: bool) {
        self.tuning.adaptive = adaptive;
    }

    pub fn is_adaptive(&self) -> bool {
        self.tuning.adaptive
    }

    /// Whether a call may go there now.
    pub fn usable(&self, place: Place, now: i64) -> bool {
        match self.places.get(&place).map(|record| record.breaker) {
            None | Some(Breaker::Closed { .. }) => true,
            Some(Breaker::Open { until, .. }) => now >= until,
            Some(Breaker::Probing { since, .. }) => now >= since + PROBE_MS,
        }
    }

    /// A call goes there: after a pause, the one that has to show that the place is well.
    pub fn begin(&mut self, place: Place, now: i64) {
        if let Some(record) = self.places.get_mut(&place)
            && let Breaker::Open { pause, .. } | Breaker::Probing { pause, .. } = record.breaker
        {
            record.breaker = Breaker::Probing { since: now, pause };
        }
    }

    /// It answered, after so many milliseconds to the first byte.
    pub fn answered(&mut self, place: Place, latency_ms: f64, now: i64) {
        let record = self.record(place, now);
        record.breaker = Breaker::Closed { failures: 0 };
        record.errors *= 1.0 - NEWEST;
        let latency = record.latency.unwrap_or(latency_ms);
        record.latency = Some(latency + NEWEST * (latency_ms - latency));
    }

    /// It did not.
    pub fn failed(&mut self, place: Place, trouble: Trouble, now: i64) {
        let tuning = self.tuning;
        let record = self.record(place, now);
        record.errors += NEWEST * (1.0 - record.errors);
        let cap = |pause: i64| pause.clamp(0, tuning.max_pause_ms);
        let open = |pause: i64| Breaker::Open { until: now + cap(pause), pause: cap(pause) };
        record.breaker = match (trouble, record.breaker) {
            (Trouble::Limited { retry_after_ms }, _) => {
                open(retry_after_ms.unwrap_or(tuning.pause_ms))
            }
            (Trouble::Refused, _) => open(tuning.max_pause_ms),
            (Trouble::Down, Breaker::Probing { pause, .. }) => {
                open(pause.saturating_mul(2).max(tuning.pause_ms))
            }
            (Trouble::Down, still @ Breaker::Open { .. }) => still,
            (Trouble::Down, Breaker::Closed { failures }) if failures + 1 >= tuning.failures => {
                open(tuning.pause_ms)
            }
            (Trouble::Down, Breaker::Closed { failures }) => {
                Breaker::Closed { failures: failures + 1 }
            }
        };
    }

    /// What the weight of a place is multiplied by, 0 to 1. `best_ms` is the latency of the fastest
    /// of those it is compared with.
    pub fn factor(&self, place: Place, best_ms: Option<f64>) -> f64 {
        let record = self.places.get(&place).filter(|_| self.tuning.adaptive);
        let Some(record) = record else { return 1.0 };
        let speed = match (best_ms, record.latency) {
            (Some(best), Some(own)) if own > 0.0 => (best / own).clamp(0.0, 1.0),
            _ => 1.0,
        };
        ((1.0 - record.errors) * speed).max(FLOOR)
    }

    /// The least latency of these places, in milliseconds.
    pub fn fastest(&self, places: impl Iterator<Item = Place>) -> Option<f64> {
        if !self.tuning.adaptive {
            return None;
        }
        let known = places.filter_map(|place| self.places.get(&place)?.latency);
        known.fold(None, |best: Option<f64>, ms| Some(best.map_or(ms, |best| best.min(ms))))
    }

    /// What is known of a place; `None` where nothing has happened yet.
    pub fn look(&self, place: Place, now: i64) -> Option<Sight> {
        let record = self.places.get(&place)?;
        let (breaker, failures, open_for_ms) = match record.breaker {
            Breaker::Closed { failures } => ("closed", failures, 0),
            // The pause is over: the next call probes.
            Breaker::Open { until, .. } if until <= now => ("probing", 0, 0),
            Breaker::Open { until, .. } => ("open", 0, until - now),
            Breaker::Probing { .. } => ("probing", 0, 0),
        };
        let (errors, latency_ms) = (record.errors, record.latency);
        Some(Sight { breaker, failures, open_for_ms, errors, latency_ms })
    }

    fn record(&mut self, place: Place, now: i64) -> &mut Record {
        if self.places.len() >= MAX_PLACES && !self.places.contains_key(&place) {
            // Configurations come and go; what has not been called for longest goes first.
            let mut times: Vec<i64> = self.places.values().map(|record| record.last).collect();
            let middle = times.len() / 2;
            let (_, oldest, _) = times.select_nth_unstable(middle);
            let oldest = *oldest;
            self.places.retain(|_, record| record.last > oldest);
        }
        let fresh = Record {
            breaker: Breaker::Closed { failures: 0 },
            errors: 0.0,
            latency: None,
            last: now,
        };
        let record = self.places.entry(place).or_insert(fresh);
        record.last = now;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place(1);

    fn down(health: &mut Health, times: u32, now: i64) {
        for _ in 0..times {
            health.failed(HERE, Trouble::Down, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut health = Health::default();
        down(&mut health, 4, 0);
        assert!(health.usable(HERE, 0));
        health.answered(HERE, 10.0, 0);
        down(&mut health, 4, 0);
        assert!(health.usable(HERE, 0), "the row was interrupted");
        down(&mut health, 1, 0);
        assert!(!health.usable(HERE, 4_999));
        assert!(health.usable(HERE, 5_000));
        assert!(health.usable(Place(2), 0), "others are not concerned");
    }

    #[test]
    fn one_call_probes_and_failing_again_doubles_the_pause() {
        let mut health = Health::default();
        down(&mut health, 5, 0);
        let mut now = 5_000;
        for pause in [10_000, 20_000, 40_000, 80_000, 120_000, 120_000] {
            assert!(health.usable(HERE, now));
            health.begin(HERE, now);
            assert!(!health.usable(HERE, now), "only one");
            health.failed(HERE, Trouble::Down, now);
            assert!(!health.usable(HERE, now + pause - 1));
            now += pause;
        }
        health.begin(HERE, now);
        assert!(health.usable(HERE, now + PROBE_MS), "a probe that vanished is replaced");
        health.answered(HERE, 10.0, now);
        down(&mut health, 4, now);
        assert!(health.usable(HERE, now));
    }

    #[test]
    fn a_limit_and_a_refusal_pause_at_once() {
        let mut health = Health::default();
        health.failed(HERE, Trouble::Limited { retry_after_ms: Some(30_000) }, 0);
        assert!(!health.usable(HERE, 29_999) && health.usable(HERE, 30_000));
        health.failed(HERE, Trouble::Limited { retry_after_ms: Some(i64::MAX) }, 0);
        assert!(health.usable(HERE, 120_000), "no upstream can close itself for a day");
        health.failed(Place(2), Trouble::Refused, 0);
        assert!(!health.usable(Place(2), 119_999));
    }

    #[test]
    fn weights_follow_errors_and_latency_only_if_asked_to() {
        let mut plain = Health::default();
        let mut adaptive = Health::new(Tuning { adaptive: true, ..Tuning::default() });
        for health in [&mut plain, &mut adaptive] {
            health.answered(HERE, 100.0, 0);
            health.answered(Place(2), 400.0, 0);
            health.failed(Place(3), Trouble::Down, 0);
        }
        assert!((plain.factor(Place(2), Some(100.0)) - 1.0).abs() < 1e-9);
        assert!((adaptive.factor(HERE, Some(100.0)) - 1.0).abs() < 1e-9);
        assert!((adaptive.factor(Place(2), Some(100.0)) - 0.25).abs() < 1e-9);
        assert!((adaptive.factor(Place(3), None) - 0.8).abs() < 1e-9);
        for _ in 0..100 {
            adaptive.failed(Place(3), Trouble::Down, 0);
        }
        assert!((adaptive.factor(Place(3), None) - FLOOR).abs() < 1e-9);
    }

    #[test]
    fn memory_is_bounded() {
        let mut health = Health::default();
        for number in 0..25_000 {
            let now = i64::try_from(number).unwrap();
            health.failed(Place(number), Trouble::Down, now);
        }
        assert!(health.places.len() <= MAX_PLACES);
        assert!(health.places.contains_key(&Place(24_999)));
    }
}
