//! Content codings, and the choice of one for a request (RFC 9110 §12.5.3).
//!
//! Browsers send many different values of `Accept-Encoding` that lead to the same choice.
//! [`choose`] reduces the value to the chosen coding, and [`Negotiated`] presents the request to
//! the cache with that coding alone. So a page has at most one variant per coding. The codings to
//! choose from are settings in `compression`.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use larder_core::{
    RequestHeaders,
    policy::{list_members, quality},
};

use crate::decoder::Format;

/// A content coding.
///
/// ```
/// use http::HeaderMap;
/// use larder_compress::Coding;
///
/// let mut request = HeaderMap::new();
/// Coding::Brotli.set_accept_encoding(&mut request);
/// assert_eq!(request["accept-encoding"], "br");
/// ```
///
/// RFC 9110 §8.4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coding {
    /// No coding: the content as it is.
    Identity,
    /// Gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// Returns the name of the coding in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the coding with this name, in upper or lower case; `None` for an unknown name.
    fn from_name(name: &[u8]) -> Option<Self> {
        [
            (&b"identity"[..], Self::Identity),
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, coding)| coding)
    }

    /// Returns the coding of a response, from its `Content-Encoding`; `None` for several codings,
    /// or an unknown one.
    pub(crate) fn of(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(CONTENT_ENCODING).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Some(Self::Identity),
            (Some(line), None) => Self::from_name(line.as_bytes().trim_ascii()),
            _ => None,
        }
    }

    /// Returns the format of the encoded content.
    pub(crate) fn format(self) -> Option<Format> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(Format::Gzip),
            Self::Brotli => Some(Format::Brotli),
            Self::Zstd => Some(Format::Zstd),
        }
    }

    /// Sets `Accept-Encoding` of a request to this coding alone; removes it for
    /// [`Identity`](Self::Identity).
    pub fn set_accept_encoding(self, request: &mut HeaderMap) {
        request.remove(ACCEPT_ENCODING);
        if self != Self::Identity {
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(self.name()));
        }
    }
}

/// Returns the coding of `codings` with the highest weight in the request's `Accept-Encoding`, as
/// [`Compression::negotiate`](crate::Compression::negotiate) documents.
pub(crate) fn choose(codings: &[Coding], request: &impl RequestHeaders) -> Coding {
    let mut accepted = Accepted::default();
    list_members(request.lines("accept-encoding")).for_each(|member| accepted.add(member));
    let mut best = (Coding::Identity, 0);
    for coding in codings {
        let weight = accepted.weight(*coding);
        if weight > best.1 {
            best = (*coding, weight);
        }
    }
    // Without an explicit weight for `identity`, any accepted coding is preferred to it.
    if accepted.identity.is_some_and(|weight| weight > best.1) { Coding::Identity } else { best.0 }
}

/// Weights of the codings in a request's `Accept-Encoding`, in thousandths; 0 is "not acceptable".
#[derive(Debug, Default)]
struct Accepted {
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    /// Weight of `*`: applies to every coding that is not listed.
    any: u16,
}

impl Accepted {
    /// Adds one list member, such as `gzip;q=0.5`.
    fn add(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        if name == b"*" {
            self.any = weight;
        }
        match Coding::from_name(name) {
            Some(Coding::Identity) => self.identity = Some(weight),
            Some(Coding::Gzip) => self.gzip = Some(weight),
            Some(Coding::Brotli) => self.brotli = Some(weight),
            Some(Coding::Zstd) => self.zstd = Some(weight),
            None => {}
        }
    }

    /// Returns the weight of a coding.
    fn weight(&self, coding: Coding) -> u16 {
        let explicit = match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        };
        explicit.unwrap_or(self.any)
    }
}

/// A view of a request's headers with `Accept-Encoding` reduced to one coding.
///
/// Pass it to [`Cache::lookup`](larder_core::Cache::lookup), which then selects the variant of a
/// page by the chosen coding instead of the list that the client sent.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder_compress::{Compression, Negotiated};
/// use larder_core::RequestHeaders;
///
/// let mut request = HeaderMap::new();
/// request.insert("accept-encoding", HeaderValue::from_static("gzip, deflate, br"));
/// let coding = Compression::default().negotiate(&request);
/// let negotiated = Negotiated::new(&request, coding);
/// assert!(negotiated.lines("accept-encoding").eq([b"br"]));
/// ```
#[derive(Debug)]
pub struct Negotiated<'a, F> {
    headers: &'a F,
    coding: Coding,
}

impl<'a, F: RequestHeaders> Negotiated<'a, F> {
    /// Creates a view of these headers in which this coding is the only accepted one.
    pub fn new(headers: &'a F, coding: Coding) -> Self {
        Self { headers, coding }
    }
}

impl<F: RequestHeaders> RequestHeaders for Negotiated<'_, F> {
    fn names(&self, each: impl FnMut(&str)) {
        self.headers.names(each);
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let replaced = name == "accept-encoding";
        let coding = (replaced && self.coding != Coding::Identity).then(|| self.coding.name().as_bytes());
        let original = (!replaced).then(|| self.headers.lines(name));
        coding.into_iter().chain(original.into_iter().flatten())
    }

    fn lines_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        let replaced = *name == ACCEPT_ENCODING;
        let coding = (replaced && self.coding != Coding::Identity).then(|| self.coding.name().as_bytes());
        let original = (!replaced).then(|| self.headers.lines_of(name));
        coding.into_iter().chain(original.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compression;

    fn negotiated(accepts: &str) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in accepts.split('\n') {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(line).expect("a value"));
        }
        Compression::default().negotiate(&headers).name()
    }

    /// RFC 9110 §12.5.3, and values that browsers and programs send.
    #[test]
    fn negotiation() {
        for (accepts, expected) in [
            ("gzip, deflate, br, zstd", "br"),
            ("gzip, deflate, br", "br"),
            ("gzip, deflate", "gzip"),
            ("gzip\nzstd", "zstd"),
            ("GZIP;Q=1.0", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("br;q=0, gzip;q=0.001", "gzip"),
            ("*", "br"),
            ("*;q=0.5, br;q=0", "zstd"),
            ("gzip;q=0.5, identity", "identity"),
            ("identity;q=0.5, gzip", "gzip"),
            ("gzip;q=0", "identity"),
            ("deflate, compress", "identity"),
            ("gzip;q=2", "identity"),
            ("gzip;q=0.1234", "identity"),
            ("gzip;level=3;q=0.2", "gzip"),
            ("", "identity"),
            (",,;q=1,", "identity"),
        ] {
            assert_eq!(negotiated(accepts), expected, "{accepts}");
        }
        assert_eq!(Compression::default().negotiate(&HeaderMap::new()), Coding::Identity);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_negotiate_to_a_stable_coding(line in proptest::collection::vec(0_u8.., 0..64)) {
            let mut headers = HeaderMap::new();
            headers.extend(HeaderValue::from_bytes(&line).ok().map(|line| (ACCEPT_ENCODING, line)));
            let coding = Compression::default().negotiate(&headers);
            let again = Negotiated::new(&headers, coding);
            proptest::prop_assert_eq!(Compression::default().negotiate(&again), coding);
        }
    }
}
