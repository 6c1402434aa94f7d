//! What an unsafe request invalidates (RFC 9111 §4.4, RFC 9875 §3).

use http::{HeaderMap, Method, StatusCode};

use crate::{
    CacheGroup, TargetUri,
    groups::named,
    header_names::{CACHE_GROUP_INVALIDATION, CONTENT_LOCATION, LOCATION},
};

/// The target URIs whose stored responses an exchange invalidates: after a non-error response to an unsafe method,
/// the request's own, and those of `Location` and `Content-Location` if they are of the same origin.
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

/// The groups that it invalidates, of the target's own origin.
pub fn invalidation_groups(
    method: &Method,
    target: &TargetUri,
    status: StatusCode,
    fields: &HeaderMap,
) -> Vec<CacheGroup> {
    let counts = is_unsafe(method) && (status.is_success() || status.is_redirection());
    if !counts || !fields.contains_key(CACHE_GROUP_INVALIDATION) {
        return Vec::new();
    }
    named(target, fields, &CACHE_GROUP_INVALIDATION).into_vec()
}

/// All but the methods that are known to be safe (RFC 9110 §9.2.1): an unknown one may change anything.
fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}
