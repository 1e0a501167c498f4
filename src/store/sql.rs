//! SQL as SQLite and Postgres both understand it.
//!
//! In: statements whose values are named `$1`, `$2`, … in the order in which they stand. Out: rows
//! of [`Value`]s. Never: puts a value into the text of a statement.

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, Value as Native, ValueRef};

/// One value of a row or of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(Box<str>),
}

impl Value {
    pub fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// 0 where it is no number.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(int) => *int,
            #[expect(clippy::cast_possible_truncation, reason = "a sum that left the integers")]
            Self::Real(real) => *real as i64,
            Self::Null | Self::Text(_) => 0,
        }
    }

    /// 0 where it is no number.
    pub fn real(&self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            Self::Int(int) => *int as f64,
            Self::Real(real) => *real,
            Self::Null | Self::Text(_) => 0.0,
        }
    }

    /// Empty where it is no text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Null | Self::Int(_) | Self::Real(_) => "",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// A row, in the order of the statement.
pub type Row = Vec<Value>;

/// Why a statement gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It took too long and was given up.
    #[error("the question took too long; narrow its time or its filters")]
    TooLong,
    #[error("{0}")]
    Refused(String),
}

/// A connection to a database.
pub trait Session {
    /// Runs a statement; gives the number of rows that it changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Fault>;

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Fault>;

    /// `BEGIN`, `COMMIT`, `ROLLBACK`, and what creates tables.
    fn batch(&mut self, sql: &str) -> Result<(), Fault>;

    /// `LIKE` that takes no notice of case.
    fn like(&self) -> &'static str;
}

/// Runs `work` as a whole or not at all.
///
/// # Errors
/// Its own, or why it could not be committed.
pub fn transaction<T>(
    session: &mut dyn Session,
    work: impl FnOnce(&mut dyn Session) -> Result<T, Fault>,
) -> Result<T, Fault> {
    session.batch("BEGIN")?;
    let done = work(session).and_then(|value| session.batch("COMMIT").map(|()| value));
    if done.is_err() {
        // What failed is told; that it left nothing behind is all that is wanted here.
        let _already_over = session.batch("ROLLBACK");
    }
    done
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => Self::TooLong,
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Native::Null),
            Self::Int(int) => ToSqlOutput::Owned(Native::Integer(*int)),
            Self::Real(real) => ToSqlOutput::Owned(Native::Real(*real)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

impl Session for Connection {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Fault> {
        let changed = self.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
        Ok(changed as u64)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Fault> {
        let mut statement = self.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|at| row.get_ref(at).map(value));
            found.push(values.collect::<Result<_, _>>()?);
        }
        Ok(found)
    }

    fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        Ok(self.execute_batch(sql)?)
    }

    fn like(&self) -> &'static str {
        "LIKE"
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Value::Text(String::from_utf8_lossy(text).into())
        }
    }
}

/// A statement being put together.
#[derive(Debug, Default)]
pub struct Statement {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    pub fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a value, and its name to the text.
    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
        self
    }

    /// Adds `($1, $2, …)`.
    pub fn list(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        self.push("(");
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self.push(")")
    }

    pub fn query(&self, session: &mut dyn Session) -> Result<Vec<Row>, Fault> {
        session.query(&self.sql, &self.values)
    }

    pub fn execute(&self, session: &mut dyn Session) -> Result<u64, Fault> {
        session.execute(&self.sql, &self.values)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<f64> for Value {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}
