//! The windows that limits count in: `30s 5m 1h 1d 1w 1M 1Q 1Y`, rolling or along the calendar.
//!
//! In: a window's definition, the instant it began to be counted (its anchor) and now, both in
//! Unix milliseconds. Out: the instants at which the window of now begins and ends. All of it is
//! UTC, so no day is longer than another. Never: keeps a timer; a counter is reset by whoever
//! touches it first in a new window.

use jiff::ToSpan as _;
use std::fmt;
use std::str::FromStr;

const DAY: i64 = 86_400_000;
/// 1970-01-01 was a Thursday: the Monday before lies three days earlier.
const EPOCH_WEEKDAY: i64 = 3;

/// A unit of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A length as the configuration writes it: `30s`, `5m`, `1h`, `1d`, `1w`, `1M`, `1Q`, `1Y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    count: u32,
    unit: Unit,
}

/// A text that is no [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    #[error(
        "a duration is a whole number above 0 and one of s, m, h, d, w, M, Q, Y, like `30s` or `1M`"
    )]
    Malformed,
    #[error("a duration may not be longer than 100 years")]
    TooLong,
}

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at_checked(digits).ok_or(BadSpan::Malformed)?;
        let (unit, per_century) = match unit {
            "s" => (Unit::Second, 3_155_760_000),
            "m" => (Unit::Minute, 52_596_000),
            "h" => (Unit::Hour, 876_600),
            "d" => (Unit::Day, 36_525),
            "w" => (Unit::Week, 5_218),
            "M" => (Unit::Month, 1_200),
            "Q" => (Unit::Quarter, 400),
            "Y" => (Unit::Year, 100),
            _ => return Err(BadSpan::Malformed),
        };
        match count.parse::<u32>() {
            Ok(0) | Err(_) if count.len() < 10 => Err(BadSpan::Malformed),
            Ok(count) if count <= per_century => Ok(Self { count, unit }),
            _ => Err(BadSpan::TooLong),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
            Unit::Day => 'd',
            Unit::Week => 'w',
            Unit::Month => 'M',
            Unit::Quarter => 'Q',
            Unit::Year => 'Y',
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl Span {
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Whether the calendar can align it: a day or longer.
    pub fn can_align(self) -> bool {
        !matches!(self.unit, Unit::Second | Unit::Minute | Unit::Hour)
    }

    fn length(self) -> Length {
        let count = i64::from(self.count);
        match self.unit {
            Unit::Second => Length::Millis(count * 1_000),
            Unit::Minute => Length::Millis(count * 60_000),
            Unit::Hour => Length::Millis(count * 3_600_000),
            Unit::Day => Length::Millis(count * DAY),
            Unit::Week => Length::Millis(count * 7 * DAY),
            Unit::Month => Length::Months(count),
            Unit::Quarter => Length::Months(count * 3),
            Unit::Year => Length::Months(count * 12),
        }
    }
}

enum Length {
    Millis(i64),
    Months(i64),
}

/// How a limit's usage is reset. As text: `never`, `rolling 1d`, `calendar 1Q 4` (the last a month).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Prepaid: usage only grows.
    Never,
    /// Window after window from the anchor on, each as long as the span.
    Rolling(Span),
    /// From midnight, Monday, the first of the month, of the quarter or of the year.
    Calendar { span: Span, quarter_start_month: u8 },
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Rolling(span) => write!(f, "rolling {span}"),
            Self::Calendar { span, quarter_start_month } => {
                write!(f, "calendar {span} {quarter_start_month}")
            }
        }
    }
}

impl FromStr for Window {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["never"] => Ok(Self::Never),
            ["rolling", span] => Ok(Self::new(span.parse()?, false, 1)),
            ["calendar", span, month] => {
                let month = month.parse().map_err(|_| BadSpan::Malformed)?;
                Ok(Self::new(span.parse()?, true, month))
            }
            _ => Err(BadSpan::Malformed),
        }
    }
}

impl Window {
    /// Spans below a day stay rolling, whatever is asked. `quarter_start_month` is 1 to 12; others
    /// mean January.
    pub fn new(span: Span, calendar_aligned: bool, quarter_start_month: u8) -> Self {
        if calendar_aligned && span.can_align() {
            let month = if matches!(quarter_start_month, 1..=12) { quarter_start_month } else { 1 };
            Self::Calendar { span, quarter_start_month: month }
        } else {
            Self::Rolling(span)
        }
    }

    pub fn span(self) -> Option<Span> {
        match self {
            Self::Never => None,
            Self::Rolling(span) | Self::Calendar { span, .. } => Some(span),
        }
    }

    /// When the window that `now` lies in began. A clock behind the anchor is at the anchor.
    pub fn start(self, anchor: i64, now: i64) -> i64 {
        match self {
            Self::Never => anchor,
            Self::Rolling(span) => {
                let now = now.max(anchor);
                match span.length() {
                    Length::Millis(length) => anchor + (now - anchor).div_euclid(length) * length,
                    Length::Months(length) => rolling_months(anchor, now, length).0,
                }
            }
            Self::Calendar { span, quarter_start_month } => match span.length() {
                Length::Millis(length) => {
                    let shift = if span.unit == Unit::Week { EPOCH_WEEKDAY * DAY } else { 0 };
                    (now + shift).div_euclid(length) * length - shift
                }
                Length::Months(length) => {
                    let first = calendar_months(now, length, span.unit, quarter_start_month);
                    month_start(first).unwrap_or(anchor)
                }
            },
        }
    }

    /// When it will end; `None` for a window that never does.
    pub fn end(self, anchor: i64, now: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::Rolling(span) => match span.length() {
                Length::Millis(length) => self.start(anchor, now).checked_add(length),
                Length::Months(length) => rolling_months(anchor, now.max(anchor), length).1,
            },
            Self::Calendar { span, quarter_start_month } => match span.length() {
                Length::Millis(length) => self.start(anchor, now).checked_add(length),
                Length::Months(length) => month_start(
                    calendar_months(now, length, span.unit, quarter_start_month) + length,
                ),
            },
        }
    }

    /// The end of the `cycles`-th window from now on, this one being the first.
    pub fn end_of_cycle(self, anchor: i64, now: i64, cycles: u32) -> Option<i64> {
        let mut at = now;
        for _ in 0..cycles {
            at = self.end(anchor, at)?;
        }
        Some(at)
    }
}

/// Start and end of the window around `now`, `length` months long, counted from the anchor; the
/// last day of a shorter month stands for a day that it has not.
fn rolling_months(anchor: i64, now: i64, length: i64) -> (i64, Option<i64>) {
    let Some(first) = civil(anchor) else { return (anchor, None) };
    let at = |index: i64| {
        let months = (index * length).months();
        let date = first.checked_add(months).ok()?;
        millis(date)
    };
    let Some(today) = civil(now) else { return (anchor, None) };
    let months = month_index(today) - month_index(first);
    // The estimate is at most one too high: the day of the month may not have been reached.
    let mut index = months.div_euclid(length);
    if at(index).is_none_or(|start| start > now) {
        index -= 1;
    }
    (at(index).unwrap_or(anchor), at(index + 1))
}

/// The first month of the calendar window, in months since the year 0.
fn calendar_months(now: i64, length: i64, unit: Unit, quarter_start_month: u8) -> i64 {
    let index = civil(now).map_or(0, month_index);
    let shift = if unit == Unit::Quarter { i64::from(quarter_start_month) - 1 } else { 0 };
    (index - shift).div_euclid(length) * length + shift
}

fn civil(at: i64) -> Option<jiff::civil::DateTime> {
    let at = jiff::Timestamp::from_millisecond(at).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(at))
}

fn millis(date: jiff::civil::DateTime) -> Option<i64> {
    Some(jiff::tz::Offset::UTC.to_timestamp(date).ok()?.as_millisecond())
}

fn month_index(date: jiff::civil::DateTime) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

fn month_start(index: i64) -> Option<i64> {
    let year = i16::try_from(index.div_euclid(12)).ok()?;
    let month = i8::try_from(index.rem_euclid(12) + 1).ok()?;
    millis(jiff::civil::Date::new(year, month, 1).ok()?.to_datetime(jiff::civil::Time::midnight()))
}

/// `at` as RFC 3339 in UTC, to the second; for messages.
pub fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_second(at.div_euclid(1_000))
        .map_or_else(|_| at.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn calendar(span: &str, quarter: u8) -> Window {
        Window::new(span.parse().unwrap(), true, quarter)
    }

    fn rolling(span: &str) -> Window {
        Window::new(span.parse().unwrap(), false, 1)
    }

    #[test]
    fn spans_are_read_and_written() {
        for text in ["30s", "1m", "5m", "1h", "1d", "1w", "1M", "1Q", "1Y", "90d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["", "s", "0s", "1", "1x", "-1d", "1 d", "1.5h", "1mo", "½d", "+1d"] {
            assert_eq!(text.parse::<Span>(), Err(BadSpan::Malformed), "{text}");
        }
        for text in ["101Y", "99999999999s", "3155760001s"] {
            assert_eq!(text.parse::<Span>(), Err(BadSpan::TooLong), "{text}");
        }
        assert_ne!("1m".parse::<Span>(), "1M".parse::<Span>(), "minute and month differ");
    }

    #[test]
    fn windows_are_written_and_read_back() {
        for window in [Window::Never, rolling("90d"), calendar("1w", 1), calendar("2Q", 4)] {
            assert_eq!(window.to_string().parse(), Ok(window));
        }
        for text in ["", "rolling", "rolling 1", "calendar 1M", "calendar 1M x"] {
            assert_eq!(text.parse::<Window>(), Err(BadSpan::Malformed), "{text}");
        }
    }

    #[test]
    fn calendar_windows_begin_and_end_on_the_calendar() {
        let cases = [
            ("1d", 1, "2026-03-31T23:59:59Z", "2026-03-31T00:00:00Z", "2026-04-01T00:00:00Z"),
            ("1w", 1, "2026-03-01T12:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("1w", 1, "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"),
            ("1M", 1, "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("1M", 1, "2025-12-31T23:59:59Z", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("1Q", 1, "2026-06-30T23:59:59Z", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"),
            ("1Q", 2, "2026-01-15T00:00:00Z", "2025-11-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("1Q", 12, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"),
            ("1Y", 1, "2024-12-31T23:59:59Z", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ];
        for (span, quarter, now, start, end) in cases {
            let window = calendar(span, quarter);
            assert_eq!(window.start(0, at(now)), at(start), "{span} {now}");
            assert_eq!(window.end(0, at(now)), Some(at(end)), "{span} {now}");
        }
    }

    #[test]
    fn rolling_months_remember_the_day_of_their_anchor() {
        let window = rolling("1M");
        let anchor = at("2024-01-31T10:00:00Z");
        let bounds = [
            "2024-01-31T10:00:00Z",
            "2024-02-29T10:00:00Z",
            "2024-03-31T10:00:00Z",
            "2024-04-30T10:00:00Z",
            "2024-05-31T10:00:00Z",
        ];
        for pair in bounds.windows(2) {
            let (start, end) = (at(pair[0]), at(pair[1]));
            for now in [start, start + 1, end - 1] {
                assert_eq!(window.start(anchor, now), start, "{now}");
                assert_eq!(window.end(anchor, now), Some(end), "{now}");
            }
        }
        let leap = rolling("1Y");
        let anchor = at("2024-02-29T00:00:00Z");
        assert_eq!(leap.end(anchor, anchor), Some(at("2025-02-28T00:00:00Z")));
        let now = at("2027-12-31T00:00:00Z");
        assert_eq!(leap.end(anchor, now), Some(at("2028-02-29T00:00:00Z")));
    }

    #[test]
    fn rolling_windows_follow_one_another() {
        let window = rolling("30s");
        assert_eq!(window.start(1_000, 30_999), 1_000);
        assert_eq!(window.start(1_000, 31_000), 31_000);
        assert_eq!(window.end(1_000, 31_000), Some(61_000));
        assert_eq!(window.start(1_000, 0), 1_000, "a clock set back does not open a window");
        assert_eq!(calendar("1h", 1), rolling("1h"), "below a day nothing is aligned");
        assert_eq!(Window::Never.end(5, 10), None);
        assert_eq!(calendar("1M", 1).end_of_cycle(0, at("2026-01-15T00:00:00Z"), 2), {
            Some(at("2026-03-01T00:00:00Z"))
        });
    }

    proptest::proptest! {
        #[test]
        fn now_lies_in_its_window(
            anchor in 0_i64..4_000_000_000_000, later in 0_i64..1_000_000_000_000,
            count in 1_u32..30, unit in 0_usize..8, aligned: bool, quarter in 1_u8..13,
        ) {
            let unit = ["s", "m", "h", "d", "w", "M", "Q", "Y"][unit];
            let window = Window::new(format!("{count}{unit}").parse().unwrap(), aligned, quarter);
            let now = anchor + later;
            let (start, end) = (window.start(anchor, now), window.end(anchor, now).unwrap());
            proptest::prop_assert!(start <= now && now < end, "{start} {now} {end}");
            proptest::prop_assert_eq!(window.start(anchor, end - 1), start);
            proptest::prop_assert_eq!(window.start(anchor, end), end);
        }
    }
}
