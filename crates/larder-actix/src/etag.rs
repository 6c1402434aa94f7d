//! Entity tags for handlers that give none: a strong one, of the content.

use std::hash::Hasher as _;

use http::{HeaderValue, Response, StatusCode};
use larder_core::{Body, names::ETAG};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// The response with an entity tag, if it is a whole 200 that has none. Of 128 bits of the content: what differs in a byte
/// has another (RFC 9110 §8.8.1), on every server the same.
pub(crate) fn tagged(response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::OK || response.headers().contains_key(ETAG) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) if bytes.is_empty() => Body::empty(),
        Ok(bytes) => {
            let mut hasher = SipHasher13::new();
            hasher.write(&bytes);
            let tag = HeaderValue::from_str(&format!("\"{:032x}\"", hasher.finish128().as_u128()));
            parts.headers.extend(tag.ok().map(|tag| (ETAG, tag)));
            Body::from(bytes)
        }
        Err(streaming) => streaming,
    };
    Response::from_parts(parts, body)
}
