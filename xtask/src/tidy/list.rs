//! The lists of exceptions in `xtask/tidy/`: a line `what | reason` each, `#` for comments.

use std::{cell::Cell, fs};

/// A list of exceptions that records which of them were used.
pub(crate) struct List {
    path: &'static str,
    entries: Vec<Entry>,
}

struct Entry {
    what: String,
    used: Cell<bool>,
}

impl List {
    /// Reads the list at `path`. A line without a reason is a finding.
    pub(crate) fn read(path: &'static str, findings: &mut Vec<String>) -> anyhow::Result<Self> {
        Ok(Self::parse(path, &fs::read_to_string(path)?, findings))
    }

    /// Parses the text of a list.
    pub(crate) fn parse(path: &'static str, text: &str, findings: &mut Vec<String>) -> Self {
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('|') {
                Some((what, reason)) if !reason.trim().is_empty() => {
                    entries.push(Entry { what: what.trim().to_owned(), used: Cell::new(false) });
                }
                _ => findings.push(format!("{path}:{number}: write `what | reason`")),
            }
        }
        Self { path, entries }
    }

    /// Returns whether `what` is listed, and records its use. An entry that ends with `/` covers a
    /// folder.
    pub(crate) fn covers(&self, what: &str) -> bool {
        let covering = self
            .entries
            .iter()
            .find(|entry| entry.what == what || entry.what.ends_with('/') && what.starts_with(&entry.what));
        covering.inspect(|entry| entry.used.set(true)).is_some()
    }

    /// Reports the entries that covered nothing.
    pub(crate) fn report_unused(&self, findings: &mut Vec<String>) {
        for entry in self.entries.iter().filter(|entry| !entry.used.get()) {
            findings.push(format!("{}: remove `{}`: the exception is not needed", self.path, entry.what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn exceptions_have_reasons_and_are_needed() {
        let mut findings = Vec::new();
        let list =
            List::parse("list", "# comment\na.rs | old\nb/ | generated\nc.rs\nd.rs | \n", &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(list.covers("a.rs") && !list.covers("x.rs"));
        findings.clear();
        list.report_unused(&mut findings);
        assert_eq!(findings, ["list: remove `b/`: the exception is not needed"]);
        assert!(list.covers("b/any.rs"));
    }
}
