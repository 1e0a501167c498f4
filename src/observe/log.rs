//! Lines for the operator on standard error, as JSON or as plain text.
//!
//! In: a level, a sentence, and pairs. Out: one line. Meant for start, reload and trouble: nothing
//! on the hot path writes here. Never: prints a secret; values are given by the caller in the clear.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "debug" | "trace" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warn),
            "error" | "fatal" => Some(Self::Error),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static PRETTY: AtomicU8 = AtomicU8::new(0);

/// Sets the least level that is printed, and the style.
pub fn configure(level: Level, pretty: bool) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    PRETTY.store(u8::from(pretty), Ordering::Relaxed);
}

/// Prints one line.
pub fn line(level: Level, message: &str, pairs: &[(&str, &str)]) {
    if (level as u8) < LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut text = Vec::with_capacity(128);
    let time = jiff::Timestamp::now();
    if PRETTY.load(Ordering::Relaxed) == 1 {
        text.extend_from_slice(format!("{time:.3} {:5} {message}", level.name()).as_bytes());
        for (name, value) in pairs {
            text.extend_from_slice(format!(" {name}={value}").as_bytes());
        }
    } else {
        let mut object = serde_json::Map::new();
        object.insert("time".to_owned(), format!("{time:.3}").into());
        object.insert("level".to_owned(), level.name().into());
        object.insert("message".to_owned(), message.into());
        for (name, value) in pairs {
            object.insert((*name).to_owned(), (*value).into());
        }
        text.extend_from_slice(serde_json::Value::Object(object).to_string().as_bytes());
    }
    text.push(b'\n');
    // Nobody listens: nothing to be done.
    let _closed = std::io::stderr().write_all(&text);
}

pub fn info(message: &str, pairs: &[(&str, &str)]) {
    line(Level::Info, message, pairs);
}

pub fn warn(message: &str, pairs: &[(&str, &str)]) {
    line(Level::Warn, message, pairs);
}

pub fn error(message: &str, pairs: &[(&str, &str)]) {
    line(Level::Error, message, pairs);
}
