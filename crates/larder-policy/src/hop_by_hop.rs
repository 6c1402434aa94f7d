//! Removes header fields that concern one connection only (RFC 9110 §7.6.1), and identifies those
//! that are never stored (RFC 9111 §3.1). `storing` decides which others are not stored.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

use crate::{Rules, header_names::CONNECTION, list::members_of};

/// Fields that concern one connection only, even if `Connection` does not list them, the framing of
/// one message (`Trailer`), and last those that concern the proxy that a response came through, and
/// not the clients that a cache serves it to later (RFC 9111 §3.1). [`Known`] has a bit for each.
static KNOWN: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    TRAILER,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
];

/// A set of the fields in [`KNOWN`], a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known(u16);

impl Known {
    /// The hop-by-hop fields that are never forwarded. `Trailer` is: it announces the trailers,
    /// which are forwarded, to every recipient (RFC 9110 §6.6.2).
    const UNFORWARDABLE: Self = Self(0b11_1111);
    const TE: Self = Self(1 << 3);
    const OF_PROXY: Self = Self(0b111 << 7);

    /// Returns the set of this field, or the empty set. The length is compared first, so that most
    /// names need no string comparison.
    fn of(name: &str) -> Self {
        let bit = match (name.len(), name) {
            (10, "connection") => 0,
            (10, "keep-alive") => 1,
            (16, "proxy-connection") => 2,
            (2, "te") => 3,
            (17, "transfer-encoding") => 4,
            (7, "upgrade") => 5,
            (7, "trailer") => 6,
            (18, "proxy-authenticate") => 7,
            (25, "proxy-authentication-info") => 8,
            (19, "proxy-authorization") => 9,
            _ => return Self(0),
        };
        Self(1 << bit)
    }

    /// Returns those of `removed` that a message has. One pass over the present names costs less
    /// than looking up each possible one.
    fn present(fields: &HeaderMap, removed: Self) -> Self {
        let present = fields.keys().fold(0, |present, name| present | Self::of(name.as_str()).0);
        Self(present & removed.0)
    }

    /// Returns whether the set is empty.
    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether a field is in both sets.
    const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the union of both sets.
    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Removes the fields of this set from a message.
    fn remove_from(self, fields: &mut HeaderMap) {
        let mut rest = self.0;
        while let Some(name) = KNOWN.get(rest.trailing_zeros() as usize) {
            fields.remove(name);
            rest &= rest - 1;
        }
    }
}

/// Returns whether a field concerns one connection, one message or one proxy, even if `Connection`
/// does not list it.
pub(crate) fn concerns_one_hop(name: &str) -> bool {
    !Known::of(name).is_empty()
}

/// Removes the fields that must not be forwarded, from a request or a response: the known
/// hop-by-hop fields and those that `Connection` lists.
///
/// `Connection` cannot list fields that are meant for all recipients (RFC 9110 §7.6.1). If it lists
/// such a field, for example `Host`, `Content-Length` or a caching field, the field stays.
///
/// [`Rules::strip_hop_by_hop`] also keeps the targeted fields of a cache's rules. Use it for
/// responses that a cache may store: what forbids storing is then read from all fields.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    strip(fields, &[], Known::present(fields, Known::UNFORWARDABLE));
}

impl Rules {
    /// Removes the hop-by-hop fields of a response, and those that its `Connection` lists, except
    /// fields that are meant for all recipients (RFC 9110 §7.6.1). The targeted fields that these
    /// rules read are among them ([`Rules::targets`]; RFC 9213 §2.2).
    ///
    /// ```
    /// use http::{HeaderMap, HeaderName, HeaderValue};
    /// use larder_policy::Rules;
    ///
    /// let mut fields = HeaderMap::new();
    /// fields.insert("connection", HeaderValue::from_static("my-cache-control, x-hop"));
    /// fields.insert("my-cache-control", HeaderValue::from_static("no-store"));
    /// fields.insert("x-hop", HeaderValue::from_static("1"));
    /// let rules = Rules::shared().with_targets([HeaderName::from_static("my-cache-control")]);
    /// rules.strip_hop_by_hop(&mut fields);
    /// assert_eq!(fields.len(), 1);
    /// ```
    pub fn strip_hop_by_hop(&self, fields: &mut HeaderMap) {
        strip(fields, &self.targets, Known::present(fields, Known::UNFORWARDABLE));
    }
}

/// Removes the hop-by-hop fields and the proxy credentials of a request before it is forwarded.
///
/// Of `TE`, `trailers` stays: trailers are forwarded, and gRPC servers refuse requests without it.
pub fn strip_unforwardable(fields: &mut HeaderMap) {
    let present = Known::present(fields, Known::UNFORWARDABLE.and(Known::OF_PROXY));
    let accepts_trailers = present.has_any(Known::TE) && accepts_trailers(fields);
    strip(fields, &[], present);
    if accepts_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Returns whether the sender of a request accepts trailers: `TE` lists `trailers` (RFC 9110
/// §10.1.4).
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder_policy::accepts_trailers;
///
/// let mut fields = HeaderMap::new();
/// assert!(!accepts_trailers(&fields));
/// fields.insert("te", HeaderValue::from_static("gzip;q=0.5, Trailers"));
/// assert!(accepts_trailers(&fields));
/// ```
pub fn accepts_trailers(fields: &HeaderMap) -> bool {
    fields.contains_key(TE) && members_of(fields, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Removes the `present` fields, and those that `Connection` lists, except `kept` and other
/// end-to-end fields.
fn strip(fields: &mut HeaderMap, kept: &[HeaderName], present: Known) {
    if present.is_empty() {
        // Then there is no `Connection` either.
        return;
    }
    for name in connection_options(fields, kept) {
        fields.remove(name);
    }
    present.remove_from(fields);
}

/// The fields of a response that are never stored, whatever its directives are (RFC 9111 §3.1).
#[derive(Debug)]
pub(crate) struct Unstorable {
    /// Whether the response has one of [`KNOWN`].
    has_known: bool,
    /// The fields that `Connection` lists.
    listed: Vec<HeaderName>,
}

impl Unstorable {
    /// Creates the set for a response with these fields. Those in `kept` are stored even if
    /// `Connection` lists them.
    pub(crate) fn of(fields: &HeaderMap, kept: &[HeaderName]) -> Self {
        // `Connection` is one of the known fields.
        let has_known = fields.keys().any(|name| concerns_one_hop(name.as_str()));
        Self { has_known, listed: if has_known { connection_options(fields, kept) } else { Vec::new() } }
    }

    /// Returns whether a field must not be stored.
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.has_known && (concerns_one_hop(name.as_str()) || self.listed.contains(name))
    }
}

/// Returns the fields that `Connection` lists, except `kept` and other end-to-end fields.
fn connection_options(fields: &HeaderMap, kept: &[HeaderName]) -> Vec<HeaderName> {
    // Most `Connection` fields contain one of these two options, which need no action.
    let needs_no_action =
        |name: &[u8]| name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close");
    if fields.get_all(CONNECTION).iter().all(|line| needs_no_action(line.as_bytes())) {
        return Vec::new();
    }
    members_of(fields, &CONNECTION)
        .filter(|name| !needs_no_action(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !is_end_to_end(name) && !kept.contains(name))
        .collect()
}

/// Returns whether a field is meant for all recipients, so that `Connection` cannot remove it.
fn is_end_to_end(name: &HeaderName) -> bool {
    use crate::header_names;
    [
        http::header::HOST,
        http::header::CONTENT_ENCODING,
        http::header::CONTENT_TYPE,
        header_names::AGE,
        header_names::AUTHORIZATION,
        header_names::CACHE_CONTROL,
        header_names::CACHE_GROUPS,
        header_names::CACHE_GROUP_INVALIDATION,
        header_names::CDN_CACHE_CONTROL,
        header_names::CONTENT_LENGTH,
        header_names::CONTENT_LOCATION,
        header_names::CONTENT_RANGE,
        header_names::DATE,
        header_names::ETAG,
        header_names::EXPIRES,
        header_names::LAST_MODIFIED,
        header_names::LOCATION,
        header_names::SET_COOKIE,
        header_names::VARY,
    ]
    .contains(name)
}
