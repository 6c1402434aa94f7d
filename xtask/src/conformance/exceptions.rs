//! Reads `xtask/conformance/exceptions.txt`: the tests with other expectations. The file explains
//! its columns.
//!
//! A line that matches no test, has no verdict or no reason, or repeats an earlier line is an
//! error.

use std::fs;

use anyhow::{Context as _, bail, ensure};

use super::suite::{SUITE, Test};

pub(super) const FILE: &str = "xtask/conformance/exceptions.txt";

/// A line of the list.
#[derive(Debug)]
pub(super) struct Exception {
    id: String,
    profile: String,
    pub(super) verdict: Verdict,
}

/// The expected outcome of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The test fails, and the message contains this text.
    Fails(String),
    /// The test passes, although the suite does not require it.
    Passes,
    /// The test passes or fails; both are correct.
    Either,
    /// The test is left out.
    NotCounted,
}

/// Reads and checks the list.
pub(super) fn read(tests: &[Test]) -> anyhow::Result<Vec<Exception>> {
    parse(&fs::read_to_string(FILE).with_context(|| format!("can't read {FILE}"))?, tests)
}

fn parse(text: &str, tests: &[Test]) -> anyhow::Result<Vec<Exception>> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let exception = parse_line(line).with_context(|| format!("{FILE}:{}", number + 1))?;
        let mut matched = tests.iter().filter(|test| exception.matches_id(&test.id)).peekable();
        ensure!(matched.peek().is_some(), "{FILE}:{}: {SUITE} has no test {}", number + 1, exception.id);
        let hidden = matched.all(|test| {
            exceptions.iter().any(|earlier| {
                earlier.matches_id(&test.id) && ["both", &exception.profile].contains(&&*earlier.profile)
            })
        });
        ensure!(!hidden, "{FILE}:{}: a line above already covers {}", number + 1, exception.id);
        exceptions.push(exception);
    }
    Ok(exceptions)
}

fn parse_line(line: &str) -> anyhow::Result<Exception> {
    let cells: Vec<_> = line.split('|').map(str::trim).collect();
    let [id, profile, verdict, message, reason] = cells[..] else {
        bail!("{} columns instead of five: id | profile | verdict | message | reason", cells.len());
    };
    ensure!(["shared", "private", "both"].contains(&profile), "unknown profile '{profile}'");
    ensure!(!reason.is_empty(), "give the reason");
    let verdict = match verdict {
        "reversed" | "contradicts" => Verdict::Fails(message.to_owned()),
        "required" => Verdict::Passes,
        "either" => Verdict::Either,
        "withdrawn" | "shared-only" => Verdict::NotCounted,
        _ => bail!("unknown verdict '{verdict}'"),
    };
    ensure!(
        matches!(verdict, Verdict::Fails(_)) != message.is_empty(),
        "the fourth column is the message of a test that must fail, and empty for others"
    );
    Ok(Exception { id: id.to_owned(), profile: profile.to_owned(), verdict })
}

impl Exception {
    pub(super) fn matches(&self, profile: &str, id: &str) -> bool {
        (self.profile == "both" || self.profile == profile) && self.matches_id(id)
    }

    fn matches_id(&self, id: &str) -> bool {
        self.id.strip_suffix('*').map_or(self.id == id, |start| id.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::suite::Kind;

    fn read(text: &str) -> Result<Vec<Exception>, String> {
        let test = |id: &str| Test {
            suite: "s".to_owned(),
            id: id.to_owned(),
            kind: Kind::Required,
            depends_on: vec![],
        };
        parse(text, &[test("age"), test("age-two")]).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_star_stands_for_the_rest_and_a_profile_for_itself() {
        let found = read("age* | private | either | | both are right").expect("it is well formed");
        assert!(found[0].matches("private", "age-two"));
        assert!(!found[0].matches("shared", "age-two"));
        assert!(!found[0].matches("private", "other"));
    }

    #[test]
    fn mistakes_in_the_file_are_found() {
        for (line, complaint) in [
            ("gone | both | either | | r", "has no test gone"),
            ("age | both | either | | r\nage | shared | either | | r", "already covers age"),
            ("age | both | sometimes | | r", "unknown verdict 'sometimes'"),
            ("age | mine | either | | r", "unknown profile 'mine'"),
            ("age | both | either | |", "give the reason"),
            ("age | both | reversed | | r", "fourth column"),
            ("age | both | either | comes from cache | r", "fourth column"),
            ("age | both | either | r", "4 columns"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }
}
