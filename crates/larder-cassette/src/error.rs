//! Defines the error of a cassette.

use std::{error::Error, fmt, path::Path};

/// The failure of a [`Cassette`](crate::Cassette).
///
/// Its text is complete and has several lines for some kinds: which request failed, which
/// recordings are nearest to it, and what to do. It contains no secret that is redacted in the
/// files.
///
/// ```
/// use larder_cassette::{Cassette, CassetteErrorKind, Mode};
///
/// let missing = Cassette::open("tests/cassettes", Mode::Replay).map(|cassette| cassette.check());
/// if let Err(error) = missing {
///     assert_eq!(error.kind(), CassetteErrorKind::Damaged);
/// }
/// ```
#[derive(Clone)]
pub struct CassetteError {
    kind: CassetteErrorKind,
    text: String,
}

/// The kind of a [`CassetteError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CassetteErrorKind {
    /// A request has no recording, and the mode permits no other answer.
    Missing,
    /// A recorded exchange was not used.
    Unused,
    /// An exchange was not recorded, for example because its response broke.
    NotRecorded,
    /// A file is not a recording, or not a whole one. The text has the path and the line.
    Damaged,
    /// A file or directory could not be read or written.
    Io,
    /// The body of a request, a response or a cassette as a whole is longer than its limit.
    TooLong,
    /// The request cannot be recorded: its URL is not absolute, or its body failed.
    Request,
    /// The HAR is not valid.
    Har,
}

impl CassetteError {
    /// Creates an error with its complete text.
    pub(crate) fn new(kind: CassetteErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Creates the error of a file or directory.
    pub(crate) fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(CassetteErrorKind::Io, format!("can't {action} {}: {error}", path.display()))
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> CassetteErrorKind {
        self.kind
    }
}

impl fmt::Display for CassetteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// Tests print errors with `Debug`, by `unwrap` and `?`: lines and paths must be readable there.
impl fmt::Debug for CassetteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for CassetteError {}
