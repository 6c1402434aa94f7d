//! Defines which content codings are decoded, and changes the head of a decoded response.
//!
//! The decoders are in [`crate::decoder`].

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, RANGE},
};
use larder_core::{
    Body,
    policy::{header_names::CONTENT_RANGE, list_members},
};

use crate::{
    decoder::{self, Format},
    response::DIGESTS,
    tags,
};

/// Most codings of one response that are decoded, one after the other.
const MAX_CODINGS: usize = 4;

/// The content codings that a client decodes. Default: all of them.
///
/// A response is decoded if it has one or more codings (`gzip, br`) and all of them are among
/// these. It is then like a response without a coding:
///
/// * `Content-Encoding`, `Content-Length` and digests of the coded content are removed.
/// * A strong entity tag becomes a weak one: the decoded bytes are not those that it stands for.
///   [`DecodingOrigin`](crate::DecodingOrigin) translates it back in conditions.
///
/// A partial response (206) remains as it is, as does a response with an unknown coding. A body
/// that is not in its codings, ends early, or goes on after the end of the coded data ends with an
/// error. Decoding a body of any length needs up to 16 MiB of memory for each coding with Brotli, 8
/// MiB with Zstandard and 100 KiB with the others.
///
/// ```
/// use larder_compress::Decoding;
/// use larder_core::Body;
///
/// let decoding = Decoding::default().with_zstd(false);
/// let response = http::Response::builder()
///     .header("content-encoding", "GZIP")
///     .header("etag", "\"abc\"")
///     .body(Body::empty())
///     .expect("a response");
/// let decoded = decoding.decode(response);
/// assert!(!decoded.headers().contains_key("content-encoding"));
/// assert_eq!(decoded.headers()["etag"], "W/\"abc\"");
/// ```
///
/// RFC 9110 §8.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoding {
    /// Whether `gzip` is decoded, also as `x-gzip`: any number of members. Default: `true`.
    pub gzip: bool,
    /// Whether `deflate` is decoded: zlib, or raw deflate, which some servers send. Default:
    /// `true`.
    pub deflate: bool,
    /// Whether `br` is decoded. Default: `true`.
    pub brotli: bool,
    /// Whether `zstd` is decoded: any number of frames, with windows of up to 8 MiB (RFC 9659).
    /// Default: `true`.
    pub zstd: bool,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { gzip: true, deflate: true, brotli: true, zstd: true }
    }
}

impl Decoding {
    /// Creates settings that decode nothing.
    pub const fn none() -> Self {
        Self { gzip: false, deflate: false, brotli: false, zstd: false }
    }

    /// Sets whether `gzip` is decoded ([`gzip`](Self::gzip)).
    #[must_use]
    pub fn with_gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// Sets whether `deflate` is decoded ([`deflate`](Self::deflate)).
    #[must_use]
    pub fn with_deflate(mut self, deflate: bool) -> Self {
        self.deflate = deflate;
        self
    }

    /// Sets whether `br` is decoded ([`brotli`](Self::brotli)).
    #[must_use]
    pub fn with_brotli(mut self, brotli: bool) -> Self {
        self.brotli = brotli;
        self
    }

    /// Sets whether `zstd` is decoded ([`zstd`](Self::zstd)).
    #[must_use]
    pub fn with_zstd(mut self, zstd: bool) -> Self {
        self.zstd = zstd;
        self
    }

    /// Adds `Accept-Encoding` with the codings to a request that has none.
    ///
    /// A request with `Range` gets `identity`: a part of a coded representation could not be
    /// decoded.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use larder_compress::Decoding;
    ///
    /// let mut request = HeaderMap::new();
    /// Decoding::default().with_deflate(false).set_accept_encoding(&mut request);
    /// assert_eq!(request["accept-encoding"], "gzip, br, zstd");
    /// ```
    pub fn set_accept_encoding(&self, request: &mut HeaderMap) {
        if *self == Self::none() || request.contains_key(ACCEPT_ENCODING) {
            return;
        }
        let value = if request.contains_key(RANGE) { "identity" } else { self.accepted() };
        request.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
    }

    /// Returns the value of `Accept-Encoding`.
    fn accepted(&self) -> &'static str {
        match (self.gzip, self.brotli, self.zstd, self.deflate) {
            (true, true, true, true) => "gzip, br, zstd, deflate",
            (true, true, true, false) => "gzip, br, zstd",
            (true, true, false, true) => "gzip, br, deflate",
            (true, true, false, false) => "gzip, br",
            (true, false, true, true) => "gzip, zstd, deflate",
            (true, false, true, false) => "gzip, zstd",
            (true, false, false, true) => "gzip, deflate",
            (true, false, false, false) => "gzip",
            (false, true, true, true) => "br, zstd, deflate",
            (false, true, true, false) => "br, zstd",
            (false, true, false, true) => "br, deflate",
            (false, true, false, false) => "br",
            (false, false, true, true) => "zstd, deflate",
            (false, false, true, false) => "zstd",
            (false, false, false, true) => "deflate",
            (false, false, false, false) => "identity",
        }
    }

    /// Returns the response decoded, or unchanged if it has no coding, or one that is not decoded.
    ///
    /// The body is decoded while it is read. A response to HEAD, and a 304, get the head that the
    /// response to GET would have.
    pub fn decode(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let body = self.decode_parts(parts.status, &mut parts.headers, body);
        Response::from_parts(parts, body)
    }

    /// Decodes a response of which the head is in parts: returns the body, and changes the header
    /// fields, as [`decode`](Self::decode) does.
    #[must_use]
    pub fn decode_parts(&self, status: StatusCode, headers: &mut HeaderMap, body: Body) -> Body {
        let Some(formats) = self.formats(status, headers) else { return body };
        for name in DIGESTS.iter().chain(&[CONTENT_ENCODING, CONTENT_LENGTH]) {
            headers.remove(name);
        }
        if status == StatusCode::NOT_MODIFIED {
            return body;
        }
        tags::weaken(headers);
        decoder::decode(body, &formats, ())
    }

    /// Returns whether a response with this status and these header fields is decoded.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, StatusCode};
    /// use larder_compress::Decoding;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("content-encoding", HeaderValue::from_static("gzip, x-unknown"));
    /// assert!(!Decoding::default().is_decoded(StatusCode::OK, &headers));
    /// ```
    pub fn is_decoded(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.formats(status, headers).is_some()
    }

    /// Returns the formats of a response that is to be decoded, in the order in which they were
    /// applied.
    fn formats(&self, status: StatusCode, headers: &HeaderMap) -> Option<Vec<Format>> {
        if !headers.contains_key(CONTENT_ENCODING)
            || status == StatusCode::PARTIAL_CONTENT
            || headers.contains_key(CONTENT_RANGE)
        {
            return None;
        }
        let mut formats = Vec::new();
        for name in list_members(headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes)) {
            if !name.eq_ignore_ascii_case(b"identity") {
                formats.push(self.format(name)?);
            }
        }
        if formats.len() > MAX_CODINGS {
            tracing::warn!(
                codings = formats.len(),
                max = MAX_CODINGS,
                "too many content codings: not decoded"
            );
            return None;
        }
        Some(formats)
    }

    /// Returns the format with this name, if it is to be decoded.
    fn format(&self, name: &[u8]) -> Option<Format> {
        let formats: [(&[u8], bool, Format); 5] = [
            (b"gzip", self.gzip, Format::Gzip),
            (b"x-gzip", self.gzip, Format::Gzip),
            (b"deflate", self.deflate, Format::Deflate),
            (b"br", self.brotli, Format::Brotli),
            (b"zstd", self.zstd, Format::Zstd),
        ];
        let named = formats.into_iter().find(|(known, _, _)| known.eq_ignore_ascii_case(name));
        named.and_then(|(_, enabled, format)| enabled.then_some(format))
    }
}
