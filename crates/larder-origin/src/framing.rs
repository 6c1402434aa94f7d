//! One length, or none: what a response's head says of its body's extent, after hyper has read it (RFC 9112 §6).

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use larder_core::{OriginError, OriginErrorKind};

/// Leaves one length at most in the head, or refuses the response.
///
/// # Errors
///
/// Where a coding would be left in the content, or an end can't be told from a cut.
pub(crate) fn settle(fields: &mut HeaderMap) -> Result<(), OriginError> {
    if fields.contains_key(TRANSFER_ENCODING) {
        coding(fields).map_err(|why| OriginError::new(OriginErrorKind::Protocol).with_source(why))?;
        fields.remove(CONTENT_LENGTH);
    } else if let Some(first) = fields.get(CONTENT_LENGTH)
        && !(is_number(first.as_bytes()) && fields.get_all(CONTENT_LENGTH).iter().nth(1).is_none())
    {
        // hyper has taken care of a body's; that of a response without one (to HEAD, or a 304) is only said.
        match agreed(fields) {
            Some(length) => fields.insert(CONTENT_LENGTH, length),
            None => fields.remove(CONTENT_LENGTH),
        };
    }
    Ok(())
}

/// `chunked` alone is undone. What nobody knows goes to the end of its connection (RFC 9112 §6.3), as it is.
fn coding(fields: &HeaderMap) -> Result<(), &'static str> {
    let mut members = fields.get_all(TRANSFER_ENCODING).iter();
    let (Some(only), None) = (members.next(), members.next()) else {
        return Err("several transfer codings");
    };
    let text = only.to_str().map_err(|_| "a transfer coding that is not text")?.trim();
    if text.eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    if ["chunked", "gzip", "deflate", "compress"].iter().any(|known| lower.contains(known)) {
        return Err("a transfer coding that would be left in the content");
    }
    if fields.contains_key(CONTENT_LENGTH) {
        return Err("a length beside a transfer coding that nobody knows");
    }
    Ok(())
}

/// The number on which all lines and members agree.
fn agreed(fields: &HeaderMap) -> Option<HeaderValue> {
    let lines = fields.get_all(CONTENT_LENGTH).iter();
    let mut members =
        lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let first = members.next().filter(|first| is_number(first))?;
    members.all(|other| other == first).then(|| HeaderValue::from_bytes(first).ok())?
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit)
}
