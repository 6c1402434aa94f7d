//! Decides where a body may be continued of which only the beginning is at hand (RFC 9110 §13.1.5,
//! §14.2): with the same bytes of another response, and with nothing else.
//!
//! Two responses have the same bytes if they have the same strong entity tag (§8.8.1). Some origins
//! send one tag for several codings or variants, so those have to be equal, too.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT},
};

use crate::{
    ByteRange, StoredHead,
    header_names::{CONTENT_LENGTH, ETAG, IF_RANGE},
    partial::only_range,
    request_range,
    validation::strong_tag,
};

/// Returns whether the representations of two stored responses of one key have the same bytes: both
/// have the same strong entity tag, the same coding and the same selecting header values.
///
/// Either of them may be a part of its representation.
///
/// RFC 9110 §8.8.1.
pub fn have_same_bytes(one: &StoredHead, other: &StoredHead) -> bool {
    let tag = unambiguous_tag(&one.fields);
    tag.is_some()
        && tag == unambiguous_tag(&other.fields)
        && has_same_coding(&one.fields, &other.fields)
        && one.selecting == other.selecting
}

/// Makes a request one for `rest`, a part of the representation that `stored` has, and returns
/// whether that was possible: `stored` needs a strong entity tag. If the representation has
/// changed, the origin responds with the whole of the new one.
///
/// The client's conditions and its range are replaced. The request has no content, so the fields
/// about content are removed: with a `Content-Length`, the origin would wait for content, and take
/// the beginning of the next request on its connection for that.
///
/// RFC 9110 §13.1.5.
pub fn request_rest(fields: &mut HeaderMap, stored: &StoredHead, rest: &ByteRange) -> bool {
    let tag = unambiguous_tag(&stored.fields).and_then(|tag| HeaderValue::from_bytes(tag).ok());
    let Some(tag) = tag else { return false };
    request_range(fields, rest);
    [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, EXPECT].iter().for_each(|name| {
        fields.remove(name);
    });
    fields.insert(IF_RANGE, tag);
    true
}

/// Returns whether a response with these fields contains exactly `rest`, with the bytes that the
/// representation of `stored` has there. If the length of the representation is not known in
/// `rest`, that of the response is not compared.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use larder_policy::{ByteRange, StoredHead, is_rest_of, request_rest};
///
/// /// Returns whether the bytes from 5 on of 10 may be taken from this response.
/// fn may_continue(stored: &StoredHead, status: StatusCode, fields: &HeaderMap) -> bool {
///     ByteRange::new(5, 9, Some(10)).is_some_and(|rest| is_rest_of(status, fields, stored, &rest))
/// }
/// ```
pub fn is_rest_of(status: StatusCode, fields: &HeaderMap, stored: &StoredHead, rest: &ByteRange) -> bool {
    unambiguous_tag(&stored.fields).is_some_and(|tag| {
        unambiguous_tag(fields) == Some(tag)
            && has_same_coding(fields, &stored.fields)
            && status == StatusCode::PARTIAL_CONTENT
            && only_range(fields).is_some_and(|part| {
                let complete = rest.complete.or(part.complete);
                part == ByteRange { complete, ..*rest }
            })
    })
}

/// Returns the strong entity tag of a response, if it has the syntax of one and is the only one
/// (§8.8.3).
fn unambiguous_tag(fields: &HeaderMap) -> Option<&[u8]> {
    let is_only = fields.get_all(ETAG).iter().nth(1).is_none();
    let is_quoted = |tag: &&[u8]| tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"");
    strong_tag(fields).filter(is_quoted).filter(|_| is_only)
}

/// Returns whether two responses have the same content codings (§8.4).
fn has_same_coding(one: &HeaderMap, other: &HeaderMap) -> bool {
    one.get_all(CONTENT_ENCODING).iter().eq(other.get_all(CONTENT_ENCODING).iter())
}
