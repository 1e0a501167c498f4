//! What this machine grants the gateway, and what it withholds.
//!
//! In: the kernel's files under a root (`/` but for tests), this process's limits. Out: one
//! [`Finding`] for each thing that `tuning/` can set, with what it costs where it is missing.
//! Never: changes the machine; only the process's own limit of open files is raised, at its start.

mod checks;

use std::io::{self, Write};
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As `tuning/` would have it.
    Good,
    /// Cannot be told, or does not apply to this machine.
    Unknown,
    /// It works, at a cost.
    Costly,
    /// It fails under load.
    Failing,
}

impl Grade {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Unknown => "n/a",
            Self::Costly => "cost",
            Self::Failing => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What it should be.
    pub wanted: &'static str,
    /// What the lack of it costs.
    pub cost: &'static str,
    /// The file under `tuning/` that sets it.
    pub file: &'static str,
}

/// Where the kernel's files are read, and what was found out about the process itself.
#[derive(Debug)]
pub struct Machine {
    pub root: PathBuf,
    /// The event loop that would run, and why no better one.
    pub event_loop: String,
    /// Whether it is the best one.
    pub best_loop: bool,
    /// Soft limit of open files after [`raise_open_files`]; `None`: no limit.
    pub open_files: Option<u64>,
    /// Soft limit of locked memory in bytes; `None`: no limit.
    pub locked_memory: Option<u64>,
}

impl Machine {
    /// This machine, with the event loop that the caller has probed.
    pub fn this(event_loop: String, best_loop: bool) -> Self {
        Self {
            root: PathBuf::from("/"),
            event_loop,
            best_loop,
            open_files: getrlimit(Resource::Nofile).current,
            locked_memory: getrlimit(Resource::Memlock).current,
        }
    }

    /// Looks at everything, in the order of `tuning/README.md`.
    pub fn examine(&self) -> Vec<Finding> {
        checks::ALL.iter().map(|check| check(self)).collect()
    }

    /// A kernel file's text without its last line end; `None` where it can't be read.
    fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }
}

/// Raises the soft limit of open files to the hard one, as every server has to that keeps many
/// connections: shells start programs with 1,024. Gives the limit in force.
///
/// # Errors
/// When the kernel refuses; the old limit stays then.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(limit.current);
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

/// `finops-gateway doctor`: prints the findings. Gives the exit code: 1 where something would fail.
///
/// # Errors
/// When nothing can be printed.
pub fn report(findings: &[Finding], out: &mut dyn Write) -> io::Result<u8> {
    for finding in findings {
        let Finding { name, grade, found, wanted, cost, file } = finding;
        writeln!(out, "{:4}  {name}: {found}", grade.word())?;
        if *grade > Grade::Unknown {
            writeln!(
                out,
                "      wanted: {wanted}\n      cost:   {cost}\n      set by: tuning/{file}"
            )?;
        }
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (costly, failing) = (count(Grade::Costly), count(Grade::Failing));
    writeln!(out, "{costly} cost something, {failing} fail under load; see tuning/README.md")?;
    Ok(u8::from(failing > 0))
}

#[cfg(test)]
mod tests {
    use super::{Grade, Machine, report};
    use std::path::PathBuf;

    /// A machine of the files given, with generous limits.
    fn machine(name: &str, files: &[(&str, &str)]) -> Machine {
        let root = std::env::temp_dir().join(format!("finops-host-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Machine {
            root,
            event_loop: "io_uring".to_owned(),
            best_loop: true,
            open_files: Some(1 << 20),
            locked_memory: None,
        }
    }

    fn grade(machine: &Machine, name: &str) -> Grade {
        let findings = machine.examine();
        findings.iter().find(|finding| finding.name.contains(name)).unwrap().grade
    }

    #[test]
    fn a_tuned_machine_has_nothing_to_fix() {
        let files = [
            ("proc/sys/kernel/osrelease", "6.18.44-fc\n"),
            ("proc/sys/net/core/somaxconn", "65535\n"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "65535\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "10240\t65535\n"),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
            ("proc/sys/net/ipv4/tcp_notsent_lowat", "131072\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
            ("sys/devices/system/node/online", "0\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ];
        let machine = machine("tuned", &files);
        let mut out = Vec::new();
        let code = report(&machine.examine(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("0 cost something, 0 fail under load"), "{text}");
        assert_eq!(code, 0);
        std::fs::remove_dir_all(machine.root).unwrap();
    }

    #[test]
    fn what_is_missing_is_named_with_its_price_and_its_cure() {
        let files = [
            ("proc/sys/kernel/osrelease", "5.15.0-generic\n"),
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n"),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        ];
        let machine =
            Machine { best_loop: false, open_files: Some(1024), ..machine("untuned", &files) };
        assert_eq!(grade(&machine, "kernel"), Grade::Costly);
        assert_eq!(grade(&machine, "event loop"), Grade::Costly);
        assert_eq!(grade(&machine, "open files"), Grade::Failing);
        assert_eq!(grade(&machine, "somaxconn"), Grade::Failing);
        assert_eq!(grade(&machine, "ip_local_port_range"), Grade::Costly);
        assert_eq!(grade(&machine, "slow_start"), Grade::Costly);
        assert_eq!(grade(&machine, "conntrack"), Grade::Costly);
        assert_eq!(grade(&machine, "NUMA"), Grade::Costly);
        assert_eq!(grade(&machine, "governor"), Grade::Costly);
        let mut out = Vec::new();
        assert_eq!(report(&machine.examine(), &mut out).unwrap(), 1);
        let text = String::from_utf8(out).unwrap();
        for said in ["FAIL  open files: 1024", "set by: tuning/sysctl.conf", "cost:"] {
            assert!(text.contains(said), "{said} in {text}");
        }
        std::fs::remove_dir_all(machine.root).unwrap();
    }

    #[test]
    fn an_unreadable_machine_is_unknown_not_good() {
        let machine = Machine { root: PathBuf::from("/nowhere/at/all"), ..machine("none", &[]) };
        assert_eq!(grade(&machine, "somaxconn"), Grade::Unknown);
        assert_eq!(grade(&machine, "kernel"), Grade::Unknown);
    }
}
