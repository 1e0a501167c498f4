//! Which requests are meant: the filters of the log API as conditions of SQL.
//!
//! In: the parameters of §6.3 of the reference, as lists and bounds. Out: conditions, or the hours
//! and the one dimension that the counters can answer for. Never: puts a value into SQL's text.

use super::log_counters::{DIMENSIONS, Dimension};
use super::log_row::PER_MICROSECOND;
use super::sql::{Statement, Value};

/// One value of a metadata label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// Which requests are meant. What is not set means all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Unix microseconds: from this on, and before that.
    pub start: Option<i64>,
    pub end: Option<i64>,
    /// Any of the values of a dimension; all of the dimensions.
    pub values: Vec<(&'static Dimension, Vec<String>)>,
    /// Kinds of requests that are left out.
    pub hidden: Vec<String>,
    pub session: Option<String>,
    pub parent: Option<String>,
    pub request: Option<String>,
    /// None that another request made.
    pub roots_only: bool,
    /// Microseconds.
    pub min_latency: Option<i64>,
    pub max_latency: Option<i64>,
    pub min_tokens: Option<i64>,
    pub max_tokens: Option<i64>,
    /// Dollars.
    pub min_cost: Option<f64>,
    pub max_cost: Option<f64>,
    pub missing_cost_only: bool,
    /// Text in request, answer or error.
    pub content: Option<String>,
    pub labels: Vec<Label>,
}

/// Where figures can be read without any row.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted<'f> {
    /// `""` for all requests.
    pub dimension: &'static str,
    /// Empty for all values of the dimension.
    pub values: &'f [String],
}

impl Filter {
    /// The dimension of a name.
    pub fn dimension(name: &str) -> Option<&'static Dimension> {
        DIMENSIONS.iter().find(|dimension| dimension.name == name)
    }

    /// What the counters can answer, up to the bounds in time: no filter, or one of a dimension.
    pub fn counted(&self) -> Option<Counted<'_>> {
        let times = Self { start: self.start, end: self.end, ..Self::default() };
        let rest = Self { values: Vec::new(), ..self.clone() };
        match self.values.as_slice() {
            _ if rest != times => None,
            [] => Some(Counted { dimension: "", values: &[] }),
            [(dimension, values)] => Some(Counted { dimension: dimension.name, values }),
            _ => None,
        }
    }

    /// Adds the conditions, each with an `AND` before it. `like` is the database's word.
    pub fn conditions(&self, to: &mut Statement, like: &str) {
        self.times(to);
        for (dimension, values) in &self.values {
            to.push(" AND ").push(dimension.column);
            match values.as_slice() {
                [value] => to.push(" = ").bind(value.as_str()),
                _ => to.push(" IN ").list(values.iter().map(|value| Value::from(value.as_str()))),
            };
            if dimension.column == "virtual_key_id" {
                // What lets the partial index be used.
                to.push(" AND virtual_key_id <> ''");
            }
            if dimension.column == "status" && !values.iter().any(|value| value == "success") {
                to.push(" AND status <> 'success'");
            }
        }
        if !self.hidden.is_empty() {
            let hidden = self.hidden.iter().map(|value| Value::from(value.as_str()));
            to.push(" AND object NOT IN ").list(hidden);
        }
        let mut equal = |column: &str, value: &Option<String>| {
            if let Some(value) = value {
                to.push(" AND ").push(column).push(" = ").bind(value.as_str());
                to.push(" AND ").push(column).push(" <> ''");
            }
        };
        equal("session_id", &self.session);
        equal("parent_id", &self.parent);
        equal("id", &self.request);
        if self.roots_only {
            to.push(" AND parent_id = ''");
        }
        self.bounds(to);
        for label in &self.labels {
            let name = serde_json::Value::from(label.name.as_str());
            let value = serde_json::Value::from(label.value.as_str());
            to.push(" AND metadata LIKE ").bind(&*pattern(&format!("{name}:{value}")));
            to.push(" ESCAPE '!'");
        }
        if let Some(text) = &self.content {
            let pattern = &*pattern(text);
            to.push(&format!(" AND (error {like} ")).bind(pattern);
            to.push(" ESCAPE '!' OR EXISTS (SELECT 1 FROM bodies WHERE bodies.seq = requests.seq");
            to.push(&format!(" AND (bodies.request {like} ")).bind(pattern);
            to.push(&format!(" ESCAPE '!' OR bodies.response {like} ")).bind(pattern);
            to.push(" ESCAPE '!')))");
        }
    }

    /// Adds the bounds in time.
    pub fn times(&self, to: &mut Statement) {
        if let Some(start) = self.start {
            to.push(" AND seq >= ").bind(start.saturating_mul(PER_MICROSECOND));
        }
        if let Some(end) = self.end {
            to.push(" AND seq < ").bind(end.saturating_mul(PER_MICROSECOND));
        }
    }

    fn bounds(&self, to: &mut Statement) {
        let integers = [
            (" AND total_us >= ", self.min_latency),
            (" AND total_us <= ", self.max_latency),
            (" AND total_tokens >= ", self.min_tokens),
            (" AND total_tokens <= ", self.max_tokens),
        ];
        for (condition, bound) in integers {
            if let Some(bound) = bound {
                to.push(condition).bind(bound);
            }
        }
        for (condition, bound) in
            [(" AND cost >= ", self.min_cost), (" AND cost <= ", self.max_cost)]
        {
            if let Some(bound) = bound {
                to.push(condition).bind(bound);
            }
        }
        if self.missing_cost_only {
            to.push(" AND priced = 0");
        }
    }
}

/// A pattern for text anywhere.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
