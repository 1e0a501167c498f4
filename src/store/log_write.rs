//! Rows into the log, and out of it again: written in batches, forgotten when old, deleted, repriced.
//!
//! In: rows. Out: tables whose counters agree with their rows, whatever happens in between: each
//! function is one transaction. Never: leaves a body without its row.

use super::log_counters::{self, Sums};
use super::log_filter::Filter;
use super::log_row::{Columns, PER_MICROSECOND, Written};
use super::log_schema::COLUMNS;
use super::sql::{Fault, Row, Session, Statement, Value, transaction};
use std::collections::HashSet;

/// Rows that one transaction deletes or changes.
const CHUNK: i64 = 2_000;

/// What a writer remembers between two batches.
#[derive(Debug, Default)]
pub struct Writer {
    known: HashSet<(&'static str, Box<str>, Box<str>)>,
}

impl Writer {
    /// Writes a batch; gives the rows as they were written.
    ///
    /// # Errors
    /// The database's own; nothing is written then.
    pub fn insert(
        &mut self,
        session: &mut dyn Session,
        batch: &mut Vec<Written>,
    ) -> Result<Vec<Row>, Fault> {
        let known = &mut self.known;
        let done = transaction(session, |session| {
            let mut sums = Sums::default();
            let insert = insert_sql();
            for one in batch.iter_mut() {
                insert_row(session, &insert, &mut one.row)?;
                sums.add(&one.row, 1.0);
                if let Some((request, request_cut, response, response_cut)) = &one.bodies {
                    let seq = one.row.first().cloned().unwrap_or(Value::Null);
                    let values = [
                        seq,
                        request.as_str().into(),
                        Value::Int(i64::from(*request_cut)),
                        response.as_str().into(),
                        Value::Int(i64::from(*response_cut)),
                    ];
                    session.execute(
                        "INSERT INTO bodies (seq, request, request_cut, response, response_cut) \
                         VALUES ($1, $2, $3, $4, $5)",
                        &values,
                    )?;
                }
            }
            sums.write(session, known)
        });
        if done.is_err() {
            known.clear();
        }
        done.map(|()| batch.drain(..).map(|one| one.row).collect())
    }
}

fn insert_sql() -> String {
    let places: Vec<_> = (1..=COLUMNS.len()).map(|at| format!("${at}")).collect();
    format!(
        "INSERT INTO requests ({}) VALUES ({}) ON CONFLICT (seq) DO NOTHING",
        COLUMNS.join(", "),
        places.join(", ")
    )
}

/// Two requests of the same microsecond get numbers of their own.
fn insert_row(session: &mut dyn Session, sql: &str, row: &mut Row) -> Result<(), Fault> {
    for _ in 0..PER_MICROSECOND {
        if session.execute(sql, row)? > 0 {
            return Ok(());
        }
        if let Some(Value::Int(seq)) = row.first_mut() {
            *seq += 1;
        }
    }
    Err(Fault::Refused("too many requests of the same microsecond".to_owned()))
}

/// Forgets some of what began before; `true` when there may be more. Counters go by whole hours.
///
/// # Errors
/// The database's own.
pub fn forget(session: &mut dyn Session, before_us: i64) -> Result<bool, Fault> {
    let hour = log_counters::hour(before_us);
    let until = log_counters::begin(hour).saturating_mul(PER_MICROSECOND);
    transaction(session, |session| {
        let mut gone = 0;
        for table in ["bodies", "requests"] {
            let mut statement = Statement::new(&format!(
                "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} WHERE seq < "
            ));
            statement.bind(until).push(" ORDER BY seq LIMIT ").bind(CHUNK).push(")");
            gone = statement.execute(session)?;
        }
        log_counters::forget(session, hour)?;
        Ok(gone >= u64::try_from(CHUNK).unwrap_or(u64::MAX))
    })
}

/// Deletes rows by their ids; gives how many there were.
///
/// # Errors
/// The database's own; nothing is deleted then.
pub fn delete(session: &mut dyn Session, ids: &[String]) -> Result<u64, Fault> {
    transaction(session, |session| {
        let mut statement =
            Statement::new(&format!("SELECT {} FROM requests WHERE id IN ", COLUMNS.join(", ")));
        statement.list(ids.iter().map(|id| Value::from(id.as_str())));
        let rows = statement.query(session)?;
        let mut sums = Sums::default();
        for row in &rows {
            sums.add(row, -1.0);
            let seq = row.first().cloned().unwrap_or(Value::Null);
            for table in ["bodies", "requests"] {
                let sql = format!("DELETE FROM {table} WHERE seq = $1");
                session.execute(&sql, std::slice::from_ref(&seq))?;
            }
        }
        sums.write(session, &mut HashSet::new())?;
        Ok(rows.len() as u64)
    })
}

/// How far a recalculation has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repriced {
    /// The next one begins behind this row; `None`: it is over.
    pub after: Option<i64>,
    pub seen: u64,
    pub changed: u64,
}

/// Prices some of the rows that a filter means anew; `price` in nano-dollars.
///
/// # Errors
/// The database's own.
pub fn reprice(
    session: &mut dyn Session,
    filter: &Filter,
    after: i64,
    price: &dyn Fn(Columns<'_>) -> Option<u64>,
) -> Result<Repriced, Fault> {
    transaction(session, |session| {
        let mut statement =
            Statement::new(&format!("SELECT {} FROM requests WHERE seq > ", COLUMNS.join(", ")));
        statement.bind(after);
        filter.conditions(&mut statement, session.like());
        statement.push(" ORDER BY seq LIMIT ").bind(CHUNK);
        let rows = statement.query(session)?;
        let (mut sums, mut changed) = (Sums::default(), 0);
        for row in &rows {
            let columns = Columns(row);
            let Some(cost) = price(columns) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "dollars, for people")]
            let cost = cost as f64 * 1e-9;
            let old = columns.real("cost");
            if columns.int("priced") != 0 && (cost - old).abs() < 1e-12 {
                continue;
            }
            changed += 1;
            sums.add_cost(row, cost - old);
            session.execute(
                "UPDATE requests SET cost = $1, priced = 1 WHERE seq = $2",
                &[cost.into(), columns.get("seq").clone()],
            )?;
        }
        sums.write(session, &mut HashSet::new())?;
        let more = rows.len() as u64 >= u64::try_from(CHUNK).unwrap_or(u64::MAX);
        let last = rows.last().map(|row| Columns(row).int("seq"));
        Ok(Repriced { after: last.filter(|_| more), seen: rows.len() as u64, changed })
    })
}
