//! `cargo xtask tidy`: the rules of this repository that clippy does not check.
//!
//! Each finding names a file and a line and what to write instead. [`files`] checks whole
//! files, [`prose`] the comments and documents, [`places`] where certain names may stand,
//! [`structure`] names and imports across files, [`options`] the setters of options,
//! [`public`] the other crates in public signatures. Exceptions stand in the lists of
//! `xtask/tidy/`, each with its reason; an exception that is no longer needed is a finding, too.

mod files;
mod list;
mod options;
mod places;
mod prose;
mod public;
mod structure;

use std::{fs, path::Path};

use crate::process::output;

/// A source file or a document of the repository.
pub(crate) struct File {
    /// The path from the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Creates a file for a test of a rule.
    #[cfg(test)]
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Returns whether the file is a Rust source file.
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns whether the file is a test, an example or a fuzz target: code that no library
    /// contains.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("examples/") || self.path.starts_with("fuzz/")
    }

    /// Returns whether the file belongs to a library or a binary in `crates/`.
    fn is_crate_source(&self) -> bool {
        self.path.starts_with("crates/") && self.path.contains("/src/")
    }

    /// Returns the name of the crate in `crates/` that contains the file.
    fn crate_name(&self) -> &str {
        self.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }

    /// Returns the lines before the unit tests, with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines();
        (1..).zip(lines.take_while(|line| line.trim() != "#[cfg(test)]"))
    }
}

/// Runs every rule.
pub(crate) fn run() -> anyhow::Result<()> {
    let listed = output(std::process::Command::new("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.rs",
        "*.md",
    ]))?;
    let mut files = Vec::new();
    for path in listed.lines().filter(|path| Path::new(path).is_file()) {
        files.push(File { path: path.to_owned(), text: fs::read_to_string(path)? });
    }
    let mut findings = Vec::new();
    files::check(&files, &mut findings)?;
    prose::check(&files, &mut findings);
    places::check(&files, &mut findings)?;
    structure::check(&files, &mut findings);
    options::check(&files, &mut findings);
    public::check(&files, &mut findings)?;
    anyhow::ensure!(findings.is_empty(), "{} findings:\n  {}", findings.len(), findings.join("\n  "));
    println!("tidy: {} files, no findings", files.len());
    Ok(())
}
