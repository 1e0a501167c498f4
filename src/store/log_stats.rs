//! Figures of the log: sums, histograms, the values of a dimension.
//!
//! In: a filter. Out: sums. Whole hours come from the counters wherever these can answer; only what
//! an hour has at the edges of the asked time, and filters of several dimensions, is read from the
//! rows. Never: reads bodies.

use super::log_counters::{COST, LATENCY, OF_ROWS, SUMS, begin, hour, middle, summed};
use super::log_filter::{Counted, Filter};
use super::log_row::PER_MICROSECOND;
use super::sql::{Fault, Row, Session, Statement, Value};
use std::collections::BTreeMap;

/// What [`SUMS`] came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    pub requests: i64,
    pub errors: i64,
    pub cancelled: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_write_tokens: i64,
    pub total_tokens: i64,
    pub cost: f64,
    pub total_us: i64,
    pub first_byte_us: i64,
    pub own_us: i64,
}

impl Sums {
    fn of(values: &[Value]) -> Self {
        let int = |at: usize| values.get(at).map_or(0, Value::int);
        Self {
            requests: int(0),
            errors: int(1),
            cancelled: int(2),
            input_tokens: int(3),
            output_tokens: int(4),
            cache_read_tokens: int(5),
            cache_write_tokens: int(6),
            total_tokens: int(7),
            cost: values.get(COST).map_or(0.0, Value::real),
            total_us: int(9),
            first_byte_us: int(10),
            own_us: int(11),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.total_tokens += other.total_tokens;
        self.cost += other.cost;
        self.total_us += other.total_us;
        self.first_byte_us += other.first_byte_us;
        self.own_us += other.own_us;
    }
}

/// Sums by when it was and by the value of a dimension.
pub type Table = BTreeMap<(i64, Box<str>), Sums>;

/// How a table is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'l> {
    /// Microseconds of one line, in which it begins at a multiple of it; 0 for one line in all.
    pub step: i64,
    /// The dimension whose values have a line each; `""` for none.
    pub by: &'l str,
}

/// The whole of what a filter means.
///
/// # Errors
/// The database's own.
pub fn sums(session: &mut dyn Session, filter: &Filter) -> Result<Sums, Fault> {
    let table = table(session, filter, Layout { step: 0, by: "" })?;
    Ok(table.values().fold(Sums::default(), |mut all, one| {
        all.add(one);
        all
    }))
}

/// Sums by time and dimension.
///
/// # Errors
/// The database's own.
pub fn table(
    session: &mut dyn Session,
    filter: &Filter,
    layout: Layout<'_>,
) -> Result<Table, Fault> {
    let mut table = Table::new();
    let hourly = layout.step == 0 || layout.step % begin(1) == 0;
    let counted = filter.counted().filter(|_| hourly).filter(|counted| {
        // Counters know one dimension at a time.
        layout.by.is_empty() || counted.dimension.is_empty() || counted.dimension == layout.by
    });
    let Some(counted) = counted else {
        rows(session, filter, layout, &mut table)?;
        return Ok(table);
    };
    let first = filter.start.map(|start| hour(start.saturating_add(begin(1) - 1)));
    let last = filter.end.map(hour);
    if let (Some(first), Some(last)) = (first, last)
        && first >= last
    {
        rows(session, filter, layout, &mut table)?;
        return Ok(table);
    }
    hours(session, &counted, (first, last), layout, &mut table)?;
    for edge in [
        filter.start.zip(first).map(|(start, first)| (start, begin(first))),
        filter.end.zip(last).map(|(end, last)| (begin(last), end)),
    ] {
        if let Some((start, end)) = edge.filter(|(start, end)| start < end) {
            let edge = Filter { start: Some(start), end: Some(end), ..filter.clone() };
            rows(session, &edge, layout, &mut table)?;
        }
    }
    Ok(table)
}

/// From the counters: whole hours.
fn hours(
    session: &mut dyn Session,
    counted: &Counted<'_>,
    (first, last): (Option<i64>, Option<i64>),
    layout: Layout<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    let step = layout.step / begin(1);
    let when = match step {
        0 => "0".to_owned(),
        1 => "hour".to_owned(),
        step => format!("hour / {step} * {step}"),
    };
    let dimension = if layout.by.is_empty() { counted.dimension } else { layout.by };
    let value = if layout.by.is_empty() { "''" } else { "value" };
    let mut statement = Statement::new(&format!(
        "SELECT CAST({when} AS BIGINT) AS line, {value} AS what, {} FROM counters \
         WHERE dimension = ",
        summed(&SUMS)
    ));
    statement.bind(dimension);
    if let Some(first) = first {
        statement.push(" AND hour >= ").bind(first);
    }
    if let Some(last) = last {
        statement.push(" AND hour < ").bind(last);
    }
    if !counted.values.is_empty() {
        let values = counted.values.iter().map(|value| Value::from(value.as_str()));
        statement.push(" AND value IN ").list(values);
    }
    statement.push(match (step, layout.by.is_empty()) {
        (0, true) => "",
        (0, false) => " GROUP BY value",
        (_, true) => " GROUP BY line",
        (_, false) => " GROUP BY line, value",
    });
    for row in statement.query(session)? {
        add(table, &row, begin(1));
    }
    Ok(())
}

/// From the rows themselves.
fn rows(
    session: &mut dyn Session,
    filter: &Filter,
    layout: Layout<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    let when = match layout.step {
        0 => "0".to_owned(),
        step => format!("time / {step}"),
    };
    let by = Filter::dimension(layout.by).map_or("''", |dimension| dimension.column);
    let mut statement = Statement::new(&format!(
        "SELECT CAST({when} AS BIGINT) AS line, {by} AS what, {} FROM requests WHERE seq > 0",
        summed(&OF_ROWS)
    ));
    filter.conditions(&mut statement, session.like());
    statement.push(match (layout.step, by) {
        (0, "''") => "",
        (0, _) => " GROUP BY what",
        (_, "''") => " GROUP BY line",
        (_, _) => " GROUP BY line, what",
    });
    for row in statement.query(session)? {
        if !layout.by.is_empty() && row.get(1).is_none_or(|what| what.text().is_empty()) {
            continue;
        }
        add(table, &row, layout.step.max(1));
    }
    Ok(())
}

fn add(table: &mut Table, row: &Row, unit: i64) {
    let [line, what, values @ ..] = row.as_slice() else { return };
    let sums = Sums::of(values);
    if sums.requests != 0 {
        let key = (line.int().saturating_mul(unit), what.text().into());
        table.entry(key).or_default().add(&sums);
    }
}

/// One value of a dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    pub value: Box<str>,
    /// As people call it; the value where it has no other name.
    pub name: Box<str>,
    pub requests: i64,
}

/// The values that a dimension has, most frequent first.
///
/// # Errors
/// The database's own.
pub fn facets(
    session: &mut dyn Session,
    dimension: &str,
    filter: &Filter,
) -> Result<Vec<Facet>, Fault> {
    let table = table(session, filter, Layout { step: 0, by: dimension })?;
    let named =
        session.query("SELECT value, name FROM names WHERE dimension = $1", &[dimension.into()])?;
    let names: BTreeMap<_, _> =
        named.iter().filter_map(|row| Some((row.first()?.text(), row.get(1)?.text()))).collect();
    let mut facets: Vec<_> = table
        .into_iter()
        .map(|((_, value), sums)| Facet {
            name: names.get(&*value).map_or_else(|| value.clone(), |name| (*name).into()),
            value,
            requests: sums.requests,
        })
        .collect();
    facets.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.value.cmp(&b.value)));
    Ok(facets)
}

/// How often each latency was met, by time: bucket (see [`middle`]) and count.
///
/// # Errors
/// The database's own.
pub fn latencies(
    session: &mut dyn Session,
    filter: &Filter,
    step: i64,
) -> Result<BTreeMap<i64, BTreeMap<i64, i64>>, Fault> {
    let mut found: BTreeMap<i64, BTreeMap<i64, i64>> = BTreeMap::new();
    let whole = filter.counted().is_some_and(|counted| counted.dimension.is_empty());
    let hourly = step > 0 && step % begin(1) == 0;
    let unit = step.max(1);
    let mut statement = if whole && hourly {
        let mut statement = Statement::new(&format!(
            "SELECT hour / {step} AS line, value, CAST(SUM(requests) AS BIGINT) FROM counters \
             WHERE dimension = '{LATENCY}'",
            step = step / begin(1),
        ));
        if let Some(start) = filter.start {
            statement.push(" AND hour >= ").bind(hour(start));
        }
        if let Some(end) = filter.end {
            statement.push(" AND hour < ").bind(hour(end.saturating_add(begin(1) - 1)));
        }
        statement.push(" GROUP BY line, value");
        statement
    } else {
        let mut statement = Statement::new(&format!(
            "SELECT time / {unit} AS line, total_us, COUNT(*) FROM requests WHERE seq > 0"
        ));
        filter.conditions(&mut statement, session.like());
        statement.push(" GROUP BY line, total_us");
        statement
    };
    let from_counters = whole && hourly;
    for row in statement.push("").query(session)? {
        let [line, value, count] = row.as_slice() else { continue };
        let bucket = if from_counters {
            value.text().parse().unwrap_or(0)
        } else {
            super::log_counters::bucket(value.int())
        };
        let line = found.entry(line.int().saturating_mul(unit)).or_default();
        *line.entry(bucket).or_default() += count.int();
    }
    Ok(found)
}

/// A latency that so many of all stay below, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn quantile(buckets: &BTreeMap<i64, i64>, share: f64) -> f64 {
    let all: i64 = buckets.values().sum();
    let mut seen = 0;
    for (bucket, count) in buckets {
        seen += count;
        if seen as f64 >= all as f64 * share {
            return middle(*bucket);
        }
    }
    0.0
}

/// Whether there is any row at all.
///
/// # Errors
/// The database's own.
pub fn has_rows(session: &mut dyn Session) -> Result<bool, Fault> {
    Ok(!session.query("SELECT seq FROM requests LIMIT 1", &[])?.is_empty())
}

/// The time of a row's number, in microseconds.
pub const fn time_of(seq: i64) -> i64 {
    seq.div_euclid(PER_MICROSECOND)
}
