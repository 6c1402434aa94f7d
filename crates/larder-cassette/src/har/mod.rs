//! HAR 1.2 (HTTP Archive), the format of browsers' developer tools.
//!
//! `import` reads what browsers and tools write, `export` writes what they read.

mod export;
mod import;

pub(crate) use export::export;
pub(crate) use import::import;

/// What was imported from a HAR; see [`Cassette::import_har`](crate::Cassette::import_har).
///
/// ```
/// use larder_cassette::{Cassette, CassetteOptions};
///
/// # fn main() -> Result<(), larder_cassette::CassetteError> {
/// let har = br#"{"log": {"entries": [{"request": {"method": "GET", "url": "blob:x"}}]}}"#;
/// let import = Cassette::recorder(CassetteOptions::default()).import_har(har)?;
/// assert_eq!(import.imported(), 0);
/// assert_eq!(import.skipped()[0].to_string(), "entry 0 (GET blob:x): the URL is not one of HTTP");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarImport {
    imported: usize,
    skipped: Vec<SkippedEntry>,
}

impl HarImport {
    /// Creates a report.
    pub(crate) fn new(imported: usize, skipped: Vec<SkippedEntry>) -> Self {
        Self { imported, skipped }
    }

    /// Returns how many entries were imported.
    pub fn imported(&self) -> usize {
        self.imported
    }

    /// Returns the entries that were left out.
    pub fn skipped(&self) -> &[SkippedEntry] {
        &self.skipped
    }
}

/// An entry of a HAR that was left out. Its text has the place, the request and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedEntry {
    index: usize,
    request: String,
    reason: String,
}

impl SkippedEntry {
    /// Returns the index in the list of entries, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns why it was left out.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl std::fmt::Display for SkippedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {} ({}): {}", self.index, self.request, self.reason)
    }
}
