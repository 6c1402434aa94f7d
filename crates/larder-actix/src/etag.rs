//! Entity tags for handlers that give none: a strong one, of the content.

use http::{HeaderValue, Response, StatusCode};
use larder_core::{Body, has_no_store, header_names::ETAG};
use xxhash_rust::xxh3::xxh3_128;

/// The response with an entity tag, if it is a whole 200 that has none and may be stored. Of 128 bits of the content: what differs
/// in a byte has another (RFC 9110 §8.8.1), on every server the same.
pub(crate) fn tagged(response: Response<Body>) -> Response<Body> {
    let fields = response.headers();
    if response.status() != StatusCode::OK || fields.contains_key(ETAG) || has_no_store(fields) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) if bytes.is_empty() => Body::empty(),
        Ok(bytes) => {
            parts.headers.extend(tag(xxh3_128(&bytes)).map(|tag| (ETAG, tag)));
            Body::from(bytes)
        }
        Err(streaming) => streaming,
    };
    Response::from_parts(parts, body)
}

fn tag(hash: u128) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{hash:032x}\"")).ok()
}
