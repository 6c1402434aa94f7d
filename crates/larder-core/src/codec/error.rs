//! Defines the errors of the codec: [`NotAnEntry`] means a miss, [`NotEncodable`] a response that
//! is not stored.

use std::fmt;

use crate::error_chain::debug_as_chain;

/// The reason why bytes are not the requested entry.
///
/// The engine treats each of these as a miss. FORMAT.md states for which of them a store removes
/// the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnEntry {
    /// The bytes do not start like an entry: other software wrote them, or nothing was ever
    /// written.
    Foreign,
    /// An entry of another version of the format.
    UnknownVersion(u16),
    /// The bytes are not what was written. The text names the part that is wrong, for logs.
    Corrupt(&'static str),
    /// An entry of another key: a collision of hashes or of names.
    OtherKey,
    /// The entry has at least `needed` bytes. If the store has no more bytes, the entry was cut.
    Truncated {
        /// The number of bytes to pass. For a head, at most [`MAX_HEAD`](super::MAX_HEAD); for a
        /// body that follows its head, the minimum length of the whole entry.
        needed: usize,
    },
}

/// The reason why a response cannot be encoded in this format. It is not stored then.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotEncodable {
    /// It exceeds one of the format's limits.
    TooLarge {
        /// The quantity that exceeds the limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a stored entry"),
            Self::UnknownVersion(version) => write!(f, "a stored entry of format version {version}"),
            Self::Corrupt(what) => write!(f, "a corrupt entry: {what}"),
            Self::OtherKey => f.write_str("an entry of another key"),
            Self::Truncated { needed } => write!(f, "a truncated entry: it has at least {needed} bytes"),
        }
    }
}

impl fmt::Debug for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl std::error::Error for NotAnEntry {}

impl fmt::Display for NotEncodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { what, limit } => {
                write!(f, "the response has more {what} than can be stored ({limit})")
            }
        }
    }
}

impl fmt::Debug for NotEncodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl std::error::Error for NotEncodable {}
