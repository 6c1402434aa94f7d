//! `cargo xtask tidy`: the house rules that clippy does not know. Each finding says what to write instead.

use std::{fs, path::Path};

use crate::process::output;

/// Files that stand out, with the reason: `path | lines | reason`. The list only shrinks.
const LONG: &str = "xtask/long.txt";
const LONG_FROM: usize = 400;
const LONGEST: usize = 600;

/// Invariant 2: these names stand in larder-policy.
const CACHING_FIELDS: &[&str] = &[
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
/// Where one of them is met for a reason of its own.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("crates/larder-cli/src/report.rs", "writes JSON with a member of that name"),
    ("crates/larder-testkit/", "answers as a scripted origin does"),
    ("xtask/", "names them in order to look for them"),
    ("benches/", "configures peers"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let files = output(std::process::Command::new("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.rs",
        "*.toml",
    ]))?;
    let long = fs::read_to_string(LONG)?;
    let mut found = Vec::new();
    for path in files.lines().filter(|path| Path::new(path).is_file()) {
        let text = fs::read_to_string(path)?;
        if path.ends_with(".rs") {
            source(path, &text, &long, &mut found);
        }
    }
    for line in long.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let path = line.split('|').next().unwrap_or_default().trim();
        if fs::read_to_string(path).map_or(0, |text| text.lines().count()) <= LONG_FROM {
            found.push(format!("{LONG}: {path} is no longer long; take the line out"));
        }
    }
    anyhow::ensure!(found.is_empty(), "{} findings:\n  {}", found.len(), found.join("\n  "));
    println!("tidy");
    Ok(())
}

fn source(path: &str, text: &str, long: &str, found: &mut Vec<String>) {
    let file = path.rsplit('/').next().unwrap_or_default();
    if !text.starts_with("//!") && !text.starts_with("#![doc") {
        found.push(format!(
            "{path}:1: open with `//!`: what this file decides or owns, and what it leaves to whom"
        ));
    }
    if matches!(file, "utils.rs" | "util.rs" | "common.rs" | "helpers.rs" | "misc.rs" | "types.rs") {
        found.push(format!("{path}: name it after its subject"));
    }
    let lines = text.lines().count();
    let listed = long.lines().any(|line| line.split('|').next().is_some_and(|name| name.trim() == path));
    if lines > LONGEST || lines > LONG_FROM && !listed {
        found
            .push(format!("{path}: {lines} lines; split it, or (up to {LONGEST}) give the reason in {LONG}"));
    }
    let tests = path.contains("/tests/") || path.starts_with("examples/") || path.starts_with("fuzz/");
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let at = format!("{path}:{}", number + 1);
        if !tests {
            rules_of_place(path, code, &at, found);
        }
        if line.contains(concat!("RFC 72", "34"))
            || line.contains(concat!("RFC 26", "16"))
            || line.contains(concat!("datatracker", ".ietf"))
        {
            found.push(format!("{at}: cite RFC 9110, 9111 or 9112 by section, without a link"));
        }
        if code.contains(concat!(".unwrap", "()")) && !tests && !in_test_module(text, number) {
            found.push(format!("{at}: say why it can't fail: expect(\"the invariant\")"));
        }
        let not_run = concat!("#[", "ignore");
        if line.contains(not_run) {
            found.push(format!("{at}: a test that does not run proves nothing"));
        }
    }
}

/// Rules that hold in some places and not in others.
fn rules_of_place(path: &str, code: &str, at: &str, found: &mut Vec<String>) {
    let in_policy = path.starts_with("crates/larder-policy/");
    let excepted = EXCEPTIONS.iter().any(|(place, _)| path.starts_with(place));
    if !in_policy && !excepted && CACHING_FIELDS.iter().any(|name| code.contains(name)) {
        found.push(format!("{at}: names of caching fields stand in larder-policy; use larder_core::names"));
    }
    let below = path.starts_with("crates/larder-core/src/")
        && !path.contains("/engine/")
        && !path.ends_with("/lib.rs");
    if below && code.contains("crate::engine") {
        found.push(format!("{at}: store, codec and origin do not know the engine"));
    }
    let clock = code.contains("SystemTime::now") || code.contains("Instant::now");
    // tokio's, for how long to wait: tests hold that clock, too.
    let waits = [
        "crates/larder-origin/src/body.rs",
        "crates/larder-redis/src/breaker.rs",
        "crates/larder-reqwest/src/refresh/task.rs",
        "crates/larder-origin/src/health.rs",
        // How long a request took, and a proxy runs.
        "crates/larder-cli/src/proxy/mod.rs",
        "crates/larder-actix/src/proxy/access.rs",
    ]
    .contains(&path);
    let allowed = waits
        || path == "crates/larder-core/src/clock.rs"
        // A stopwatch for a person.
        || path == "crates/larder-cli/src/report.rs"
        || path.starts_with("xtask/")
        || path.starts_with("benches/");
    if clock && !allowed {
        found.push(format!(
            "{at}: the clock is read in larder-core/src/clock.rs; take the instant as an argument"
        ));
    }
    let floor_four =
        ["crates/larder-cli/", "xtask/", "benches/", "examples/"].iter().any(|place| path.starts_with(place))
            || path.contains("/examples/");
    let talks = ["println!", "eprintln!", "std::env", "process::exit"].iter().any(|word| code.contains(word));
    if talks && !floor_four && !code.contains("env!(") {
        found.push(format!("{at}: only larder-cli and xtask print, read the environment or exit"));
    }
}

fn in_test_module(text: &str, number: usize) -> bool {
    text.lines().position(|line| line.trim() == "#[cfg(test)]").is_some_and(|begin| number > begin)
}
