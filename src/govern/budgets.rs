//! Money: what a budget allows, in which window, and how amounts are written.
//!
//! The unit is the nano-dollar (1e-9 $) in a `u64`: a cached token of a small model costs about
//! 10 of them, and the type ends at 18 billion dollars. In: budgets as the configuration states
//! them. Out: [`BudgetPlan`]s for `Tables::build`, and texts for messages. Never: a float on the
//! path of a request.

use super::limits::Enforcement;
use super::windows::Window;

/// Nano-dollars in a dollar.
pub const NANO: u64 = 1_000_000_000;

/// One budget of one owner.
#[derive(Debug, Clone)]
pub struct BudgetPlan {
    pub id: Box<str>,
    /// Nano-dollars; see [`from_dollars`].
    pub max: u64,
    pub window: Window,
    pub enforcement: Enforcement,
    pub extra: Option<Override>,
    pub seed: Seed,
}

/// What the configuration knows of a counter's past; only heeded where the ledger knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seed {
    /// `current_usage`, in the limit's unit.
    pub used: u64,
    /// `last_reset`, Unix milliseconds: the anchor of rolling windows. `None`: now.
    pub last_reset: Option<i64>,
}

/// An amount on top of the limit, for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// In the limit's unit.
    pub amount: u64,
    /// Unix milliseconds; `None` is for ever. [`Window::end_of_cycle`] counts cycles.
    pub until: Option<i64>,
}

impl Override {
    pub fn at(self, now: i64) -> u64 {
        if self.until.is_none_or(|until| now < until) { self.amount } else { 0 }
    }
}

/// Dollars as nano-dollars, rounded; `None` for what is negative, no number or too large.
pub fn from_dollars(dollars: f64) -> Option<u64> {
    let nano = (dollars * 1e9).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the range just before"
    )]
    let whole = (0.0..1e19).contains(&nano).then_some(nano as u64);
    whole.filter(|_| dollars >= 0.0)
}

/// For metrics and rules; floats of this size are exact to the micro-dollar up to a billion.
pub fn to_dollars(nano: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for display and percentages only")]
    let dollars = nano as f64 / 1e9;
    dollars
}

/// Four decimals, rounded down so that what is below a limit never reads as reaching it.
pub fn text(nano: u64) -> String {
    format!("{}.{:04}", nano / NANO, nano % NANO / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_nano_dollars() {
        assert_eq!(from_dollars(25.0), Some(25 * NANO));
        assert_eq!(from_dollars(0.1), Some(100_000_000));
        assert_eq!(from_dollars(0.000_000_01), Some(10));
        assert_eq!(from_dollars(0.0), Some(0));
        for bad in [-1.0, -0.000_000_000_1, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(from_dollars(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_read_with_four_decimals() {
        assert_eq!(text(25 * NANO), "25.0000");
        assert_eq!(text(24_999_999_999), "24.9999");
        assert_eq!(text(100_000), "0.0001");
    }

    #[test]
    fn an_override_ends() {
        let extra = Override { amount: 5, until: Some(100) };
        assert_eq!((extra.at(99), extra.at(100)), (5, 0));
        assert_eq!(Override { amount: 5, until: None }.at(i64::MAX), 5);
    }
}
