//! Adds to the responses of handlers what they leave open: entity tags, and the mark `immutable`.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};
use larder_core::{
    Body,
    policy::{has_no_store, header_names::ETAG, set_immutable},
};
use xxhash_rust::xxh3::xxh3_128;

/// Returns whether responses under a path never change.
type ImmutableFn = dyn Fn(&str) -> bool + Send + Sync;

/// What is added to the responses of handlers.
#[derive(Clone)]
pub(crate) struct Additions {
    pub(crate) etags: bool,
    pub(crate) immutable: Option<Arc<ImmutableFn>>,
}

impl Default for Additions {
    fn default() -> Self {
        Self { etags: true, immutable: None }
    }
}

impl Additions {
    /// Adds the mark `immutable` and an entity tag to a response, as far as the options set them.
    pub(crate) fn add_to(&self, path: &str, mut response: Response<Body>) -> Response<Body> {
        let ok = response.status() == StatusCode::OK;
        if ok && self.immutable.as_ref().is_some_and(|immutable| immutable(path)) {
            set_immutable(response.headers_mut());
        }
        if self.etags { add_etag(response) } else { response }
    }
}

/// Adds a strong entity tag to a 200 response that has none and may be stored. Its content must be
/// in memory, and not empty.
///
/// The tag is a 128-bit hash of the content: content that differs in one byte has another tag
/// (RFC 9110 §8.8.1), and the same content has the same tag on every server.
fn add_etag(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if response.status() != StatusCode::OK || headers.contains_key(ETAG) || has_no_store(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) if bytes.is_empty() => Body::empty(),
        Ok(bytes) => {
            parts.headers.extend(etag(xxh3_128(&bytes)).map(|etag| (ETAG, etag)));
            Body::from(bytes)
        }
        Err(stream) => stream,
    };
    Response::from_parts(parts, body)
}

/// Formats a hash as an entity tag.
fn etag(hash: u128) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{hash:032x}\"")).ok()
}
