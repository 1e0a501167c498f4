//! The things that are looked at: one function each, in the order of `tuning/README.md`.
//!
//! In: a [`Machine`]. Out: a [`Finding`]. Never: fails; what can't be read is unknown.

use super::{Finding, Grade, Machine};

/// Connections that one worker should be able to hold.
const OPEN_FILES_MIN: u64 = 65_536;
/// The backlog that the listeners ask for.
const BACKLOG: u64 = 4096;
/// Fewer ports than this run out at a few hundred new upstream connections a second.
const PORTS_MIN: u64 = 40_000;
/// Enough to lock the rings of old kernels.
const LOCKED_MIN: u64 = 64 << 20;

type Check = fn(&Machine) -> Finding;

pub static ALL: [Check; 13] = [
    kernel,
    event_loop,
    open_files,
    locked_memory,
    somaxconn,
    syn_backlog,
    ports,
    slow_start,
    unsent,
    conntrack,
    governor,
    numa,
    hugepages,
];

/// What is the same for every machine.
struct Row {
    name: &'static str,
    wanted: &'static str,
    cost: &'static str,
    file: &'static str,
}

impl Row {
    fn finding(self, grade: Grade, found: String) -> Finding {
        let Self { name, wanted, cost, file } = self;
        Finding { name, grade, found, wanted, cost, file }
    }

    /// Good, or else `bad`; unknown where nothing was found.
    fn judge<T: ToString>(
        self,
        found: Option<T>,
        bad: Grade,
        good: impl Fn(&T) -> bool,
    ) -> Finding {
        match found {
            None => self.finding(Grade::Unknown, "not here".to_owned()),
            Some(found) => {
                let grade = if good(&found) { Grade::Good } else { bad };
                self.finding(grade, found.to_string())
            }
        }
    }
}

fn number(machine: &Machine, path: &str) -> Option<u64> {
    machine.read(path)?.parse().ok()
}

fn kernel(machine: &Machine) -> Finding {
    let row = Row {
        name: "kernel",
        wanted: "6.1 or newer",
        cost: "io_uring without deferred task run: up to 1.3 times the CPU per request",
        file: "README.md",
    };
    let newer = |release: &String| {
        let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 1)
    };
    row.judge(machine.read("proc/sys/kernel/osrelease"), Grade::Costly, newer)
}

fn event_loop(machine: &Machine) -> Finding {
    let row = Row {
        name: "event loop",
        wanted: "io_uring (single issuer, deferred task run)",
        cost: "with epoll, about 1.1 times the CPU per request",
        file: "README.md",
    };
    let grade = if machine.best_loop { Grade::Good } else { Grade::Costly };
    row.finding(grade, machine.event_loop.clone())
}

fn open_files(machine: &Machine) -> Finding {
    let row = Row {
        name: "open files",
        wanted: "65536 or more (two for each request under way)",
        cost: "above it no connection is accepted and no upstream reached",
        file: "finops-gateway.service",
    };
    match machine.open_files {
        None => row.finding(Grade::Good, "unlimited".to_owned()),
        limit => row.judge(limit, Grade::Failing, |&limit| limit >= OPEN_FILES_MIN),
    }
}

fn locked_memory(machine: &Machine) -> Finding {
    let row = Row {
        name: "locked memory",
        wanted: "64 MiB or more",
        cost: "kernels before 5.12 count the rings against it, and then fall back to epoll",
        file: "finops-gateway.service",
    };
    // Newer kernels account rings to the cgroup, so that a small limit only matters on old ones.
    let modern = kernel(machine).grade == Grade::Good;
    match machine.locked_memory {
        None => row.finding(Grade::Good, "unlimited".to_owned()),
        limit => row.judge(limit, Grade::Costly, |&limit| modern || limit >= LOCKED_MIN),
    }
}

fn somaxconn(machine: &Machine) -> Finding {
    let row = Row {
        name: "net.core.somaxconn",
        wanted: "4096 or more",
        cost: "a burst of new connections is refused before a worker sees it",
        file: "sysctl.conf",
    };
    let found = number(machine, "proc/sys/net/core/somaxconn");
    row.judge(found, Grade::Failing, |&found| found >= BACKLOG)
}

fn syn_backlog(machine: &Machine) -> Finding {
    let row = Row {
        name: "net.ipv4.tcp_max_syn_backlog",
        wanted: "4096 or more",
        cost: "a burst of new connections waits a second for its SYN to be sent again",
        file: "sysctl.conf",
    };
    let found = number(machine, "proc/sys/net/ipv4/tcp_max_syn_backlog");
    row.judge(found, Grade::Costly, |&found| found >= BACKLOG)
}

fn ports(machine: &Machine) -> Finding {
    let row = Row {
        name: "net.ipv4.ip_local_port_range",
        wanted: "40000 ports or more",
        cost: "with one upstream address, connections beyond the range fail with EADDRNOTAVAIL",
        file: "sysctl.conf",
    };
    let found = machine.read("proc/sys/net/ipv4/ip_local_port_range");
    row.judge(found, Grade::Costly, |range| {
        let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
        let (low, high) = (ends.next().unwrap_or(0), ends.next().unwrap_or(0));
        high.saturating_sub(low) >= PORTS_MIN
    })
}

fn slow_start(machine: &Machine) -> Finding {
    let row = Row {
        name: "net.ipv4.tcp_slow_start_after_idle",
        wanted: "0",
        cost: "a pooled upstream connection starts anew after a pause: a 200 KiB prompt then needs \
               four round trips more",
        file: "sysctl.conf",
    };
    let found = number(machine, "proc/sys/net/ipv4/tcp_slow_start_after_idle");
    row.judge(found, Grade::Costly, |&found| found == 0)
}

fn unsent(machine: &Machine) -> Finding {
    let row = Row {
        name: "net.ipv4.tcp_notsent_lowat",
        wanted: "131072 or less",
        cost: "a client that does not read keeps 3.8 MiB of its stream in the kernel, not 160 KiB",
        file: "sysctl.conf",
    };
    let found = number(machine, "proc/sys/net/ipv4/tcp_notsent_lowat");
    row.judge(found, Grade::Costly, |&found| found <= 131_072)
}

fn conntrack(machine: &Machine) -> Finding {
    let row = Row {
        name: "conntrack",
        wanted: "not loaded, or untracked for the gateway's ports",
        cost: "every packet is looked up; above nf_conntrack_max new connections are dropped",
        file: "README.md",
    };
    match number(machine, "proc/sys/net/netfilter/nf_conntrack_max") {
        None => row.finding(Grade::Good, "not loaded".to_owned()),
        Some(max) => row.finding(Grade::Costly, format!("loaded, at most {max} connections")),
    }
}

fn governor(machine: &Machine) -> Finding {
    let row = Row {
        name: "CPU frequency governor",
        wanted: "performance",
        cost: "cores that sleep between events wake slowly: tens of microseconds at the tail",
        file: "cpu.sh",
    };
    let found = machine.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    row.judge(found, Grade::Costly, |found| found == "performance")
}

fn numa(machine: &Machine) -> Finding {
    let row = Row {
        name: "NUMA nodes",
        wanted: "one, or one gateway bound to each",
        cost: "memory of the other node: about 1.5 times the latency of each miss",
        file: "numa.conf",
    };
    let found = machine.read("sys/devices/system/node/online");
    row.judge(found, Grade::Costly, |online| !online.contains(['-', ',']))
}

fn hugepages(machine: &Machine) -> Finding {
    let row = Row {
        name: "transparent huge pages",
        wanted: "madvise or always",
        cost: "the allocator's large areas take more of the TLB",
        file: "cpu.sh",
    };
    let found = machine.read("sys/kernel/mm/transparent_hugepage/enabled");
    row.judge(found, Grade::Costly, |modes| !modes.contains("[never]"))
}
