//! Decodes bodies to text.

use bytes::Bytes;
use http::HeaderValue;

/// Returns a body as text, in the charset of its `Content-Type` (RFC 9110 §8.3.2).
///
/// Without a known charset it is decoded as UTF-8; a byte order mark is removed. Invalid sequences
/// become U+FFFD.
pub(crate) fn decode(content_type: Option<&HeaderValue>, bytes: Bytes) -> String {
    #[cfg(feature = "charset")]
    {
        let label = content_type.and_then(|value| value.to_str().ok()).and_then(charset);
        let encoding = label.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
        if let Some(encoding) = encoding.filter(|encoding| *encoding != encoding_rs::UTF_8) {
            return encoding.decode(&bytes).0.into_owned();
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

/// Returns the `charset` parameter of a `Content-Type`.
#[cfg(feature = "charset")]
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_by_charset() {
        for (content_type, bytes, expected) in [
            ("text/html", &b"caf\xC3\xA9"[..], "café"),
            ("text/html; charset=utf-8", b"\xEF\xBB\xBFcaf\xC3\xA9", "café"),
            #[cfg(feature = "charset")]
            ("text/html; q=1; Charset=\"ISO-8859-1\"", b"caf\xE9", "café"),
            ("text/html; charset=unknown", b"caf\xC3\xA9", "café"),
            ("text/html", b"caf\xE9", "caf\u{FFFD}"),
        ] {
            let content_type = HeaderValue::from_static(content_type);
            assert_eq!(decode(Some(&content_type), Bytes::from_static(bytes)), expected, "{content_type:?}");
        }
    }
}
