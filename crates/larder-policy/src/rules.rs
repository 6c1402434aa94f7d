//! What kind of cache this is, and the choices that RFC 9111 leaves to it.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use crate::{Overrides, header_names::CDN_CACHE_CONTROL};

/// Whether one user's responses may reach another (RFC 9111 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// It serves several users.
    Shared,
    /// It serves one.
    Private,
}

/// What kind of cache this is, and the choices that RFC 9111 leaves to it.
///
/// ```
/// use larder_policy::Rules;
///
/// let mut rules = Rules::shared();
/// rules.heuristic_percent = 0; // no guessing
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rules {
    /// Shared or private.
    pub kind: CacheKind,
    /// The share of the time since `Last-Modified` for which a response without explicit lifetime is fresh, in
    /// percent (§4.2.2). Default: 10.
    pub heuristic_percent: u8,
    /// The longest heuristic lifetime. Default: 24 hours.
    pub heuristic_max: Duration,
    /// The fields that are for caches of this class, in order: the first valid one takes the place of
    /// `Cache-Control` and `Expires` (RFC 9213 §2.2). Default: `CDN-Cache-Control` in a shared cache, none in a private
    /// one.
    pub targets: Vec<HeaderName>,
    /// How long past its lifetime a response may be served while the origin can't be reached, where nothing forbids it
    /// (§4.2.4). Default: 24 hours.
    pub stale_when_disconnected: Duration,
    /// Whether a *shared* cache stores responses that set cookies. RFC 9111 §7.3 leaves it to `Cache-Control`; but a
    /// session's cookie that is sent to the next user by a forgotten directive can't be called back, so the default is
    /// no. A private cache always does.
    pub store_set_cookie: bool,
    /// What this cache's user says of responses. Default: nothing.
    pub overrides: Option<Arc<Overrides>>,
}

impl Rules {
    /// For a cache that serves several users: a proxy, a server's own.
    pub fn shared() -> Self {
        Self {
            kind: CacheKind::Shared,
            heuristic_percent: 10,
            heuristic_max: Duration::from_secs(24 * 60 * 60),
            targets: vec![CDN_CACHE_CONTROL],
            stale_when_disconnected: Duration::from_secs(24 * 60 * 60),
            store_set_cookie: false,
            overrides: None,
        }
    }

    /// The same with what the cache's user says of responses.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = Some(Arc::new(overrides));
        self
    }

    /// For a cache that serves one user: a client's own.
    pub fn private() -> Self {
        Self { kind: CacheKind::Private, targets: Vec::new(), store_set_cookie: true, ..Self::shared() }
    }
}
