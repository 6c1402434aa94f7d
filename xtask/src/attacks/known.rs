//! Reads `xtask/attacks/known.txt`: the cases that fail today, each with what will fix it.

use std::fs;

use anyhow::{Context as _, ensure};

use super::{case::Case, lab::Target};

pub(super) const FILE: &str = "xtask/attacks/known.txt";

/// The list.
#[derive(Debug)]
pub(super) struct Known(Vec<Entry>);

/// A line: a case, a target, and the reason.
#[derive(Debug)]
struct Entry {
    case: String,
    target: Option<String>,
    reason: String,
}

impl Known {
    /// Reads and checks the list.
    pub(super) fn read(cases: &[Case]) -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string(FILE).with_context(|| format!("can't read {FILE}"))?, cases)
    }

    fn parse(text: &str, cases: &[Case]) -> anyhow::Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let at = format!("{FILE}:{number}");
            let (what, reason) = line.split_once('|').unwrap_or((line, ""));
            ensure!(!reason.trim().is_empty(), "{at}: write `case | reason` or `case@target | reason`");
            let (name, target) = match what.trim().split_once('@') {
                Some((name, target)) => (name, Some(target)),
                None => (what.trim(), None),
            };
            let case = cases.iter().find(|case| case.name == name);
            let case = case.with_context(|| format!("{at}: there is no case {name}"))?;
            ensure!(
                target.is_none_or(|target| case.on.iter().any(|on| on.name() == target)),
                "{at}: {name} does not run on that target"
            );
            ensure!(
                !entries.iter().any(|entry| entry.case == name && entry.target.as_deref() == target),
                "{at}: {name} is listed twice"
            );
            entries.push(Entry {
                case: name.to_owned(),
                target: target.map(str::to_owned),
                reason: reason.trim().to_owned(),
            });
        }
        Ok(Self(entries))
    }

    /// Returns the reason for which a case is expected to fail.
    pub(super) fn reason(&self, case: &str, target: Target) -> Option<&str> {
        let entry = self
            .0
            .iter()
            .find(|entry| entry.case == case && entry.target.as_deref().is_none_or(|on| on == target.name()));
        entry.map(|entry| &*entry.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::case::{ALL, PROXY};

    fn parse(text: &str) -> Result<Known, String> {
        let cases =
            [Case::new("a", ALL, |_| Ok(String::new())), Case::new("b", PROXY, |_| Ok(String::new()))];
        Known::parse(text, &cases).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_line_covers_all_targets_or_one() {
        let known = parse("# c\na@axum | later\nb | never\n").expect("it is well formed");
        assert_eq!(known.reason("a", Target::Axum), Some("later"));
        assert_eq!(known.reason("a", Target::Proxy), None);
        assert_eq!(known.reason("b", Target::Proxy), Some("never"));
    }

    #[test]
    fn mistakes_in_the_list_are_found() {
        for (text, words) in [
            ("a", "write `case | reason`"),
            ("a | ", "write `case | reason`"),
            ("c | r", "no case c"),
            ("b@axum | r", "does not run"),
            ("a | r\na | r", "listed twice"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
