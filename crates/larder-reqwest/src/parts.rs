//! The parts of a URL that the client compares: the host, and what is sent to it.

use larder_core::{CacheKey, TargetError};
use reqwest::Url;
use url::Position;

/// Returns scheme, host and port as one string, such as `https://example.com:8443`.
pub(crate) fn host(url: &Url) -> &str {
    &url[..Position::BeforePath]
}

/// Returns the URL without its fragment, which is never sent.
pub(crate) fn without_fragment(url: &Url) -> &str {
    &url[..Position::AfterQuery]
}

/// Returns the cache key of a URL, before a partition or other parts are added to it.
pub(crate) fn key_of(url: &Url) -> Result<CacheKey, TargetError> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    CacheKey::from_parts(url.scheme(), authority, &url[Position::BeforePath..Position::AfterQuery])
}
