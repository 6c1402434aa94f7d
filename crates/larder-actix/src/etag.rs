//! Entity tags for responses of handlers that set none.

use http::{HeaderValue, Response, StatusCode};
use larder_core::{
    Body,
    policy::{has_no_store, header_names::ETAG},
};
use xxhash_rust::xxh3::xxh3_128;

/// Adds a strong entity tag to a 200 response that has none and may be stored. Its content must be
/// in memory, and not empty.
///
/// The tag is a 128-bit hash of the content: content that differs in one byte has another tag
/// (RFC 9110 §8.8.1), and the same content has the same tag on every server.
pub(crate) fn add_etag(response: Response<Body>) -> Response<Body> {
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
