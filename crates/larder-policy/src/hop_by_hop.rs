//! Removes header fields that concern one connection only (RFC 9110 §7.6.1), and identifies those
//! that are never stored (RFC 9111 §3.1). `storing` decides which others are not stored.

use http::{HeaderMap, HeaderName, HeaderValue, header::TE};

use crate::{Rules, header_names::CONNECTION, list::members_of};

/// Returns whether a field concerns one connection only, even if `Connection` does not list it, or
/// the framing of one message (`Trailer`).
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

/// Returns whether a field concerns the proxy that the response came through, and not the clients
/// that a cache serves it to later (RFC 9111 §3.1).
pub(crate) fn is_proxy_field(name: &str) -> bool {
    matches!(name, "proxy-authenticate" | "proxy-authentication-info" | "proxy-authorization")
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
    strip(fields, &[], is_unforwardable);
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
        strip(fields, &self.targets, is_unforwardable);
    }
}

/// Removes the hop-by-hop fields and the proxy credentials of a request before it is forwarded.
///
/// Of `TE`, `trailers` stays: trailers are forwarded, and gRPC servers refuse requests without it.
pub fn strip_unforwardable(fields: &mut HeaderMap) {
    let accepts_trailers = accepts_trailers(fields);
    strip(fields, &[], |name| is_unforwardable(name) || is_proxy_field(name));
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

/// Returns whether a field is never forwarded. `Trailer` is: it announces the trailers, which are
/// forwarded, to every recipient (RFC 9110 §6.6.2).
fn is_unforwardable(name: &str) -> bool {
    is_hop_by_hop(name) && name != "trailer"
}

/// Removes the fields that `Connection` lists, except `kept` and other end-to-end fields, and those
/// for which `is_removed` returns true. Iterating over the present names costs less than looking up
/// each possible one.
fn strip(fields: &mut HeaderMap, kept: &[HeaderName], is_removed: impl Fn(&str) -> bool) {
    for name in connection_options(fields, kept) {
        fields.remove(name);
    }
    while let Some(name) = fields.keys().find(|name| is_removed(name.as_str())).cloned() {
        fields.remove(name);
    }
}

/// The fields of a response that are never stored, whatever its directives are (RFC 9111 §3.1).
#[derive(Debug)]
pub(crate) struct Unstorable(Vec<HeaderName>);

impl Unstorable {
    /// Creates the set for a response with these fields. Those in `kept` are stored even if
    /// `Connection` lists them.
    pub(crate) fn of(fields: &HeaderMap, kept: &[HeaderName]) -> Self {
        Self(connection_options(fields, kept))
    }

    /// Returns whether a field must not be stored.
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        is_hop_by_hop(name.as_str()) || is_proxy_field(name.as_str()) || self.0.contains(name)
    }
}

/// Returns the fields that `Connection` lists, except `kept` and other end-to-end fields.
fn connection_options(fields: &HeaderMap, kept: &[HeaderName]) -> Vec<HeaderName> {
    if !fields.contains_key(CONNECTION) {
        return Vec::new();
    }
    // Most `Connection` fields contain only these two options, which need no action.
    let needs_no_action =
        |name: &&[u8]| name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close");
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
