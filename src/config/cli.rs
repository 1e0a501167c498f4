//! The command line.
//!
//! In: the process's arguments, as Bifrost's users write them (`-port 9000`) or as others do
//! (`--port 9000`), and the variables that stand for them. Out: [`Arguments`], or what to print
//! and the code to leave with. Never: opens a socket; `main` does what the arguments say.

use crate::config::Snapshot;
use crate::config::check::schema;
use crate::config::load::{Unusable, default_dir, load, load_file};
use crate::config::network::Lookup;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};

/// Left with when the arguments cannot be understood (`EX_USAGE`).
pub const USAGE: u8 = 64;

/// A drop-in AI gateway for the Anthropic, OpenAI, AWS Bedrock and Gemini APIs.
#[derive(Debug, Clone, Parser)]
#[command(name = "finops-gateway", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// Directory of config.json [default: ~/.config/finops-gateway]
    #[arg(long, global = true, value_name = "DIR")]
    pub app_dir: Option<PathBuf>,
    /// Address or name to listen on
    #[arg(long, global = true, env = "APP_HOST", default_value = "localhost")]
    pub host: String,
    /// Port to listen on
    #[arg(long, global = true, env = "APP_PORT", default_value = "8080")]
    pub port: NonZeroU16,
    /// The least important lines that are logged
    #[arg(long, global = true, env = "LOG_LEVEL", default_value = "info", ignore_case = true)]
    pub log_level: LogLevel,
    /// How lines are logged
    #[arg(long, global = true, env = "LOG_STYLE", default_value = "json", ignore_case = true)]
    pub log_style: LogStyle,
    /// Worker threads [default: one for each core that the process may use]
    #[arg(long, global = true, value_name = "COUNT")]
    pub workers: Option<NonZeroUsize>,
    /// The event loop: io_uring where the kernel grants it, else epoll
    #[arg(long, global = true, default_value = "auto", ignore_case = true)]
    pub driver: Driver,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Start on the built-in mock provider, show a request in each language, and stay up
    Demo,
    /// Say what is wrong with a configuration, without starting
    Check {
        /// The file [default: config.json in the application's directory]
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of config.json
    Schema,
    /// Say what would become of a request: rules, limits, targets, upstream requests; nothing is sent
    Explain(Explain),
    /// Say what of tuning/ this machine lacks, and what that costs
    Doctor,
}

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Explain {
    /// File of the request's body; standard input where none is named
    pub body: Option<PathBuf>,
    /// As a client would send it
    #[arg(long, default_value = "POST")]
    pub method: String,
    /// As a client would send it, with its query
    #[arg(long, default_value = "/v1/chat/completions")]
    pub path: String,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A gateway that runs, to be asked in the place of the configuration: it knows its usage
    #[arg(long, value_name = "HOST:PORT")]
    pub at: Option<String>,
    /// Print the answer's JSON as it is
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// Which event loop is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    Auto,
    /// Nothing else: refused where the kernel refuses it
    #[value(name = "io_uring", alias = "io-uring")]
    IoUring,
    Epoll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    Json,
    Pretty,
}

/// Why there is nothing to do: `--help`, `--version`, or arguments that cannot be understood.
#[derive(Debug)]
pub struct Stop {
    pub text: String,
    /// Zero for what was asked for (to be printed to stdout), else [`USAGE`] (to stderr).
    pub code: u8,
}

impl Arguments {
    /// Reads the arguments, the program's name first.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        Self::try_parse_from(normal(arguments)).map_err(|error| {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            Stop { text: error.to_string(), code: if asked { 0 } else { USAGE } }
        })
    }

    /// The application's directory: the one that is named, or the user's own.
    pub fn app_dir(&self, env: Lookup<'_>) -> PathBuf {
        self.app_dir.clone().unwrap_or_else(|| default_dir(env))
    }
}

/// Go's spelling of long flags, `-app-dir x` and `-port=1`, with the second dash.
fn normal(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    const LONG: &[&str] = &[
        "app-dir",
        "host",
        "port",
        "log-level",
        "log-style",
        "workers",
        "driver",
        "help",
        "version",
    ];
    let mut rest = false;
    let spelt = arguments.into_iter().map(|argument| {
        rest |= argument == "--";
        let name = argument.to_str().and_then(|text| text.strip_prefix('-'));
        let flag = name.map(|name| name.split_once('=').map_or(name, |(flag, _)| flag));
        match (name, flag) {
            (Some(name), Some(flag)) if !rest && LONG.contains(&flag) => format!("--{name}").into(),
            _ => argument,
        }
    });
    spelt.collect()
}

/// `finops-gateway check`: prints what is wrong, or what would be started. Gives the exit code.
///
/// # Errors
/// When nothing can be printed.
pub fn run_check(
    arguments: &Arguments,
    file: Option<&Path>,
    env: Lookup<'_>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let dir = arguments.app_dir(env);
    let loaded = match file {
        Some(file) => load_file(file, env),
        None => load(&dir, env),
    };
    match loaded {
        Err(unusable) => faults(&unusable, out).map(|()| 1),
        Ok(loaded) => {
            let source = match (file, loaded.digest) {
                (Some(file), _) => file.display().to_string(),
                (None, Some(_)) => dir.join(super::load::FILE).display().to_string(),
                (None, None) => format!("no config.json in {}; the environment", dir.display()),
            };
            summary(&source, &loaded.snapshot, out).map(|()| 0)
        }
    }
}

fn faults(unusable: &Unusable, out: &mut dyn Write) -> io::Result<()> {
    let count = unusable.faults.len();
    let noun = if count == 1 { "fault" } else { "faults" };
    writeln!(out, "{unusable}\n{count} {noun}")
}

fn summary(source: &str, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{source}: no faults")?;
    for provider in &snapshot.providers {
        let keys = match provider.keys.len() {
            0 => "no key needed".to_owned(),
            1 => "1 key".to_owned(),
            count => format!("{count} keys"),
        };
        writeln!(out, "  provider {}: {keys}", provider.name)?;
    }
    for note in &snapshot.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

/// `finops-gateway schema`.
///
/// # Errors
/// When nothing can be printed.
pub fn run_schema(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:#}", schema())
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Command, LogLevel, LogStyle, USAGE, run_check, run_schema};
    use std::path::Path;

    fn parse(line: &str) -> Result<Arguments, (String, u8)> {
        let words = std::iter::once("finops-gateway").chain(line.split_whitespace());
        Arguments::parse_from(words.map(Into::into)).map_err(|stop| (stop.text, stop.code))
    }

    #[test]
    fn both_spellings_of_flags_are_taken() {
        for line in [
            "--app-dir /srv/a --port 9000 --log-style pretty --workers 3",
            "-app-dir /srv/a -port 9000 -log-style=pretty -workers=3",
        ] {
            let arguments = parse(line).unwrap();
            assert_eq!(arguments.app_dir.as_deref(), Some(Path::new("/srv/a")), "{line}");
            assert_eq!(arguments.port.get(), 9000);
            assert_eq!(arguments.log_style, LogStyle::Pretty);
            assert_eq!(arguments.workers.map(std::num::NonZero::get), Some(3));
            assert_eq!(arguments.command, None);
        }
        assert_eq!(parse("-log-level WARN").unwrap().log_level, LogLevel::Warn);
    }

    #[test]
    fn commands_take_the_flags_behind_them_too() {
        let arguments = parse("demo -port 9000").unwrap();
        assert_eq!((arguments.command, arguments.port.get()), (Some(Command::Demo), 9000));
        let file = Some("a.json".into());
        assert_eq!(parse("check a.json").unwrap().command, Some(Command::Check { file }));
    }

    #[test]
    fn what_cannot_be_understood_leaves_with_64() {
        for line in ["--prot 1", "-port zero", "--port 0", "--workers 0", "chekc", "-mode broker"] {
            assert_eq!(parse(line).unwrap_err().1, USAGE, "{line}");
        }
        let (text, code) = parse("-help").unwrap_err();
        assert!(code == 0 && text.contains("--app-dir"), "{text}");
    }

    #[test]
    fn check_says_what_is_wrong_or_what_would_start() {
        let dir = std::env::temp_dir().join(format!("finops-check-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let env = |name: &str| (name == "GROQ_API_KEY").then(|| "k".to_owned());
        let said = |file: Option<&Path>| {
            let arguments = parse(&format!("check --app-dir {}", dir.display())).unwrap();
            let mut out = Vec::new();
            let code = run_check(&arguments, file, &env, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        };
        let (code, text) = said(None);
        assert!(code == 0 && text.contains("provider groq: 1 key"), "{text}");
        let file = dir.join("config.json");
        std::fs::write(&file, "{\"client\": {\"a\": 1},\n \"b\": 2}").unwrap();
        let (code, text) = said(None);
        let name = file.display();
        let expected = format!(
            "{name}: line 1, column 18: client.a: unknown field\n\
             {name}: line 2, column 7: b: unknown field\n2 faults\n"
        );
        assert_eq!((code, text), (1, expected));
        assert_eq!(said(Some(&dir.join("none.json"))).0, 1, "a named file has to be there");
        std::fs::write(&file, "{\"client\": {\"initial_pool_size\": 1}}").unwrap();
        let (code, text) = said(None);
        assert!(code == 0 && text.contains("note: `client.initial_pool_size`"), "{text}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_schema_is_printed_as_json() {
        let mut out = Vec::new();
        run_schema(&mut out).unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["additionalProperties"], serde_json::json!(false));
    }
}
