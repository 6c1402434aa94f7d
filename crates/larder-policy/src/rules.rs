//! Configures the rules: the kind of cache, and the choices that RFC 9111 leaves to an
//! implementation. The decisions are methods of [`Rules`] in the module of their section.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use crate::{Overrides, header_names::CDN_CACHE_CONTROL};

/// Whether a cache may serve one user's responses to another (RFC 9111 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// The cache serves several users.
    Shared,
    /// The cache serves one user.
    Private,
}

/// The caching rules, configured by the kind of cache and by the choices that RFC 9111 leaves to an
/// implementation.
///
/// ```
/// use larder_policy::Rules;
///
/// let rules = Rules::shared().with_heuristic_percent(0); // no heuristic freshness
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rules {
    /// Kind of cache: shared or private.
    pub kind: CacheKind,
    /// Percentage of the time since `Last-Modified` for which a response without explicit lifetime
    /// is fresh (§4.2.2). Default: 10. With 0, the heuristic lifetime is zero.
    ///
    /// A shared cache gives no heuristic lifetime to the response to a request with `Authorization`
    /// or `Cookie`, nor to one with `Set-Cookie`. It is validated each time.
    pub heuristic_percent: u8,
    /// Longest heuristic lifetime. Default: 24 hours.
    pub heuristic_max: Duration,
    /// Names of the targeted fields for this class of cache, in order of precedence. The first
    /// valid one replaces `Cache-Control` and `Expires` (RFC 9213 §2.2). Default:
    /// `CDN-Cache-Control` in a shared cache, none in a private one.
    pub targets: Vec<HeaderName>,
    /// Longest time past its lifetime for which a response may be served while the origin cannot be
    /// reached, unless a directive forbids it (§4.2.4). Default: 24 hours.
    pub stale_when_disconnected: Duration,
    /// Whether a *shared* cache stores responses with `Set-Cookie`. Default: false in a shared
    /// cache. A private cache always stores them.
    ///
    /// RFC 9111 §7.3 leaves the decision to `Cache-Control`. But where an origin forgets the
    /// directive, a session cookie is sent to the next user and cannot be revoked.
    pub store_set_cookie: bool,
    /// Whether errors are stored that a field of one client's request may have caused, while the
    /// key has nothing of it. Default: false.
    ///
    /// These are the status codes 4xx except 404, 410 and 451, and 500, 501, 505 and 510; a 406
    /// only without `Vary`. A private cache stores them, except 412, 416, 417 and 425, which
    /// conditions, ranges and expectations cause. Without this setting they are only stored if
    /// their lifetime is meant for this cache: `s-maxage` in a shared cache, or `max-age` in a
    /// targeted field.
    ///
    /// Set it if the origin adds lifetimes only to those errors that every client gets. 428, 429,
    /// 431 and 511 are never stored (RFC 6585).
    pub store_request_errors: bool,
    /// Names of the fields in which responses list their tags, such as `Surrogate-Key`, `xkey`,
    /// `Cache-Tag`, `Edge-Cache-Tag` or `X-Cache-Tags`. Default: none.
    ///
    /// A tag is a group of the response, like those in `Cache-Groups` (RFC 9875), but for all
    /// origins ([`CacheGroup::tag`](crate::CacheGroup::tag)). White space separates the tags of
    /// `Surrogate-Key` and `xkey`, white space or commas those of `Cache-Tags` and
    /// `Purge-Cache-Tags`, and commas those of others. The fields are not stored, and a server's
    /// clients do not get them.
    pub tag_fields: Vec<HeaderName>,
    /// Overrides of what responses specify. Default: none.
    pub overrides: Option<Arc<Overrides>>,
}

impl Rules {
    /// Creates the rules of a cache that serves several users, such as a proxy or a server's own
    /// cache.
    pub fn shared() -> Self {
        Self {
            kind: CacheKind::Shared,
            heuristic_percent: 10,
            heuristic_max: Duration::from_secs(24 * 60 * 60),
            targets: vec![CDN_CACHE_CONTROL],
            stale_when_disconnected: Duration::from_secs(24 * 60 * 60),
            store_set_cookie: false,
            store_request_errors: false,
            tag_fields: Vec::new(),
            overrides: None,
        }
    }

    /// Sets the overrides of what responses specify.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = Some(Arc::new(overrides));
        self
    }

    /// Creates the rules of a cache that serves one user, such as a client's own cache.
    pub fn private() -> Self {
        Self { kind: CacheKind::Private, targets: Vec::new(), store_set_cookie: true, ..Self::shared() }
    }

    /// Sets the kind of cache, and leaves the other choices as they are
    /// ([`kind`](Self::kind)).
    #[must_use]
    pub fn with_kind(mut self, kind: CacheKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the percentage of the time since `Last-Modified` for which a response without explicit
    /// lifetime is fresh ([`heuristic_percent`](Self::heuristic_percent)).
    #[must_use]
    pub fn with_heuristic_percent(mut self, heuristic_percent: u8) -> Self {
        self.heuristic_percent = heuristic_percent;
        self
    }

    /// Sets the longest heuristic lifetime ([`heuristic_max`](Self::heuristic_max)).
    #[must_use]
    pub fn with_heuristic_max(mut self, heuristic_max: Duration) -> Self {
        self.heuristic_max = heuristic_max;
        self
    }

    /// Sets the names of the targeted fields for this class of cache, in order of precedence
    /// ([`targets`](Self::targets)).
    #[must_use]
    pub fn with_targets(mut self, targets: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targets = targets.into_iter().collect();
        self
    }

    /// Sets the longest time past its lifetime for which a response may be served while the origin
    /// cannot be reached ([`stale_when_disconnected`](Self::stale_when_disconnected)).
    #[must_use]
    pub fn with_stale_when_disconnected(mut self, stale_when_disconnected: Duration) -> Self {
        self.stale_when_disconnected = stale_when_disconnected;
        self
    }

    /// Sets whether a shared cache stores responses with `Set-Cookie`
    /// ([`store_set_cookie`](Self::store_set_cookie)).
    #[must_use]
    pub fn with_store_set_cookie(mut self, store_set_cookie: bool) -> Self {
        self.store_set_cookie = store_set_cookie;
        self
    }

    /// Sets the names of the fields in which responses list their tags
    /// ([`tag_fields`](Self::tag_fields)).
    ///
    /// ```
    /// use http::HeaderName;
    /// use larder_policy::Rules;
    ///
    /// let rules = Rules::shared().with_tag_fields([HeaderName::from_static("surrogate-key")]);
    /// ```
    #[must_use]
    pub fn with_tag_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.tag_fields = names.into_iter().collect();
        self
    }

    /// Sets whether errors are stored that a field of one client's request may have caused
    /// ([`store_request_errors`](Self::store_request_errors)).
    #[must_use]
    pub fn with_store_request_errors(mut self, store_request_errors: bool) -> Self {
        self.store_request_errors = store_request_errors;
        self
    }
}
