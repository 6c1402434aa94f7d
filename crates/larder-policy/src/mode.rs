//! Defines how a client limits the use of caches for one request, as `Cache-Control` of the request
//! (RFC 9111 §5.2.1). `reuse` and `storing` apply these directives.

use http::{HeaderMap, HeaderValue};

use crate::header_names::CACHE_CONTROL;

/// A client's requirement on caches for one request.
///
/// Each mode is expressed as the request's `Cache-Control` (RFC 9111 §5.2.1), so that every cache
/// on the way follows it.
///
/// ```
/// use http::{HeaderMap, header::CACHE_CONTROL};
/// use larder_policy::CacheMode;
///
/// let mut fields = HeaderMap::new();
/// CacheMode::MaxAge(60).apply(&mut fields);
/// assert_eq!(fields[CACHE_CONTROL], "max-age=60");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CacheMode {
    /// No requirement: the request's own `Cache-Control` applies.
    #[default]
    Default,
    /// Validate with the origin, even if a fresh response is stored (`no-cache`, §5.2.1.4). An
    /// unchanged response is validated and not transferred again.
    Reload,
    /// Serve a fresh stored response or fail with 504, and never contact the origin
    /// (`only-if-cached`, §5.2.1.7).
    OnlyIfCached,
    /// Serve a stored response, however stale, and contact the origin only if none is stored
    /// (`max-stale`, §5.2.1.2). A response that must be revalidated (§5.2.2.2) still is.
    PreferStale,
    /// Serve a stored response, however stale, or fail with 504, and never contact the origin
    /// (`only-if-cached, max-stale`).
    Offline,
    /// Serve a fresh stored response that is at most this many seconds old (`max-age`, §5.2.1.1).
    MaxAge(u64),
    /// Do not store the response, and do not serve a stored one without validation (`no-store`,
    /// §5.2.1.5, and `no-cache`).
    NoStore,
}

impl CacheMode {
    /// Sets the mode as the request's `Cache-Control`, replacing its previous value.
    /// [`CacheMode::Default`] leaves the fields unchanged.
    pub fn apply(self, fields: &mut HeaderMap) {
        let directives = match self {
            Self::Default => return,
            Self::Reload => "no-cache",
            Self::OnlyIfCached => "only-if-cached",
            Self::PreferStale => "max-stale",
            Self::Offline => "only-if-cached, max-stale",
            Self::MaxAge(seconds) => {
                let value = HeaderValue::from_str(&format!("max-age={seconds}"));
                fields.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("no-cache")));
                return;
            }
            Self::NoStore => "no-store, no-cache",
        };
        fields.insert(CACHE_CONTROL, HeaderValue::from_static(directives));
    }
}
