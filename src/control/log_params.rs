//! The parameters of the log API: which requests, which page, which histogram.
//!
//! In: a query, as Bifrost's clients write it. Out: a [`Filter`] and what else was asked. Never:
//! ignores a parameter that it doesn't know, which would show more than was meant.

use crate::control::answer::Refusal;
use crate::store::log_filter::{Filter, Label};
use crate::store::log_page::{Cursor, Place, Sort};
use jiff::{SignedDuration, Timestamp};

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 1000;

/// Parameters that hold a list, and their dimension.
const LISTS: [(&str, &str); 13] = [
    ("providers", "provider"),
    ("models", "model"),
    ("aliases", "alias"),
    ("status", "status"),
    ("objects", "object"),
    ("stop_reasons", "stop_reason"),
    ("apps", "app"),
    ("user_agents", "app"),
    ("selected_key_ids", "selected_key"),
    ("virtual_key_ids", "virtual_key"),
    ("team_ids", "team"),
    ("customer_ids", "customer"),
    ("routing_rule_ids", "routing_rule"),
];

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pub filter: Filter,
    pub place: Place,
    /// Of a histogram: seconds of one bar.
    pub bucket_seconds: Option<i64>,
    pub dimension: Option<String>,
    pub dimensions: Vec<String>,
}

impl Params {
    /// Reads a query; `now` for periods.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn read(query: &str, now: Timestamp) -> Result<Self, Refusal> {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self::of(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())), now)
    }

    /// As [`Params::read`], from names and values.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn of(
        pairs: impl IntoIterator<Item = (String, String)>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let mut params = Self::default();
        params.place.limit = LIMIT;
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            let taken = params.take(&name, &value, now);
            let taken = taken.ok_or_else(|| Refusal::invalid(format!("{name}: bad value")))?;
            if !taken {
                return Err(Refusal::invalid(format!("{name}: unknown parameter")));
            }
        }
        Ok(params)
    }

    /// Takes one parameter: `None` for a bad value, `false` for an unknown name.
    fn take(&mut self, name: &str, value: &str, now: Timestamp) -> Option<bool> {
        if let Some((_, dimension)) = LISTS.iter().find(|(list, _)| *list == name) {
            let values = value.split(',').filter(|value| !value.is_empty());
            let values = values.map(str::to_owned).collect();
            self.filter.values.push((Filter::dimension(dimension)?, values));
            return Some(true);
        }
        if let Some(label) = name.strip_prefix("metadata_") {
            let label = Label { name: label.to_ascii_lowercase(), value: value.to_owned() };
            self.filter.labels.push(label);
            return Some(true);
        }
        if self.take_place(name, value)? {
            return Some(true);
        }
        let filter = &mut self.filter;
        match name {
            "start_time" => filter.start = Some(time(value)?),
            "end_time" => filter.end = Some(time(value)?),
            "period" => {
                filter.start = Some(now.checked_sub(period(value)?).ok()?.as_microsecond());
            }
            "parent_request_id" => filter.parent = Some(value.to_owned()),
            "session_id" => filter.session = Some(value.to_owned()),
            "request_id" => filter.request = Some(value.to_owned()),
            "content_search" => filter.content = Some(value.to_owned()),
            "roots_only" => filter.roots_only = value.parse().ok()?,
            "missing_cost_only" => filter.missing_cost_only = value.parse().ok()?,
            "min_latency" => filter.min_latency = Some(micros(value)?),
            "max_latency" => filter.max_latency = Some(micros(value)?),
            "min_tokens" => filter.min_tokens = Some(value.parse().ok()?),
            "max_tokens" => filter.max_tokens = Some(value.parse().ok()?),
            "min_cost" => filter.min_cost = Some(value.parse().ok()?),
            "max_cost" => filter.max_cost = Some(value.parse().ok()?),
            "dimension" => self.dimension = Some(value.to_owned()),
            "dimensions" => self.dimensions = value.split(',').map(str::to_owned).collect(),
            "bucket_seconds" | "bucket_size_seconds" => {
                self.bucket_seconds = Some(value.parse().ok().filter(|seconds| *seconds > 0)?);
            }
            _ => return Some(false),
        }
        Some(true)
    }

    fn take_place(&mut self, name: &str, value: &str) -> Option<bool> {
        let place = &mut self.place;
        match name {
            "limit" => place.limit = value.parse::<u32>().ok()?.clamp(1, LIMIT_MAX),
            "offset" => place.offset = value.parse().ok()?,
            "cursor" => place.cursor = Some(Cursor::parse(value)?),
            "sort_by" => {
                place.sort = match value {
                    "timestamp" => Sort::Time,
                    "latency" => Sort::Latency,
                    "tokens" => Sort::Tokens,
                    "cost" => Sort::Cost,
                    _ => return None,
                }
            }
            "order" => {
                place.ascending = match value {
                    "asc" => true,
                    "desc" => false,
                    _ => return None,
                }
            }
            _ => return Some(false),
        }
        Some(true)
    }
}

/// RFC 3339, in microseconds.
fn time(text: &str) -> Option<i64> {
    // A plus that a client forgot to escape has become a space.
    text.replace(' ', "+").parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// `30m`, `24h`, `7d`.
fn period(text: &str) -> Option<SignedDuration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(at)?;
    let number: i64 = number.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(SignedDuration::from_secs(number.checked_mul(seconds)?))
}

/// Milliseconds, in microseconds.
#[expect(clippy::cast_possible_truncation, reason = "an absurd latency is as good as the largest")]
fn micros(text: &str) -> Option<i64> {
    text.parse::<f64>().ok().filter(|ms| ms.is_finite()).map(|ms| (ms * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, Refusal> {
        Params::read(query, Timestamp::from_second(1_000_000).unwrap())
    }

    #[test]
    fn a_query_is_read_as_bifrosts_clients_write_it() {
        let params = read(
            "providers=openai,anthropic&status=error&start_time=2026-01-01T00:00:00.5Z\
             &min_latency=1.5&metadata_Team=a&limit=5000&sort_by=cost&order=asc&cursor=2.5:77",
        )
        .unwrap();
        let filter = params.filter;
        assert_eq!(filter.values.len(), 2);
        assert_eq!(filter.values[0].1, ["openai", "anthropic"]);
        assert_eq!(filter.start, Some(1_767_225_600_500_000));
        assert_eq!((filter.min_latency, params.place.limit), (Some(1500), LIMIT_MAX));
        assert_eq!(filter.labels[0].name, "team");
        assert_eq!(params.place.cursor, Some(Cursor { key: 2.5, seq: 77 }));
        let day = read("period=1d").unwrap().filter.start;
        assert_eq!(day, Some(1_000_000_000_000 - 86_400_000_000));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in ["colour=red", "limit=x", "sort_by=beauty", "start_time=yesterday", "order=up"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
