//! Defines the names of the header fields that concern caching. No other crate of the workspace
//! spells them out.

use http::HeaderName;

pub use http::header::{
    ACCEPT_RANGES, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, PRAGMA, RANGE, SET_COOKIE, VARY,
};

/// The `Cache-Status` field (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The `Cache-Groups` field (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// The `Cache-Group-Invalidation` field (RFC 9875 §3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// The `CDN-Cache-Control` field (RFC 9213 §3.1).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Returns whether a response field influences how the response is cached. Diagnostic output shows
/// these fields.
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
