//! The parts of a URL that count here.

use larder_core::{CacheKey, TargetError};
use reqwest::Url;
use url::Position;

/// Scheme, name and port.
pub(crate) fn host(url: &Url) -> &str {
    &url[..Position::BeforePath]
}

/// All that is sent: not the fragment.
pub(crate) fn sent(url: &Url) -> &str {
    &url[..Position::AfterQuery]
}

/// The key, before anything is added to it.
pub(crate) fn key_of(url: &Url) -> Result<CacheKey, TargetError> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    CacheKey::of_parts(url.scheme(), authority, &url[Position::BeforePath..Position::AfterQuery])
}
