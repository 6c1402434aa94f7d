//! Reads what the fields of content negotiation have in common (RFC 9110 §12), and states which
//! request fields may be replaced by a normal form. `vary` matches them, `larder_core::adapter`
//! replaces them.

use http::HeaderName;

use crate::{
    header_names::{
        AUTHORIZATION, CACHE_CONTROL, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, PRAGMA, RANGE,
    },
    hop_by_hop::concerns_one_hop,
};

/// Parses a weight such as `q=0.5` into thousandths (RFC 9110 §12.4.2).
///
/// An invalid weight counts as 0. Returns `None` for a parameter that is not a weight.
///
/// ```
/// use larder_policy::quality;
///
/// assert_eq!(quality(b"q=0.5"), Some(500));
/// assert_eq!(quality(b"q=2"), Some(0));
/// assert_eq!(quality(b"level=1"), None);
/// ```
pub fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at(parameter.iter().position(|byte| *byte == b'=')?);
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let value = value[1..].trim_ascii();
    let (whole, fraction) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return Some(0),
    };
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return Some(0);
        }
        thousandths += u16::from(digit - b'0') * unit;
    }
    Some(thousandths.min(1000))
}

/// Returns whether a request field only selects among the responses of a resource, as far as its
/// name shows, so that a server may replace its value by one of a few.
///
/// Not of this kind are the fields of caching, conditions and ranges, credentials and cookies, the
/// target, the content and its framing, and those that concern one connection.
///
/// ```
/// use http::{HeaderName, header::COOKIE};
/// use larder_policy::is_normalizable;
///
/// assert!(is_normalizable(&HeaderName::from_static("x-device")));
/// assert!(!is_normalizable(&COOKIE));
/// ```
pub fn is_normalizable(name: &HeaderName) -> bool {
    let text = name.as_str();
    let is_reserved = concerns_one_hop(text) || text.starts_with("content-");
    let reserved = [
        AUTHORIZATION,
        CACHE_CONTROL,
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
        PRAGMA,
        RANGE,
        http::header::COOKIE,
        http::header::EXPECT,
        http::header::HOST,
        http::header::VIA,
    ];
    !is_reserved && !reserved.contains(name)
}
