//! The names of the fields that caching is made of. They stand here and nowhere else in the workspace.

use http::HeaderName;

pub use http::header::{
    ACCEPT_RANGES, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, PRAGMA, RANGE, SET_COOKIE, VARY,
};

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// `Cache-Groups` (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation` (RFC 9875 §3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// `CDN-Cache-Control` (RFC 9213 §3.1).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Whether a response's field has a say in how it is cached: for those who show people why.
pub fn is_caching_header(name: &HeaderName) -> bool {
    [
        AGE,
        CACHE_CONTROL,
        CACHE_GROUPS,
        CDN_CACHE_CONTROL,
        CONTENT_RANGE,
        DATE,
        ETAG,
        EXPIRES,
        LAST_MODIFIED,
        PRAGMA,
        SET_COOKIE,
        VARY,
    ]
    .contains(name)
}
