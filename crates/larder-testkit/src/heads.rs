//! Creates keys and stored heads as the engine does, for tests of stores.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder_core::{CacheKey, RequestHead, Rules, StoredHead, TargetUri, Timestamp, policy::Exchange};

/// Returns the key of a path on `http://example.com`.
///
/// # Panics
///
/// Panics if `path` does not begin with `/`.
pub fn key(path: &str) -> CacheKey {
    CacheKey::from_parts("http", "example.com", path).expect("a path that begins with /")
}

/// Creates the stored head of a response with the headers `response` to a GET request with the
/// headers `request`.
///
/// Without `cache-control` in `response`, the response has `max-age=60`. It arrived at second
/// 1,700,000,000 of the Unix epoch.
///
/// # Panics
///
/// Panics if the response may not be stored in a private cache, or if a header is invalid.
pub fn head(response: &[(&str, &str)], request: &[(&str, &str)]) -> StoredHead {
    let fields = |pairs: &[(&str, &str)]| -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::try_from(*name).expect("a field name");
            (name, HeaderValue::try_from(*value).expect("a field value"))
        };
        pairs.iter().map(pair).collect()
    };
    let mut response = fields(response);
    response.entry("cache-control").or_insert(HeaderValue::from_static("max-age=60"));
    let (request, method) = (fields(request), Method::GET);
    let target = TargetUri::parse("http://example.com/").expect("a target");
    let now = Timestamp::from_secs(1_700_000_000);
    let exchange = Exchange { request_time: now, response_time: now };
    let rules = Rules::private();
    let head =
        rules.storable(&target, &RequestHead::new(&method, &request), StatusCode::OK, &response, exchange);
    head.expect("a storable response")
}
