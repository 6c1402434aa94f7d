//! Rules for whole source files: how they begin, what they are called, how long they are, and
//! single lines in them.

use super::{File, list::List};

const LONG: &str = "xtask/tidy/long.txt";
/// Longer files need a reason in the list.
const LONG_FROM: usize = 400;
/// No file may be longer.
const LONGEST: usize = 600;

/// Checks every Rust file.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) -> anyhow::Result<()> {
    let long = List::read(LONG, findings)?;
    for file in files.iter().filter(|file| file.is_rust()) {
        source(file, &long, findings);
    }
    long.report_unused(findings);
    Ok(())
}

fn source(file: &File, long: &List, findings: &mut Vec<String>) {
    let path = &file.path;
    if !file.text.starts_with("//!") && !file.text.starts_with("#![doc") {
        findings.push(format!(
            "{path}:1: begin with a `//!` comment: what the file decides or owns, and what other modules do"
        ));
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(name, "utils.rs" | "util.rs" | "common.rs" | "helpers.rs" | "misc.rs" | "types.rs") {
        findings.push(format!("{path}: name the file after its subject"));
    }
    let lines = file.text.lines().count();
    if lines > LONGEST || lines > LONG_FROM && !long.covers(path) {
        findings
            .push(format!("{path}: {lines} lines; split it, or (up to {LONGEST}) give a reason in {LONG}"));
    }
    let in_tests = file.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
    for (index, line) in file.text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        let code = line.split("//").next().unwrap_or_default();
        if [concat!("RFC 72", "34"), concat!("RFC 26", "16"), concat!("datatracker", ".ietf")]
            .iter()
            .any(|old| line.contains(old))
        {
            findings.push(format!("{at}: cite RFC 9110, 9111 or 9112 by section, without a link"));
        }
        if code.contains(concat!(".unwrap", "()")) && !file.is_test() && index < in_tests {
            findings.push(format!("{at}: use `expect` with the invariant that makes it true"));
        }
        if line.contains(concat!("#[", "ignore")) {
            findings.push(format!("{at}: enable the test, or delete it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let long = List::parse(LONG, "crates/a/src/long.rs | one table\n", &mut findings);
        source(&File::new(path, text), &long, &mut findings);
        findings
    }

    #[test]
    fn files_begin_with_their_subject_and_end_in_time() {
        assert!(found("crates/a/src/b.rs", "//! Decides.\n").is_empty());
        assert_eq!(found("crates/a/src/b.rs", "fn f() {}\n").len(), 1);
        assert_eq!(found("crates/a/src/utils.rs", "//! Things.\n").len(), 1);
        let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(LONG_FROM));
        assert_eq!(found("crates/a/src/b.rs", &long).len(), 1);
        assert!(found("crates/a/src/long.rs", &long).is_empty());
        assert_eq!(found("crates/a/src/long.rs", &"//! L\n".repeat(LONGEST + 1)).len(), 1);
    }

    #[test]
    fn lines_that_are_not_written() {
        let unwrap = concat!("//! D.\nfn f() { x.unwrap", "() }\n");
        assert_eq!(found("crates/a/src/b.rs", unwrap).len(), 1);
        assert!(found("crates/a/tests/b.rs", unwrap).is_empty());
        assert!(
            found("crates/a/src/b.rs", concat!("//! D.\n#[cfg(test)]\nfn f() { x.unwrap", "() }\n"))
                .is_empty()
        );
        assert_eq!(found("crates/a/src/b.rs", concat!("//! See RFC 72", "34.\n")).len(), 1);
        assert_eq!(found("crates/a/tests/b.rs", concat!("//! D.\n#[", "ignore]\n")).len(), 1);
    }
}
