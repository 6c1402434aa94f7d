//! Defines what a cache does with the caching directives of requests (RFC 9111 §5.2.1).
//!
//! `request` holds the choice for one request and applies it to what `reuse` and `storing` read,
//! `stale` decides on failures. How several reloads become one request is for the caller.

use std::{fmt, str::FromStr, time::Duration};

use crate::CacheKind;

/// What a cache does with the caching directives of its clients' requests: `Cache-Control`, and
/// `Pragma: no-cache` (RFC 9111 §5.2.1, §5.4).
///
/// RFC 9111 §5.2.1 leaves it to the cache whether it implements them. Caches of servers usually
/// ignore them: nginx's `proxy_cache`, Varnish, Apache Traffic Server and most networks of caches
/// by default. Apache's `mod_cache` and Envoy honor them by default and have a switch
/// (`CacheIgnoreCacheControl`, `ignore_request_cache_control_header`). A client's own cache honors
/// them, since they come from its user.
///
/// ```
/// use larder_policy::{CacheKind, ClientDirectives};
///
/// assert_eq!(ClientDirectives::for_server(CacheKind::Shared), ClientDirectives::Collapse);
/// assert_eq!(ClientDirectives::for_server(CacheKind::Private), ClientDirectives::Honor);
/// assert_eq!("ignore".parse(), Ok(ClientDirectives::Ignore));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ClientDirectives {
    /// Obey each of them. Any client can then send any number of requests to the origin, although
    /// the response is stored and fresh.
    #[default]
    Honor,
    /// Ignore all of them, also `no-store`, `max-stale` and `only-if-cached`.
    Ignore,
    /// Obey them, but let the reloads of a stored response reach the origin at most once a second:
    /// the requests that only `no-cache`, `max-age`, `min-fresh` or `Pragma: no-cache` sends there.
    /// Those that come while the origin responds share its response, and those that come within a
    /// second after the first get what is stored.
    ///
    /// If the origin fails, or its response cannot be stored, there is nothing to share; the others
    /// then get the stored response as if they had no such directive, until the second is over.
    /// Nor do these directives forbid a stale response while the origin fails (RFC 9111 §4.2.4).
    /// Where nothing is stored that could be served, each request is treated like one without
    /// directives: those at the same time share one response if it can be stored.
    Collapse,
}

impl ClientDirectives {
    /// All values, in declaration order.
    pub const ALL: [Self; 3] = [Self::Honor, Self::Ignore, Self::Collapse];

    /// The time after a reload for which no other one reaches the origin: one second.
    pub const RELOAD_WINDOW: Duration = Duration::from_secs(1);

    /// Returns the default of a server's cache: [`Collapse`](Self::Collapse) if it is shared,
    /// because one client's reloads should not be a load for the origin of all, and
    /// [`Honor`](Self::Honor) if it is private.
    pub const fn for_server(kind: CacheKind) -> Self {
        match kind {
            CacheKind::Shared => Self::Collapse,
            CacheKind::Private => Self::Honor,
        }
    }

    /// Returns the name in lower case, as configuration files use it: `honor`, `ignore` or
    /// `collapse`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Honor => "honor",
            Self::Ignore => "ignore",
            Self::Collapse => "collapse",
        }
    }
}

impl fmt::Display for ClientDirectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a [`ClientDirectives`] value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownClientDirectives;

impl fmt::Display for UnknownClientDirectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected honor, ignore or collapse")
    }
}

impl std::error::Error for UnknownClientDirectives {}

impl FromStr for ClientDirectives {
    type Err = UnknownClientDirectives;

    fn from_str(name: &str) -> Result<Self, UnknownClientDirectives> {
        Self::ALL.into_iter().find(|value| value.name() == name).ok_or(UnknownClientDirectives)
    }
}
