//! A typical request of a browser and a typical response, for benchmarks.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::{CacheKey, CacheStore, StoreError, StoredHead};

/// Time in seconds since the Unix epoch at which a response of [`head`] is fresh.
pub const NOW: u64 = 1_700_000_010;

/// Headers of the response.
pub const RESPONSE: [(&str, &str); 10] = [
    ("server", "origin/1.0"),
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"abcdef123456\""),
    ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("vary", "accept-encoding"),
    ("x-request-id", "8f14e45fceea167a5a36dedd4bea2543"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "sameorigin"),
    ("content-language", "en"),
];

/// Headers of the request.
pub const REQUEST: [(&str, &str); 10] = [
    ("host", "example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("connection", "keep-alive"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "none"),
    ("priority", "u=0, i"),
];

/// Converts pairs of names and values into a header map.
///
/// # Panics
///
/// Panics if a name is not in lower case, or if a name or a value is invalid.
pub fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

/// Creates the stored head of [`RESPONSE`] to [`REQUEST`].
pub fn head() -> Arc<StoredHead> {
    Arc::new(crate::head(&RESPONSE, &REQUEST))
}

/// Stores an entry.
///
/// # Errors
///
/// Returns the [`StoreError`] of the store.
pub async fn put(
    store: &dyn CacheStore,
    key: &CacheKey,
    head: &Arc<StoredHead>,
    body: Bytes,
) -> Result<(), StoreError> {
    let reserved = store.reserve(key).await?;
    let mut writer = reserved.begin(Arc::clone(head), Some(body.len() as u64), head.keep_until()).await?;
    writer.write(body).await?;
    writer.commit().await.map(drop)
}
