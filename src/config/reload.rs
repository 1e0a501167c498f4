//! A changed `config.json`, or SIGHUP, becomes a new snapshot, or a word on why not.
//!
//! In: changes of the directory, the signal. Out: [`Reload`]s into a mailbox. A file that cannot
//! be used changes nothing. Never: hands the same file out twice, unless the signal asks for it.
//!
//! Two threads of its own, since file events and signals come by blocking calls; what becomes of
//! them is decided in `Reloader`, which does no I/O.

use crate::config::Snapshot;
use crate::config::load::{FILE, Unusable, process_env, read, unreadable};
use crate::govern::price_sheet::Sheet;
use notify::{RecursiveMode, Watcher};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Editors write in several steps: this long nothing must have happened.
const QUIET: Duration = Duration::from_millis(20);
/// A directory that never rests is looked at nevertheless, after so many events.
const MOST_EVENTS: usize = 50;

/// What came of a change.
#[derive(Debug)]
pub enum Reload {
    /// Checked, and not in force yet.
    Fresh(Box<Snapshot>),
    /// A data sheet of prices, and the file to put in force with it where that is good.
    Priced { sheet: Sheet, snapshot: Option<Box<Snapshot>> },
    /// What was loaded before stays.
    Refused(Unusable),
}

/// Watches for as long as it lives.
pub struct Watch {
    /// Absent where the directory cannot be watched: then only the signal reloads.
    _files: Option<notify::RecommendedWatcher>,
    signals: Handle,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.signals.close();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Files,
    Signal,
}

/// Watches `config.json` in a directory. `digest` is that of the file that runs already
/// ([`crate::config::load::Loaded`]). Gives the watch, and what hinders it from seeing files.
///
/// # Errors
/// When the signal cannot be listened for, or no thread can be started.
pub fn watch(
    dir: &Path,
    digest: Option<blake3::Hash>,
    mailbox: flume::Sender<Reload>,
) -> io::Result<(Watch, Option<notify::Error>)> {
    let (wake, woken) = flume::bounded(MOST_EVENTS);
    let mut signals = Signals::new([SIGHUP])?;
    let handle = signals.handle();
    let on_signal = wake.clone();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("config-signal").spawn(move || {
        for _ in &mut signals {
            if on_signal.send(Wake::Signal).is_err() {
                return;
            }
        }
    })?;
    let (files, hindrance) = match watch_files(dir, wake) {
        Ok(files) => (Some(files), None),
        Err(error) => (None, Some(error)),
    };
    let reloader = Reloader { dir: dir.to_owned(), file: dir.join(FILE), digest };
    thread("config-watch").spawn(move || follow(reloader, &woken, &mailbox))?;
    Ok((Watch { _files: files, signals: handle }, hindrance))
}

/// The directory tells of renames onto the file and of changed links; the file itself tells of
/// writes where it is mounted alone.
fn watch_files(
    dir: &Path,
    wake: flume::Sender<Wake>,
) -> notify::Result<notify::RecommendedWatcher> {
    let mut files = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let read = event.as_ref().is_ok_and(|event| event.kind.is_access());
        if !read {
            // a full mailbox has a wake-up in it already
            let _ = wake.try_send(Wake::Files);
        }
    })?;
    files.watch(dir, RecursiveMode::NonRecursive)?;
    // absent without a file, which the directory will tell of
    let _ = files.watch(&dir.join(FILE), RecursiveMode::NonRecursive);
    Ok(files)
}

fn follow(mut reloader: Reloader, woken: &flume::Receiver<Wake>, mailbox: &flume::Sender<Reload>) {
    while let Ok(wake) = woken.recv() {
        let mut forced = wake == Wake::Signal;
        for _ in 0..MOST_EVENTS {
            match woken.recv_timeout(QUIET) {
                Ok(wake) => forced |= wake == Wake::Signal,
                Err(_) => break,
            }
        }
        let text = std::fs::read_to_string(&reloader.file);
        if let Some(reload) = reloader.step(text, forced, &process_env)
            && mailbox.send(reload).is_err()
        {
            return;
        }
    }
}

/// Decides what comes of what was found in the file's place.
#[derive(Debug)]
struct Reloader {
    dir: PathBuf,
    file: PathBuf,
    /// Of the text that was answered last, good or bad.
    digest: Option<blake3::Hash>,
}

impl Reloader {
    fn step(
        &mut self,
        text: io::Result<String>,
        forced: bool,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Reload> {
        let text = match text {
            Ok(text) => text,
            // between the two steps of a rename, or taken away: what was loaded stays
            Err(error) if error.kind() == io::ErrorKind::NotFound && !forced => return None,
            Err(error) => return Some(Reload::Refused(unreadable(&self.file, &error))),
        };
        let digest = blake3::hash(text.as_bytes());
        if self.digest == Some(digest) && !forced {
            return None;
        }
        self.digest = Some(digest);
        Some(match read(&text, &self.dir, &self.file, env) {
            Ok(loaded) => Reload::Fresh(Box::new(loaded.snapshot)),
            Err(unusable) => Reload::Refused(unusable),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Reload, Reloader, watch};
    use crate::config::load::{FILE, load, process_env};
    use std::io::{self, ErrorKind};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const LABELLED: &str = "{\"env_label\": \"one\"}";

    fn label(reload: Option<Reload>) -> Option<String> {
        match reload? {
            Reload::Fresh(snapshot) => snapshot.env_label.as_deref().map(str::to_owned),
            Reload::Refused(unusable) => Some(format!("refused: {unusable}")),
            Reload::Priced { .. } => panic!("the file brings no prices"),
        }
    }

    #[test]
    fn only_what_changed_is_loaded_and_what_is_bad_says_why() {
        let dir = PathBuf::from("/nowhere");
        let mut reloader = Reloader { file: dir.join(FILE), dir, digest: None };
        let mut step = |text: io::Result<&str>, forced| {
            label(reloader.step(text.map(str::to_owned), forced, &|_| None))
        };
        assert_eq!(step(Ok(LABELLED), false).as_deref(), Some("one"));
        assert_eq!(step(Ok(LABELLED), false), None, "nothing changed");
        assert_eq!(step(Ok(LABELLED), true).as_deref(), Some("one"), "the signal asks for it");
        let bad = step(Ok("{\"env_lable\": 1}"), false).unwrap();
        assert!(bad.contains("env_lable: unknown field; did you mean `env_label`?"), "{bad}");
        assert_eq!(step(Ok("{\"env_lable\": 1}"), false), None, "said once");
        let gone = || Err(io::Error::from(ErrorKind::NotFound));
        assert_eq!(step(gone(), false), None);
        assert!(step(gone(), true).unwrap().contains("cannot be read"));
    }

    #[test]
    fn a_written_or_renamed_file_is_live_at_once_and_so_is_a_signal() {
        let dir = std::env::temp_dir().join(format!("finops-reload-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(FILE), LABELLED).unwrap();
        let loaded = load(&dir, &process_env).unwrap();
        let (mailbox, reloads) = flume::unbounded();
        let (_watch, hindrance) = watch(&dir, loaded.digest, mailbox).unwrap();
        assert!(hindrance.is_none());
        let next = || label(reloads.recv_timeout(Duration::from_secs(5)).ok());
        std::fs::write(dir.join(FILE), "{\"env_label\": \"two\"}").unwrap();
        assert_eq!(next().as_deref(), Some("two"));
        std::fs::write(dir.join("new"), "{\"env_label\": \"three\"}").unwrap();
        let begun = Instant::now();
        std::fs::rename(dir.join("new"), dir.join(FILE)).unwrap();
        assert_eq!(next().as_deref(), Some("three"));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        assert_eq!(next().as_deref(), Some("three"), "the same file, once more");
        std::fs::write(dir.join(FILE), "{").unwrap();
        assert!(next().unwrap().starts_with("refused: "));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
