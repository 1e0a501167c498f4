//! Pages of the log, and single requests with their bodies.
//!
//! In: a filter, an order, where the page begins. Out: rows. A page begins behind the last row of
//! the one before (its cursor), which costs the same on every page; or so many rows from the
//! begin, counted from whichever end is nearer. Never: reads bodies for a list.

use super::log_filter::Filter;
use super::log_row::Columns;
use super::log_schema::COLUMNS;
use super::log_stats;
use super::sql::{Fault, Row, Session, Statement, Value};

/// Of a filter that no counter answers for, no more rows are counted.
pub const COUNT_MAX: i64 = 10_000;

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    #[default]
    Time,
    Latency,
    Tokens,
    Cost,
}

impl Sort {
    const fn column(self) -> &'static str {
        match self {
            Self::Time => "seq",
            Self::Latency => "total_us",
            Self::Tokens => "total_tokens",
            Self::Cost => "cost",
        }
    }
}

/// Where a page is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub sort: Sort,
    pub ascending: bool,
    pub limit: u32,
    pub offset: u32,
    /// What the page before gave.
    pub cursor: Option<Cursor>,
}

/// The last row of a page: what it was sorted by, and its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cursor {
    pub key: f64,
    pub seq: i64,
}

impl Cursor {
    /// `key:seq`, as [`Cursor::text`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, seq) = text.split_once(':')?;
        Some(Self { key: key.parse().ok()?, seq: seq.parse().ok()? })
    }

    pub fn text(&self) -> String {
        format!("{}:{}", self.key, self.seq)
    }
}

/// One page.
#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Absent on the last page.
    pub next: Option<Cursor>,
    /// All that the filter means; with `exact` false, at least so many.
    pub total: i64,
    pub exact: bool,
}

/// Reads a page.
///
/// # Errors
/// The database's own.
pub fn page(session: &mut dyn Session, filter: &Filter, place: &Place) -> Result<Page, Fault> {
    let (total, exact) = total(session, filter)?;
    let limit = i64::from(place.limit);
    let offset = i64::from(place.offset);
    // From the other end where that is nearer; only an exact count says where that is.
    let far = exact && place.cursor.is_none() && offset > total / 2;
    let wanted = if far { (total - offset).clamp(0, limit) } else { limit };
    if wanted == 0 {
        return Ok(Page { rows: Vec::new(), next: None, total, exact });
    }
    let ascending = place.ascending != far;
    let columns = COLUMNS.join(", ");
    let mut statement = Statement::new(&format!("SELECT {columns} FROM requests WHERE seq > 0"));
    filter.conditions(&mut statement, session.like());
    let column = place.sort.column();
    if let Some(cursor) = place.cursor {
        behind(&mut statement, place.sort, cursor, ascending);
    }
    let direction = if ascending { "ASC" } else { "DESC" };
    statement.push(&format!(" ORDER BY {column} {direction}"));
    if place.sort != Sort::Time {
        statement.push(&format!(", seq {direction}"));
    }
    // One more than the page has says whether there is a next one.
    let extra = i64::from(!far);
    statement.push(" LIMIT ").bind(wanted + extra);
    let skipped = if far { total - offset - wanted } else { offset };
    if skipped > 0 && place.cursor.is_none() {
        statement.push(" OFFSET ").bind(skipped);
    }
    let mut rows = statement.query(session)?;
    let more = if far { offset + wanted < total } else { rows.len() > place.limit as usize };
    rows.truncate(place.limit as usize);
    if far {
        rows.reverse();
    }
    let last = rows.last().filter(|_| more).map(|row| Columns(row));
    let next = last.map(|last| Cursor {
        key: if place.sort == Sort::Time { 0.0 } else { last.real(column) },
        seq: last.int("seq"),
    });
    Ok(Page { rows, next, total, exact })
}

fn behind(statement: &mut Statement, sort: Sort, cursor: Cursor, ascending: bool) {
    let than = if ascending { ">" } else { "<" };
    let column = sort.column();
    #[expect(clippy::cast_possible_truncation, reason = "what was an integer before")]
    let key = match sort {
        Sort::Time => {
            statement.push(&format!(" AND seq {than} ")).bind(cursor.seq);
            return;
        }
        Sort::Cost => Value::Real(cursor.key),
        Sort::Latency | Sort::Tokens => Value::Int(cursor.key as i64),
    };
    statement.push(&format!(" AND ({column}, seq) {than} (")).bind(key);
    statement.push(", ").bind(cursor.seq).push(")");
}

/// How many rows a filter means, and whether that is exact.
fn total(session: &mut dyn Session, filter: &Filter) -> Result<(i64, bool), Fault> {
    if filter.counted().is_some() {
        let sums = log_stats::sums(session, filter)?;
        return Ok((sums.requests, true));
    }
    let mut statement =
        Statement::new("SELECT COUNT(*) FROM (SELECT 1 FROM requests WHERE seq > 0");
    filter.conditions(&mut statement, session.like());
    statement.push(" LIMIT ").bind(COUNT_MAX + 1).push(") AS counted");
    let rows = statement.query(session)?;
    let found = rows.first().and_then(|row| row.first()).map_or(0, Value::int);
    Ok((found.min(COUNT_MAX), found <= COUNT_MAX))
}

/// What was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bodies {
    pub request: String,
    pub request_cut: bool,
    pub response: String,
    pub response_cut: bool,
}

/// One request with its bodies, by its id.
///
/// # Errors
/// The database's own.
pub fn one(session: &mut dyn Session, id: &str) -> Result<Option<(Row, Option<Bodies>)>, Fault> {
    let sql =
        format!("SELECT {} FROM requests WHERE id = $1 ORDER BY seq LIMIT 1", COLUMNS.join(", "));
    let Some(row) = session.query(&sql, &[id.into()])?.pop() else { return Ok(None) };
    let seq = row.first().cloned().unwrap_or(Value::Null);
    let sql = "SELECT request, request_cut, response, response_cut FROM bodies WHERE seq = $1";
    let bodies = session.query(sql, &[seq])?.pop();
    let bodies = bodies.and_then(|bodies| match bodies.as_slice() {
        [request, request_cut, response, response_cut] => Some(Bodies {
            request: request.text().to_owned(),
            request_cut: request_cut.int() != 0,
            response: response.text().to_owned(),
            response_cut: response_cut.int() != 0,
        }),
        _ => None,
    });
    Ok(Some((row, bodies)))
}
