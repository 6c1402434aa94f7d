//! Writes and reads percent-encodings (RFC 3986 §2.1). Which normal form a target has is decided in
//! [`crate::target`].

use std::borrow::Cow;

/// Returns a path with the bytes percent-encoded for which `is_encoded` returns true. The result is
/// up to three times as long.
///
/// All bytes outside of ASCII must be among them.
pub(crate) fn encode(path: &str, is_encoded: impl Fn(u8) -> bool) -> String {
    let mut normal = String::with_capacity(path.len() + 32);
    for byte in path.bytes() {
        if !is_encoded(byte) {
            normal.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
            normal.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    normal
}

/// Decodes the percent-encodings of letters, digits and `-._~`. Text with a `%` that begins no
/// encoding is returned unchanged: what is decoded could complete it.
pub(crate) fn decode_unreserved(text: &str) -> Cow<'_, str> {
    if !has_unreserved_encoding(text) {
        return text.into();
    }
    let mut parts = text.split('%');
    let mut decoded = String::with_capacity(text.len());
    decoded.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match encoded_byte(part.as_bytes()).filter(|byte| is_unreserved(*byte)) {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded.into()
}

/// Returns whether a percent-encoding is one of a letter, a digit or one of `-._~`. Returns false
/// if any `%` begins no encoding.
pub(crate) fn has_unreserved_encoding(text: &str) -> bool {
    let mut found = false;
    for part in text.split('%').skip(1) {
        let Some(byte) = encoded_byte(part.as_bytes()) else { return false };
        found |= is_unreserved(byte);
    }
    found
}

/// Returns the byte that two hexadecimal digits at the beginning of `digits` encode.
fn encoded_byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Returns whether a character needs no encoding in any part of a URI (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Returns whether a percent-encoding has lower-case digits.
pub(crate) fn has_lower_case_encoding(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest[at + 1..].iter().take(2);
        if digits.clone().all(u8::is_ascii_hexdigit) && digits.clone().any(u8::is_ascii_lowercase) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Converts all percent-encodings to upper case.
pub(crate) fn upper_case_encodings(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, encoded) = rest.split_at(at);
        normal.push_str(before);
        let taken = encoded.get(..3).filter(|three| three[1..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        let taken = taken.map_or(1, str::len);
        normal.push_str(&encoded[..taken].to_ascii_uppercase());
        rest = &encoded[taken..];
    }
    normal.push_str(rest);
    normal
}
