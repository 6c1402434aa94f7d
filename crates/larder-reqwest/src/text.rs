//! Bodies as text.

use bytes::Bytes;
use http::HeaderValue;

/// In the charset of a `ReplayableBody-Type` (RFC 9110 §8.3.2); in UTF-8, if it names none that is known.
pub(crate) fn decode(kind: Option<&HeaderValue>, bytes: Bytes) -> String {
    #[cfg(feature = "charset")]
    {
        let named = kind.and_then(|kind| kind.to_str().ok()).and_then(charset);
        let encoding = named.and_then(|name| encoding_rs::Encoding::for_label(name.as_bytes()));
        if let Some(encoding) = encoding.filter(|encoding| *encoding != encoding_rs::UTF_8) {
            return encoding.decode(&bytes).0.into_owned();
        }
    }
    let _ = kind;
    let marked = bytes.starts_with(b"\xEF\xBB\xBF");
    let bytes = if marked { bytes.slice(3..) } else { bytes };
    match String::from_utf8(Vec::from(bytes)) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

#[cfg(feature = "charset")]
fn charset(kind: &str) -> Option<&str> {
    kind.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets() {
        for (kind, bytes, expected) in [
            ("text/html", &b"caf\xC3\xA9"[..], "café"),
            ("text/html; charset=utf-8", b"\xEF\xBB\xBFcaf\xC3\xA9", "café"),
            #[cfg(feature = "charset")]
            ("text/html; q=1; Charset=\"ISO-8859-1\"", b"caf\xE9", "café"),
            ("text/html; charset=of-our-own", b"caf\xC3\xA9", "café"),
            ("text/html", b"caf\xE9", "caf\u{FFFD}"),
        ] {
            let kind = HeaderValue::from_static(kind);
            assert_eq!(decode(Some(&kind), Bytes::from_static(bytes)), expected, "{kind:?}");
        }
    }
}
