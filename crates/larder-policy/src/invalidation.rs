//! Decides what a request with an unsafe method invalidates (RFC 9111 §4.4, RFC 9875 §3). The
//! caller removes the stored responses. `groups` parses the fields of cache groups.

use http::{HeaderMap, Method, StatusCode};

use crate::{
    CacheGroup, TargetUri,
    groups::groups_in_field,
    header_names::{CACHE_GROUP_INVALIDATION, CONTENT_LOCATION, LOCATION},
};

/// Returns the target URIs that an exchange invalidates (RFC 9111 §4.4).
///
/// Only a 2xx or 3xx response to an unsafe method invalidates anything: the request's target, and
/// the targets of `Location` and `Content-Location` if they have the same origin.
pub fn invalidation_targets(
    method: &Method,
    target: &TargetUri,
    status: StatusCode,
    fields: &HeaderMap,
) -> Vec<TargetUri> {
    if !is_unsafe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut targets = vec![target.clone()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let reference = fields.get(name).and_then(|value| value.to_str().ok());
        if let Some(other) = reference.and_then(|reference| target.join(reference).ok())
            && other.origin() == target.origin()
            && !targets.contains(&other)
        {
            targets.push(other);
        }
    }
    targets
}

/// Returns the groups of the target's origin that an exchange invalidates (RFC 9875 §3), without a
/// limit. Only a 2xx or 3xx response to an unsafe method invalidates groups.
pub fn invalidation_groups(
    method: &Method,
    target: &TargetUri,
    status: StatusCode,
    fields: &HeaderMap,
) -> Vec<CacheGroup> {
    let invalidates = is_unsafe(method) && (status.is_success() || status.is_redirection());
    if !invalidates || !fields.contains_key(CACHE_GROUP_INVALIDATION) {
        return Vec::new();
    }
    groups_in_field(target, fields, &CACHE_GROUP_INVALIDATION)
}

/// Returns whether a method is not known to be safe (RFC 9110 §9.2.1). An unknown method may change
/// anything.
///
/// Safe are the methods that IANA's HTTP Method Registry lists as such: GET, HEAD, OPTIONS and
/// TRACE, PRI (RFC 9113 §3.4), PROPFIND (RFC 4918 §9.1), QUERY (RFC 10008), REPORT (RFC 3253 §3.6)
/// and SEARCH (RFC 5323 §2).
fn is_unsafe(method: &Method) -> bool {
    !method.is_safe() && !matches!(method.as_str(), "PRI" | "PROPFIND" | "QUERY" | "REPORT" | "SEARCH")
}
