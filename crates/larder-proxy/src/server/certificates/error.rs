//! Defines the error of certificates and keys that cannot be used.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

/// The error of a certificate or private key that cannot be used. Its message states the reason,
/// and the file if it comes from one.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsError {
    file: Option<PathBuf>,
    reason: String,
}

#[cfg(feature = "tls")]
impl TlsError {
    /// Creates an error for this reason.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { file: None, reason: reason.into() }
    }

    /// Names the file that the error comes from.
    pub(super) fn of(mut self, file: &Path) -> Self {
        self.file.get_or_insert_with(|| file.to_owned());
        self
    }
}

impl TlsError {
    /// Returns the file that cannot be used, if the certificate or key comes from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        f.write_str(&self.reason)
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TlsError {}
