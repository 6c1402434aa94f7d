//! Decides which responses can be encoded, and changes their headers accordingly.
//!
//! Entity tags are left to [`crate::tags`].

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use larder_core::policy::{
    has_no_transform,
    header_names::{CONTENT_RANGE, VARY},
    list_members,
};

use crate::{Coding, tags};

/// Digests of the content as the origin sent it (RFC 9530, and the headers that preceded it). They
/// do not match encoded content.
pub(crate) static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Returns whether this response can be encoded. If so, its `Vary` needs `Accept-Encoding`, whether
/// it is sent encoded or not.
pub(crate) fn can_encode(status: StatusCode, response: &HeaderMap) -> bool {
    status != StatusCode::PARTIAL_CONTENT
        && !response.contains_key(CONTENT_RANGE)
        && !has_no_transform(response)
        && response.get(CONTENT_TYPE).is_some_and(|kind| is_compressible(kind.as_bytes()))
}

/// Returns whether content of this type compresses like text. Event streams are excluded: their
/// events are sent one by one, and would wait in an encoder.
fn is_compressible(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    if let Some(text) = kind.strip_prefix(b"text/") {
        return text != b"event-stream";
    }
    if [&b"+json"[..], b"+xml", b"+text"].iter().any(|suffix| kind.ends_with(suffix)) {
        return true;
    }
    matches!(
        &*kind,
        b"application/json"
            | b"application/javascript"
            | b"application/x-javascript"
            | b"application/ecmascript"
            | b"application/xml"
            | b"application/wasm"
            | b"application/x-ndjson"
            | b"application/manifest+json"
            | b"application/rtf"
            | b"application/sql"
            | b"application/x-sh"
            | b"application/x-yaml"
            | b"application/yaml"
            | b"application/toml"
            | b"application/graphql"
            | b"application/vnd.ms-fontobject"
            | b"font/ttf"
            | b"font/otf"
            | b"font/collection"
            | b"image/bmp"
            | b"image/x-icon"
            | b"image/vnd.microsoft.icon"
    )
}

/// Adds `Accept-Encoding` to `Vary`, unless it or `*` is there.
pub(crate) fn add_vary(response: &mut HeaderMap) {
    let named = list_members(response.get_all(VARY).iter().map(HeaderValue::as_bytes))
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
    if !named {
        response.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Changes the headers of a response to those of its encoded form. `length` is that of the encoded
/// content, `None` if it is unknown.
pub(crate) fn set_encoded(response: &mut HeaderMap, coding: Coding, length: Option<usize>) {
    DIGESTS.iter().for_each(|name| drop(response.remove(name)));
    response.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    response.remove(CONTENT_LENGTH);
    response.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    tags::mark(response, coding);
}

/// Returns the value of `Content-Length`.
pub(crate) fn length(response: &HeaderMap) -> Option<u64> {
    response.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
