//! Which responses are worth encoding, and what becomes of their fields.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use larder_core::{
    has_no_transform,
    header_names::{CONTENT_RANGE, VARY},
};

use crate::{Coding, tags};

/// Digests of the bytes as the origin has them (RFC 9530, and what came before it).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether this content may have several codings. Its `Vary` has to say so, whichever it gets.
pub(crate) fn varies(status: StatusCode, response: &HeaderMap) -> bool {
    status != StatusCode::PARTIAL_CONTENT
        && !response.contains_key(CONTENT_RANGE)
        && !has_no_transform(response)
        && response.get(CONTENT_TYPE).is_some_and(|kind| shrinks(kind.as_bytes()))
}

/// Types of text, and of what compresses like text. Events are sent one by one, and would wait in an encoder.
fn shrinks(kind: &[u8]) -> bool {
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

/// Adds `Accept-Encoding` to what selects this response.
pub(crate) fn add_vary(response: &mut HeaderMap) {
    let named = response.get_all(VARY).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !named {
        response.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The fields of the encoded response, from those of the other. `length`: of the encoded content, if that is known.
pub(crate) fn encoded(response: &mut HeaderMap, coding: Coding, length: Option<usize>) {
    DIGESTS.iter().for_each(|name| drop(response.remove(name)));
    response.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    response.remove(CONTENT_LENGTH);
    response.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    tags::mark(response, coding);
}

/// The announced length of the content.
pub(crate) fn length(response: &HeaderMap) -> Option<u64> {
    response.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
