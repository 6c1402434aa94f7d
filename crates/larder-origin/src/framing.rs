//! Checks `Content-Length` and `Transfer-Encoding` of a response that hyper has parsed, and leaves
//! at most one length in it (RFC 9112 §6).

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use larder_core::{OriginError, OriginErrorKind, policy::list_members};

/// Removes surplus lengths from a response's headers, so that at most one `Content-Length` is left.
///
/// # Errors
///
/// Returns a [`Protocol`](OriginErrorKind::Protocol) error if a transfer coding would remain in the
/// content, or if the end of the body could not be distinguished from a broken connection.
pub(crate) fn normalize(fields: &mut HeaderMap) -> Result<(), OriginError> {
    if fields.contains_key(TRANSFER_ENCODING) {
        check_coding(fields).map_err(|why| OriginError::new(OriginErrorKind::Protocol).with_source(why))?;
        fields.remove(CONTENT_LENGTH);
    } else if let Some(first) = fields.get(CONTENT_LENGTH)
        && !(is_number(first.as_bytes()) && fields.get_all(CONTENT_LENGTH).iter().nth(1).is_none())
    {
        // hyper has checked the length of a body. A response without a body (to HEAD, or a 304) may
        // still announce any length.
        match common_length(fields) {
            Some(length) => fields.insert(CONTENT_LENGTH, length),
            None => fields.remove(CONTENT_LENGTH),
        };
    }
    Ok(())
}

/// Returns an error unless the body's coding is `chunked` alone, which hyper decodes, or unknown.
/// The body of an unknown coding is passed on as it is and ends with its connection (RFC 9112
/// §6.3).
fn check_coding(fields: &HeaderMap) -> Result<(), &'static str> {
    let mut members = fields.get_all(TRANSFER_ENCODING).iter();
    let (Some(only), None) = (members.next(), members.next()) else {
        return Err("more than one Transfer-Encoding header");
    };
    let text = only.to_str().map_err(|_| "a Transfer-Encoding that is not visible ASCII")?.trim();
    if text.eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    if ["chunked", "gzip", "deflate", "compress"].iter().any(|known| lower.contains(known)) {
        return Err("a Transfer-Encoding that would remain in the content");
    }
    if fields.contains_key(CONTENT_LENGTH) {
        return Err("Content-Length together with an unknown Transfer-Encoding");
    }
    Ok(())
}

/// Returns the length that all `Content-Length` lines and list members have in common, if they do.
fn common_length(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut members = list_members(fields.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes));
    let first = members.next().filter(|first| is_number(first))?;
    members.all(|other| other == first).then(|| HeaderValue::from_bytes(first).ok())?
}

/// Returns whether `text` is a decimal number of 1 to 19 digits.
fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit)
}
