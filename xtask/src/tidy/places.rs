//! Rules about where names may stand: header names in policy, clocks where the list allows them,
//! printing in binaries, and the arrows inside a crate.

use super::{File, list::List};

const HEADER_NAMES: &str = "xtask/tidy/header_names.txt";
const CLOCKS: &str = "xtask/tidy/clocks.txt";

/// Names of caching headers, as constants or as text. They stand in larder-policy.
const CACHING_HEADERS: &[&str] = &[
    "\"age\"",
    "\"vary\"",
    "\"expires\"",
    "\"pragma\"",
    "\"cache-control\"",
    "\"cdn-cache-control\"",
    "\"cache-status\"",
    "\"cache-groups\"",
    "CACHE_CONTROL",
    "header::AGE",
    "header::VARY",
    "header::EXPIRES",
    "header::PRAGMA",
];

/// Functions that read a clock.
const CLOCK_READERS: &[&str] = &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];

/// Code that prints, reads the environment or ends the process.
const PROCESS: &[&str] = &["println!", "eprintln!", "std::env", "process::exit"];

/// Functions that change state of the whole process, which belongs to the program.
const PROCESS_WIDE: &[&str] = &["install_default", "set_global_default", "set_hook", "set_logger"];

/// Crates that keep bytes as `CacheStore` promises.
const STORES: &[&str] = &["larder-disk", "larder-memory", "larder-redis", "larder-tiered"];

/// Checks the source files; tests, examples and fuzz targets are free.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) -> anyhow::Result<()> {
    let headers = List::read(HEADER_NAMES, findings)?;
    let clocks = List::read(CLOCKS, findings)?;
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        place(file, &headers, &clocks, findings);
    }
    headers.report_unused(findings);
    clocks.report_unused(findings);
    Ok(())
}

fn place(file: &File, headers: &List, clocks: &List, findings: &mut Vec<String>) {
    for (number, line) in file.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let at = format!("{}:{number}", file.path);
        let has = |names: &[&str]| names.iter().any(|name| code.contains(name));
        if file.crate_name() != "larder-policy" && has(CACHING_HEADERS) && !headers.covers(&file.path) {
            findings.push(format!(
                "{at}: use larder_core::policy::header_names; caching headers are named in larder-policy"
            ));
        }
        if has(CLOCK_READERS) && !clocks.covers(&file.path) {
            findings.push(format!("{at}: take the instant as an argument, or give the reason in {CLOCKS}"));
        }
        if has(PROCESS) && !is_program(&file.path) && !code.contains("env!(") {
            findings.push(format!(
                "{at}: return the value; only larder-cli and xtask print, read the environment or exit"
            ));
        }
        if file.is_crate_source() && has(PROCESS_WIDE) && !is_program(&file.path) {
            findings.push(format!("{at}: leave it to the program; a library changes no process-wide state"));
        }
        if is_below_engine(&file.path) && code.contains("crate::engine") {
            findings
                .push(format!("{at}: move it into the engine, which store, codec and origin must not use"));
        }
        if file.is_crate_source()
            && file.crate_name() == "larder-policy"
            && has(&["async ", "std::fs", "std::net"])
        {
            findings.push(format!("{at}: move it out of larder-policy, which is pure: no async, no I/O"));
        }
        if file.is_crate_source()
            && STORES.contains(&file.crate_name())
            && has(&["StatusCode", "Method::", "Rules::", "http::Method"])
        {
            findings
                .push(format!("{at}: decide it in the engine; stores know no method, status code or rule"));
        }
    }
    let both = file.text.contains("dyn CacheStore") && file.text.contains("dyn Origin");
    if file.is_crate_source() && both && !file.path.starts_with("crates/larder-core/src/engine/") {
        findings.push(format!("{}:1: use Cache; only the engine combines a store and an origin", file.path));
    }
}

/// Returns whether the file belongs to a program.
fn is_program(path: &str) -> bool {
    ["crates/larder-cli/", "xtask/", "benches/"].iter().any(|place| path.starts_with(place))
        || path.contains("/examples/")
}

/// Returns whether the file is one of larder-core's that the engine is built on.
fn is_below_engine(path: &str) -> bool {
    path.starts_with("crates/larder-core/src/") && !path.contains("/engine/") && !path.ends_with("/lib.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let list = |name| List::parse(name, "crates/larder-a/src/listed.rs | reason\n", &mut Vec::new());
        place(&File::new(path, text), &list(HEADER_NAMES), &list(CLOCKS), &mut findings);
        findings
    }

    #[test]
    fn names_stand_where_they_may() {
        for (path, text) in [
            ("crates/larder-a/src/b.rs", "let name = \"cache-control\";"),
            ("crates/larder-a/src/b.rs", "let now = Instant::now();"),
            ("crates/larder-a/src/b.rs", "println!();"),
            ("crates/larder-a/src/b.rs", "provider().install_default();"),
            ("crates/larder-core/src/store/b.rs", "use crate::engine::Cache;"),
            ("crates/larder-policy/src/b.rs", "pub async fn f() {}"),
            ("crates/larder-disk/src/b.rs", "if status == StatusCode::OK {}"),
            ("crates/larder-a/src/b.rs", "fn f(store: &dyn CacheStore, origin: &dyn Origin) {}"),
        ] {
            assert_eq!(found(path, text).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("crates/larder-policy/src/b.rs", "let name = \"cache-control\";"),
            ("crates/larder-a/src/listed.rs", "let now = Instant::now();\nlet name = \"vary\";"),
            ("crates/larder-cli/src/b.rs", "println!();"),
            ("crates/larder-core/src/lib.rs", "pub use crate::engine::Cache;"),
            ("crates/larder-a/src/b.rs", "// SystemTime::now\n"),
            ("crates/larder-a/src/b.rs", "#[cfg(test)]\nlet now = Instant::now();"),
            ("crates/larder-core/src/engine/b.rs", "fn f(store: &dyn CacheStore, origin: &dyn Origin) {}"),
        ] {
            assert!(found(path, text).is_empty(), "{path}: {text}");
        }
    }
}
