//! Where the configuration lies: `config.json` in the application's directory, or nowhere.
//!
//! In: the directory, the environment. Out: a [`Loaded`] snapshot, or what is wrong with the
//! file. Never: falls back to the environment for a file that is there and cannot be used.

use crate::config::Snapshot;
use crate::config::check::{Outside, check};
use crate::config::fault::{Faults, Path as FaultPath};
use crate::config::network::Lookup;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file's name within the application's directory.
pub const FILE: &str = "config.json";

/// A configuration, and what it was made of.
#[derive(Debug)]
pub struct Loaded {
    pub snapshot: Snapshot,
    /// Of the file's text; none when there is no file.
    pub digest: Option<blake3::Hash>,
}

/// A file that cannot be used, and why: one fault a line.
#[derive(Debug, Clone)]
pub struct Unusable {
    pub file: PathBuf,
    pub faults: Faults,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.faults.as_slice().iter().enumerate() {
            let end = if place + 1 < self.faults.len() { "\n" } else { "" };
            write!(f, "{}: {fault}{end}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Unusable {}

/// The process's own environment. A variable that is no Unicode counts as absent.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The application's directory where none is named: `finops-gateway` below the user's
/// configuration directory.
pub fn default_dir(env: Lookup<'_>) -> PathBuf {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    config.unwrap_or_else(|| PathBuf::from(".")).join("finops-gateway")
}

/// Reads the directory's `config.json`; without one, the environment alone.
///
/// # Errors
/// Every fault of a file that is there.
pub fn load(dir: &Path, env: Lookup<'_>) -> Result<Loaded, Unusable> {
    let file = dir.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => read(&text, dir, &file, env),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let unusable = |faults| Unusable { file: PathBuf::from("environment"), faults };
            let snapshot = Snapshot::from_env(env).map_err(unusable)?;
            Ok(Loaded { snapshot, digest: None })
        }
        Err(error) => Err(unreadable(&file, &error)),
    }
}

/// Reads one file; what it names by a relative path lies in `dir`.
///
/// # Errors
/// When it is not there, and every fault of a file that is.
pub fn load_file(file: &Path, env: Lookup<'_>) -> Result<Loaded, Unusable> {
    let dir = file.parent().unwrap_or_else(|| Path::new("."));
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    read(&text, dir, file, env)
}

/// A text that was read from `file` already.
pub(super) fn read(
    text: &str,
    dir: &Path,
    file: &Path,
    env: Lookup<'_>,
) -> Result<Loaded, Unusable> {
    let open = |name: &Path| std::fs::read_to_string(dir.join(name));
    let snapshot = check(text, Outside { env, read: &open })
        .map_err(|faults| Unusable { file: file.to_owned(), faults })?;
    Ok(Loaded { snapshot, digest: Some(blake3::hash(text.as_bytes())) })
}

pub(super) fn unreadable(file: &Path, error: &io::Error) -> Unusable {
    let mut faults = Faults::default();
    faults.push(&FaultPath::root(), format!("the file cannot be read: {error}"));
    Unusable { file: file.to_owned(), faults }
}
