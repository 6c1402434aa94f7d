//! Defines [`Scope`], the set of stored responses that a purge concerns, and its owned form.

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

/// A [`Scope`] that owns its contents, for a removal that outlives the call for it.
///
/// ```
/// use larder_core::{CacheKey, OwnedScope, Scope};
///
/// let key = CacheKey::from_parts("http", "example.com", "/").unwrap();
/// let later = OwnedScope::of(Scope::Key(&key));
/// assert_eq!(later.as_scope(), Scope::Key(&key));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OwnedScope {
    /// [`Scope::Key`].
    Key(CacheKey),
    /// [`Scope::Group`].
    Group(CacheGroup),
    /// [`Scope::Prefix`].
    Prefix(Box<str>),
    /// [`Scope::All`].
    All,
}

impl OwnedScope {
    /// Copies a scope.
    pub fn of(scope: Scope<'_>) -> Self {
        match scope {
            Scope::Key(key) => Self::Key(key.clone()),
            Scope::Group(group) => Self::Group(group.clone()),
            Scope::Prefix(prefix) => Self::Prefix(prefix.into()),
            Scope::All => Self::All,
        }
    }

    /// Returns the scope.
    pub fn as_scope(&self) -> Scope<'_> {
        match self {
            Self::Key(key) => Scope::Key(key),
            Self::Group(group) => Scope::Group(group),
            Self::Prefix(prefix) => Scope::Prefix(prefix),
            Self::All => Scope::All,
        }
    }
}
