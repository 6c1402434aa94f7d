//! What a client may want of a cache for one request, in the request's own directives (RFC 9111 §5.2.1).

use http::{HeaderMap, HeaderValue};

use crate::header_names::CACHE_CONTROL;

/// What a client wants of caches for one request. All of it is said by the request's `Cache-Control` (RFC 9111 §5.2.1), so
/// that caches on the way know it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CacheMode {
    /// What the rules say.
    #[default]
    Default,
    /// The origin's word, whatever is stored (`no-cache`, §5.2.1.4). What is unchanged is confirmed and not sent again.
    Reload,
    /// What is stored and fresh, or an error; never the origin (`only-if-cached`, §5.2.1.7).
    OnlyIfCached,
    /// What is stored, however stale; the origin only where there is nothing (`max-stale`, §5.2.1.2). A response that must
    /// be revalidated (§5.2.2.2) is.
    PreferStale,
    /// What is stored, however stale, or an error; never the origin (both of the above).
    Offline,
    /// What is stored and fresh, if it is at most so many seconds old (`max-age`, §5.2.1.1).
    MaxAge(u64),
    /// Not to be stored, nor answered from what is stored without the origin's word (`no-store`, §5.2.1.5, and `no-cache`).
    NoStore,
}

impl CacheMode {
    /// Says it in a request's fields. What they said of caching before is replaced, except by [`CacheMode::Default`].
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
