//! Holds `src/` to `src/ARCHITECTURE.md`: who may use whom, how long a file may be, and what stays out.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
/// Modules that do input and output; all others are free of `async`.
const ASYNC: &[&str] = &["worker", "net", "gateway", "control", "main"];
/// Modules without clock, environment or randomness.
const PURE: &[&str] = &["wire", "chat", "dialect", "provider", "govern", "route"];
const IMPURE: &[&str] =
    &["Instant::now", "SystemTime::now", "std::env", "env::var", "fastrand", "std::fs", "std::net"];

struct File {
    path: PathBuf,
    /// First folder below `src`, or the stem of a file directly in it.
    module: String,
    /// Without the tests at its end.
    lines: Vec<String>,
}

impl File {
    fn name(&self) -> String {
        self.path.strip_prefix(root().join("src")).unwrap().display().to_string()
    }

    /// Lines of code, without comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.trim()).filter(|line| !line.starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let below = path.strip_prefix(root().join("src")).unwrap();
                let module = below.iter().next().unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                let lines = &without_tests(&text);
                files.push(File {
                    module: module.trim_end_matches(".rs").to_owned(),
                    lines: lines.iter().map(|line| (*line).to_owned()).collect(),
                    path,
                });
            }
        }
    }
    assert!(files.len() > 30, "src/ was not found");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The lines before the test module at the end.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod "));
    let end = tests.unwrap_or(lines.len());
    lines.into_iter().take(end).collect()
}

/// The import table: each module with those that it may use.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| module | holds | may use |"));
    let mut table = BTreeMap::new();
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [module, _, uses] = cells[..] else { panic!("not three cells: {row}") };
        let names = |cell: &str| -> BTreeSet<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let module = names(module).pop_first().expect("a row names its module");
        table.insert(module, names(uses));
    }
    assert!(table.len() >= 13, "the table of src/ARCHITECTURE.md was not found");
    table
}

/// `crate::name` at every place of a line.
fn uses(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    })
}

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let table = table();
    let mut offences = Vec::new();
    for file in sources() {
        if matches!(file.module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = table.get(&file.module) else {
            offences.push(format!("{}: `{}` is not in the table", file.name(), file.module));
            continue;
        };
        for used in file.code().flat_map(uses) {
            if used != file.module && table.contains_key(used) && !allowed.contains(used) {
                offences.push(format!("{} uses `{used}`", file.name()));
            }
        }
    }
    assert_none("an import that src/ARCHITECTURE.md does not allow", &offences);
}

#[test]
fn the_table_is_of_this_tree_and_has_no_cycle() {
    let table = table();
    let there: BTreeSet<String> = sources().into_iter().map(|file| file.module).collect();
    for (module, uses) in &table {
        assert!(there.contains(module), "the table has `{module}`, src/ has not");
        for used in uses {
            assert!(table.contains_key(used), "`{module}` may use `{used}`, which is no module");
        }
    }
    // take away what uses nothing that is left, until nothing is left
    let mut left = table;
    while !left.is_empty() {
        let leaves: Vec<String> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| !left.contains_key(used)))
            .map(|(module, _)| module.clone())
            .collect();
        assert!(!leaves.is_empty(), "a cycle among {:?}", left.keys());
        left.retain(|module, _| !leaves.contains(module));
    }
}

#[test]
fn imports_are_one_module_a_line() {
    let mut offences = Vec::new();
    for file in sources() {
        let nested = file.code().filter(|line| line.contains("use crate::{"));
        offences.extend(nested.map(|line| format!("{}: {line}", file.name())));
    }
    assert_none("`use crate::{…}` hides imports from this test", &offences);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |file: &File| !file.lines.first().is_some_and(|line| line.starts_with("//! "));
    let offences: Vec<String> = sources().iter().filter(|f| silent(f)).map(File::name).collect();
    assert_none("a file without a `//!` summary in its first line", &offences);
}

#[test]
fn files_are_short() {
    let offences: Vec<String> = sources()
        .iter()
        .filter(|file| file.lines.len() > LINES_MAX)
        .map(|file| format!("{}: {} lines", file.name(), file.lines.len()))
        .collect();
    assert_none(&format!("a file of more than {LINES_MAX} lines before its tests"), &offences);
}

#[test]
fn files_are_never_deeper_than_one_folder() {
    let deep = |file: &File| file.path.strip_prefix(root().join("src")).unwrap().iter().count() > 2;
    let offences: Vec<String> = sources().iter().filter(|f| deep(f)).map(File::name).collect();
    assert_none("src/<module>/<file>.rs, never deeper", &offences);
}

#[test]
fn only_the_shell_is_async() {
    let mut offences = Vec::new();
    for file in sources() {
        if ASYNC.contains(&file.module.as_str()) {
            continue;
        }
        let asynchronous = |line: &&str| {
            line.contains("async fn") || line.contains("async move") || line.contains(".await")
        };
        offences.extend(file.code().filter(asynchronous).map(|l| format!("{}: {l}", file.name())));
    }
    assert_none("async outside worker, net, gateway, control and main", &offences);
}

#[test]
fn the_core_is_pure() {
    let mut offences = Vec::new();
    for file in sources() {
        if !PURE.contains(&file.module.as_str()) {
            continue;
        }
        for line in file.code() {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                offences.push(format!("{}: {word} in {line}", file.name()));
            }
        }
    }
    assert_none("clock, environment, files or chance in a pure module", &offences);
}

#[test]
fn unsafe_stays_where_it_belongs() {
    let mut offences = Vec::new();
    for file in sources() {
        let name = file.name();
        if name.starts_with("worker/") || name == "wire/json_scan.rs" {
            continue;
        }
        let words = |line: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        };
        offences.extend(file.code().filter(|l| words(l)).map(|line| format!("{name}: {line}")));
    }
    assert_none("`unsafe` outside src/worker/ and src/wire/json_scan.rs", &offences);
}

#[test]
fn dialects_come_in_pairs() {
    let names: BTreeSet<String> = sources().iter().map(File::name).collect();
    let mut offences = Vec::new();
    for (one, other) in [("_request.rs", "_response.rs"), ("_response.rs", "_request.rs")] {
        for name in names.iter().filter(|n| n.starts_with("dialect/") && n.ends_with(one)) {
            let partner = name.replace(one, other);
            if !names.contains(&partner) {
                offences.push(format!("{name} without {partner}"));
            }
        }
    }
    assert_none("a dialect reads and writes both requests and responses", &offences);
}
