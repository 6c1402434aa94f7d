//! Keys and stored heads, made as the engine makes them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use larder_core::{CacheKey, Exchange, RequestHead, Rules, StoredHead, TargetUri, Timestamp};

/// The key of a path on `http://example.com`.
///
/// # Panics
///
/// If it is not a path.
pub fn key(path: &str) -> CacheKey {
    CacheKey::of_parts("http", "example.com", path).expect("a path that begins with /")
}

/// What is stored of a response with these fields to a GET with those.
///
/// # Panics
///
/// If that is not storable.
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
    let (asked, method) = (fields(request), Method::GET);
    let target = TargetUri::parse("http://example.com/").expect("a target");
    let now = Timestamp::from_secs(1_700_000_000);
    let exchange = Exchange { request_time: now, response_time: now };
    let rules = Rules::private();
    let head =
        rules.storable(&target, &RequestHead::new(&method, &asked), StatusCode::OK, &response, exchange);
    head.expect("it has a lifetime")
}
