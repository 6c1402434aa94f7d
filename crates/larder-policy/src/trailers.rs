//! Decides which fields of a trailer section are forwarded (RFC 9110 §6.5.1). Trailers are never
//! stored (RFC 9111 §3.1 permits a cache to omit them) nor merged into the fields of the head.

use http::{
    HeaderMap, HeaderName,
    header::{
        CONTENT_ENCODING, CONTENT_TYPE, COOKIE, EXPECT, HOST, MAX_FORWARDS, RETRY_AFTER, TRAILER, WARNING,
        WWW_AUTHENTICATE,
    },
};

use crate::{
    header_names::{
        AGE, AUTHORIZATION, CACHE_CONTROL, CACHE_GROUP_INVALIDATION, CACHE_GROUPS, CDN_CACHE_CONTROL,
        CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, PRAGMA, RANGE, SET_COOKIE, VARY,
    },
    hop_by_hop::concerns_one_hop,
};

/// The fields that are needed before the content, or that would change what a recipient does with
/// the message: framing, routing, modifiers of requests, authentication, control of caches, and the
/// format of the content.
static NEVER_TRAILERS: [HeaderName; 31] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CACHE_GROUPS,
    CACHE_GROUP_INVALIDATION,
    CDN_CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TRAILER,
    VARY,
    WARNING,
    WWW_AUTHENTICATE,
];

/// Removes the fields of a trailer section that must not be in one: a recipient that merges
/// trailers into the head would otherwise read another message (RFC 9110 §6.5.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder_policy::strip_trailers;
///
/// let mut trailers = HeaderMap::new();
/// trailers.insert("grpc-status", HeaderValue::from_static("0"));
/// trailers.insert("content-length", HeaderValue::from_static("0"));
/// strip_trailers(&mut trailers);
/// assert_eq!(trailers.len(), 1);
/// ```
pub fn strip_trailers(fields: &mut HeaderMap) {
    let is_never = |name: &HeaderName| concerns_one_hop(name.as_str()) || NEVER_TRAILERS.contains(name);
    while let Some(name) = fields.keys().find(|name| is_never(name)).cloned() {
        fields.remove(name);
    }
}
