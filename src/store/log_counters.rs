//! Figures per hour and dimension, kept when rows are written, so that nobody has to read the rows.
//!
//! In: rows as they come and go. Out: sums to be added to the table `counters`: one line for each
//! hour, dimension and value. Never: reads a row that is there already.

use super::log_row::Columns;
use super::sql::{Fault, Row, Session, Statement, Value};
use std::collections::{BTreeMap, HashSet};

/// A dimension: its name, the column of its values, and that of their names, if they have any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimension {
    pub name: &'static str,
    pub column: &'static str,
    pub named: &'static str,
}

const fn plain(name: &'static str, column: &'static str) -> Dimension {
    Dimension { name, column, named: "" }
}

const fn named(name: &'static str, column: &'static str, named: &'static str) -> Dimension {
    Dimension { name, column, named }
}

/// What requests are counted by, beside all of them together (the dimension `""`).
pub const DIMENSIONS: [Dimension; 12] = [
    plain("provider", "provider"),
    plain("model", "model"),
    plain("alias", "alias"),
    plain("status", "status"),
    plain("object", "object"),
    plain("stop_reason", "stop_reason"),
    plain("app", "app"),
    named("selected_key", "selected_key_id", "selected_key_name"),
    named("virtual_key", "virtual_key_id", "virtual_key_name"),
    named("team", "team_id", "team_name"),
    named("customer", "customer_id", "customer_name"),
    named("routing_rule", "routing_rule_id", "routing_rule_name"),
];

/// The dimension whose values are [`bucket`]s.
pub const LATENCY: &str = "latency";

/// The names of what is summed up, as columns of `counters`.
pub const SUMS: [&str; 12] = [
    "requests",
    "errors",
    "cancelled",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "total_tokens",
    "cost",
    "total_us",
    "first_byte_us",
    "own_us",
];

/// The column whose sum is no integer.
pub const COST: usize = 8;

/// Expressions over `requests` that give the same sums.
pub const OF_ROWS: [&str; 12] = [
    "1",
    "CASE WHEN status = 'error' THEN 1 ELSE 0 END",
    "CASE WHEN status = 'cancelled' THEN 1 ELSE 0 END",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "total_tokens",
    "cost",
    "total_us",
    "first_byte_us",
    "own_us",
];

const HOUR_US: i64 = 3_600_000_000;

/// Hours since 1970.
pub const fn hour(time_us: i64) -> i64 {
    time_us.div_euclid(HOUR_US)
}

/// The begin of an hour, in microseconds.
pub const fn begin(hour: i64) -> i64 {
    hour.saturating_mul(HOUR_US)
}

/// The bucket of a latency: four of them for each doubling.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "at most 4 * 63")]
pub fn bucket(total_us: i64) -> i64 {
    ((total_us.max(1) as f64).log2() * 4.0) as i64
}

/// The middle of a bucket, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "at most 4 * 63")]
pub fn middle(bucket: i64) -> f64 {
    2_f64.powf((bucket as f64 + 0.5) / 4.0)
}

type Key = (&'static str, i64, Box<str>);

/// Sums that are not in the table yet.
#[derive(Debug, Default)]
pub struct Sums {
    sums: BTreeMap<Key, [f64; SUMS.len()]>,
    names: BTreeMap<(&'static str, Box<str>), Box<str>>,
}

impl Sums {
    /// Counts a row in, or out again with `sign` -1.
    pub fn add(&mut self, row: &Row, sign: f64) {
        let columns = Columns(row);
        let status = columns.text("status");
        let one = |is: bool| if is { 1.0 } else { 0.0 };
        let figures = [
            1.0,
            one(status == "error"),
            one(status == "cancelled"),
            columns.real("input_tokens"),
            columns.real("output_tokens"),
            columns.real("cache_read_tokens"),
            columns.real("cache_write_tokens"),
            columns.real("total_tokens"),
            columns.real("cost"),
            columns.real("total_us"),
            columns.real("first_byte_us"),
            columns.real("own_us"),
        ];
        let hour = hour(columns.int("time"));
        let mut count = |dimension: &'static str, value: &str| {
            let sums = self.sums.entry((dimension, hour, value.into())).or_default();
            for (sum, figure) in sums.iter_mut().zip(figures) {
                *sum += sign * figure;
            }
        };
        count("", "");
        count(LATENCY, &bucket(columns.int("total_us")).to_string());
        for dimension in DIMENSIONS {
            let value = columns.text(dimension.column);
            if value.is_empty() {
                continue;
            }
            count(dimension.name, value);
            let name = columns.text(dimension.named);
            if !name.is_empty() && name != value && sign > 0.0 {
                self.names.insert((dimension.name, value.into()), name.into());
            }
        }
    }

    /// Counts that a row's cost has changed by so many dollars.
    pub fn add_cost(&mut self, row: &Row, dollars: f64) {
        let columns = Columns(row);
        let hour = hour(columns.int("time"));
        let values = DIMENSIONS.iter().map(|of| (of.name, columns.text(of.column)));
        let all = std::iter::once(("", "")).chain(values.filter(|(_, value)| !value.is_empty()));
        for (dimension, value) in all {
            let sums = self.sums.entry((dimension, hour, value.into())).or_default();
            if let Some(sum) = sums.get_mut(COST) {
                *sum += dollars;
            }
        }
    }

    /// Adds the sums to the table. `known`: names that need not be written again.
    ///
    /// # Errors
    /// The database's own.
    pub fn write(
        self,
        session: &mut dyn Session,
        known: &mut HashSet<(&'static str, Box<str>, Box<str>)>,
    ) -> Result<(), Fault> {
        let sets: Vec<_> =
            SUMS.iter().map(|name| format!("{name} = counters.{name} + excluded.{name}")).collect();
        let sql = format!(
            "INSERT INTO counters (dimension, hour, value, {}) VALUES \
             ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             ON CONFLICT (dimension, hour, value) DO UPDATE SET {}",
            SUMS.join(", "),
            sets.join(", ")
        );
        for ((dimension, hour, value), sums) in self.sums {
            let mut values = vec![Value::from(dimension), Value::Int(hour), Value::Text(value)];
            values.extend(sums.iter().enumerate().map(|(at, sum)| figure(at, *sum)));
            session.execute(&sql, &values)?;
        }
        for ((dimension, value), name) in self.names {
            let entry = (dimension, value, name);
            if known.contains(&entry) {
                continue;
            }
            let (_, value, name) = &entry;
            let values = [dimension.into(), Value::Text(value.clone()), Value::Text(name.clone())];
            session.execute(
                "INSERT INTO names (dimension, value, name) VALUES ($1, $2, $3) \
                 ON CONFLICT (dimension, value) DO UPDATE SET name = excluded.name",
                &values,
            )?;
            if known.len() > 10_000 {
                known.clear();
            }
            known.insert(entry);
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sums of integers, far below 2^53")]
fn figure(at: usize, sum: f64) -> Value {
    if at == COST { Value::Real(sum) } else { Value::Int(sum.round() as i64) }
}

/// The sums of [`SUMS`], as a list of expressions: `CAST(SUM(requests) AS INTEGER), …`.
pub fn summed(expressions: &[&str; SUMS.len()]) -> String {
    let all = expressions.iter().enumerate();
    let all = all.map(|(at, of)| match at {
        COST => format!("COALESCE(SUM({of}), 0.0)"),
        _ => format!("CAST(COALESCE(SUM({of}), 0) AS BIGINT)"),
    });
    all.collect::<Vec<_>>().join(", ")
}

/// Empties lines of hours that have gone.
///
/// # Errors
/// The database's own.
pub fn forget(session: &mut dyn Session, before_hour: i64) -> Result<(), Fault> {
    for dimension in DIMENSIONS.iter().map(|of| of.name).chain(["", LATENCY]) {
        let mut statement = Statement::new("DELETE FROM counters WHERE dimension = ");
        statement.bind(dimension).push(" AND hour < ").bind(before_hour);
        statement.execute(session)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{begin, bucket, hour, middle};

    #[test]
    fn a_bucket_is_within_a_tenth_of_what_it_holds() {
        for total_us in [1_i64, 7, 100, 999, 12_345, 3_000_000, 600_000_000] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let off = middle(bucket(total_us)) / total_us as f64;
            assert!((0.9..1.1).contains(&off) || total_us == 1, "{total_us}: {off}");
        }
        assert_eq!((hour(begin(7)), hour(begin(7) - 1)), (7, 6));
    }
}
