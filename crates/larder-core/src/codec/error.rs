//! What is not an entry, and what cannot become one. Both are ordinary: a miss, and a response that is not stored.

use std::fmt;

/// Why bytes are not the entry that was looked for. To the engine each of these is a miss; FORMAT.md says which of them
/// a store removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnEntry {
    /// They do not begin as an entry does: somebody else's, or nothing was ever written there.
    Foreign,
    /// An entry of another version of the format.
    UnknownVersion(u16),
    /// They are not what was written. What was found wrong is for logs; after a checksum nothing else is looked at.
    Corrupt(&'static str),
    /// An entry, but of another key: a collision of hashes or of names.
    OtherKey,
    /// There is more to it: `needed` bytes in all. If there are no more, it was cut.
    Truncated {
        /// How many bytes to offer. Never more than [`MAX_HEAD`](super::MAX_HEAD) of a head; of a body that stands
        /// behind its head, what the whole entry has at least.
        needed: usize,
    },
}

/// Why a response cannot be written in this format. It is then not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotEncodable {
    /// It has more of `what` than the format's `limit`.
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The most that is possible.
        limit: usize,
    },
    /// It holds a value that this version of the format has no code for.
    NoCode(&'static str),
}

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a stored entry"),
            Self::UnknownVersion(version) => write!(f, "a stored entry of format version {version}"),
            Self::Corrupt(what) => write!(f, "a corrupt entry: {what}"),
            Self::OtherKey => f.write_str("an entry of another key"),
            Self::Truncated { needed } => write!(f, "an entry that is cut: it has at least {needed} bytes"),
        }
    }
}

impl std::error::Error for NotAnEntry {}

impl fmt::Display for NotEncodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { what, limit } => {
                write!(f, "the response has more {what} than can be stored ({limit})")
            }
            Self::NoCode(what) => write!(f, "format version {} has no code for its {what}", super::VERSION),
        }
    }
}

impl std::error::Error for NotEncodable {}
