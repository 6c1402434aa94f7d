//! Defines [`Scope`], the set of stored responses that a purge concerns.

use std::fmt;

use larder_policy::{CacheGroup, CacheKey};

/// Selects the stored responses that a purge removes or marks as stale.
///
/// The same four scopes are used by stores, by the engine, by the admin API and on the command
/// line.
///
/// ```
/// use larder_core::{CacheGroup, Scope};
///
/// let tag = CacheGroup::new("https://example.com", "news");
/// let scope = Scope::Group(&tag);
/// assert_eq!(scope.to_string(), "the group \"news\" of https://example.com");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// All variants stored under one key.
    Key(&'a CacheKey),
    /// All responses of one group (RFC 9875).
    Group(&'a CacheGroup),
    /// The responses of all URLs that begin with this text. The URL of a response is
    /// [`CacheKey::target`]. An empty text selects every response.
    Prefix(&'a str),
    /// Every response.
    All,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&key.target()),
            Self::Group(group) => write!(f, "the group {:?} of {}", group.name(), group.origin()),
            Self::Prefix(prefix) => write!(f, "all URLs that begin with {prefix}"),
            Self::All => f.write_str("everything"),
        }
    }
}
