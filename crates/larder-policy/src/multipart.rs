//! Formats the body of a 206 with several ranges, `multipart/byteranges` (RFC 9110 §14.6,
//! §15.3.7.2). `serving` selects the ranges.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use crate::{ByteRange, header_names::CONTENT_RANGE};

/// The framing of a `multipart/byteranges` body: what stands before each range and after the last.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder_policy::{ByteRange, Multipart};
///
/// let mut fields = HeaderMap::new();
/// fields.insert("content-type", HeaderValue::from_static("text/plain"));
/// let multipart = Multipart::new("5f2a", &mut fields);
/// assert_eq!(fields["content-type"], "multipart/byteranges; boundary=5f2a");
/// let range = ByteRange::new(0, 4, Some(10)).expect("a range");
/// assert_eq!(
///     multipart.before(&range),
///     b"\r\n--5f2a\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-4/10\r\n\r\n",
/// );
/// assert_eq!(multipart.end(), "\r\n--5f2a--\r\n");
/// ```
#[derive(Debug, Clone)]
pub struct Multipart {
    boundary: String,
    /// The type of the representation, which each part repeats.
    content_type: Option<HeaderValue>,
}

impl Multipart {
    /// Creates the framing, and replaces the `Content-Type` of the response.
    ///
    /// `boundary` must not occur in the representation, so choose it at random. It has letters and
    /// digits only.
    pub fn new(boundary: &str, fields: &mut HeaderMap) -> Self {
        let content_type = fields.remove(CONTENT_TYPE);
        fields.remove(CONTENT_RANGE);
        if let Ok(value) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")) {
            fields.insert(CONTENT_TYPE, value);
        }
        Self { boundary: boundary.to_owned(), content_type }
    }

    /// Returns what stands before the bytes of `range`.
    pub fn before(&self, range: &ByteRange) -> Vec<u8> {
        let mut text = format!("\r\n--{}\r\n", self.boundary).into_bytes();
        if let Some(content_type) = &self.content_type {
            text.extend_from_slice(b"content-type: ");
            text.extend_from_slice(content_type.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(format!("content-range: {}\r\n\r\n", range.content_range()).as_bytes());
        text
    }

    /// Returns what stands after the last range.
    pub fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}
