//! Decodes bodies to text, in the charset that browsers would choose.

use bytes::Bytes;
use http::HeaderValue;

/// Returns a body as text: in the charset of its byte order mark, else in that of its
/// `Content-Type`, else as UTF-8 (<https://encoding.spec.whatwg.org/#decode>).
///
/// A byte order mark is removed, and an unknown charset ignored. Invalid sequences become U+FFFD.
/// Without the feature `charset`, every body is decoded as UTF-8.
pub(crate) fn decode(content_type: Option<&HeaderValue>, bytes: Bytes) -> String {
    #[cfg(feature = "charset")]
    {
        let of_bom = encoding_rs::Encoding::for_bom(&bytes).map(|(encoding, _)| encoding);
        let encoding =
            of_bom.or_else(|| encoding_rs::Encoding::for_label(charset(content_type?.as_bytes())?));
        if let Some(encoding) = encoding.filter(|encoding| *encoding != encoding_rs::UTF_8) {
            return encoding.decode_with_bom_removal(&bytes).0.into_owned();
        }
    }
    let _ = content_type;
    let has_bom = bytes.starts_with(b"\xEF\xBB\xBF");
    let bytes = if has_bom { bytes.slice(3..) } else { bytes };
    match String::from_utf8(Vec::from(bytes)) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Returns the first `charset` parameter of a `Content-Type` (RFC 9110 §8.3.2).
#[cfg(feature = "charset")]
fn charset(content_type: &[u8]) -> Option<&[u8]> {
    larder_core::policy::parameters(content_type).skip(1).find_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.eq_ignore_ascii_case(b"charset").then(|| unquoted.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_by_charset() {
        for (content_type, bytes, expected) in [
            (&b"text/html"[..], &b"caf\xC3\xA9"[..], "café"),
            (b"text/html; charset=utf-8", b"\xEF\xBB\xBFcaf\xC3\xA9", "café"),
            (b"text/html; charset=unknown", b"caf\xC3\xA9", "café"),
            (b"text/html", b"caf\xE9", "caf\u{FFFD}"),
            (b"", b"", ""),
            #[cfg(feature = "charset")]
            (b"text/html; q=1; Charset=\"ISO-8859-1\"", b"caf\xE9", "café"),
            // A server's other parameters may have any bytes and quotes.
            #[cfg(feature = "charset")]
            (b"text/html; title=\"\xE9; charset=utf-8\"; charset = windows-1252", b"\x80", "€"),
            #[cfg(feature = "charset")]
            (b"text/html; charset=shift_jis; charset=utf-8", b"\x82\xA0", "あ"),
            // The mark is more certain than what the server states.
            #[cfg(feature = "charset")]
            (b"text/html; charset=iso-8859-1", b"\xEF\xBB\xBFcaf\xC3\xA9", "café"),
            #[cfg(feature = "charset")]
            (b"text/html; charset=utf-8", b"\xFF\xFEa\0\xE9\0", "aé"),
            #[cfg(feature = "charset")]
            (b"application/json", b"\xFE\xFF\0a", "a"),
            #[cfg(feature = "charset")]
            (b"text/plain; charset=utf-16", b"a\0", "a"),
        ] {
            let content_type = HeaderValue::from_bytes(content_type).expect("a value");
            assert_eq!(decode(Some(&content_type), Bytes::from_static(bytes)), expected, "{content_type:?}");
        }
    }
}
