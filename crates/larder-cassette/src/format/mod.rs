//! The text of a recorded exchange: readable, and exact for each byte of the bodies.
//!
//! The README describes it. `write` and `parse` are inverse to each other; `content` has the forms
//! of bodies.

mod content;
mod parse;
mod write;

use std::{error::Error, fmt};

pub(crate) use parse::parse;
pub(crate) use write::{version, write};

use crate::RecordedExchange;

/// The first line of each file, with the version of the format.
const FIRST_LINE: &str = "larder exchange 1";

/// Returns whether the line begins a section.
fn is_section(line: &str) -> bool {
    line.starts_with("=== ")
}

/// Shows the text of the exchange, as it is in the file of a cassette.
impl fmt::Display for RecordedExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(self))
    }
}

/// Reads an exchange from the text of a file.
impl TryFrom<&[u8]> for RecordedExchange {
    type Error = FormatError;

    fn try_from(text: &[u8]) -> Result<Self, FormatError> {
        parse(text)
    }
}

/// The reason why a text is no recorded exchange, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    line: usize,
    reason: String,
}

impl FormatError {
    /// Creates an error at a line, of which the first is 1.
    fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }

    /// Returns the line, beginning with 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl Error for FormatError {}
