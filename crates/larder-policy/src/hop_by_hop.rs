//! Fields that belong to one connection (RFC 9110 §7.6.1), and those that are never stored (RFC 9111 §3.1).

use http::{HeaderMap, HeaderName};

use crate::{header_names::CONNECTION, request::members_of};

/// Of one hop, whether `Connection` lists them or not.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

/// Of the proxy that a response came through, and not for whoever it is served to later (RFC 9111 §3.1).
fn is_of_the_proxy(name: &str) -> bool {
    matches!(name, "proxy-authenticate" | "proxy-authentication-info" | "proxy-authorization")
}

/// Removes the fields that stop at this hop, in either direction: the known ones, and those that `Connection` lists.
///
/// A connection option can't name a field that the message needs to mean the same behind this hop
/// (RFC 9110 §7.6.1: options are not end-to-end fields): `Host`, `Content-Length` and the fields of caching stay.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    strip(fields, is_hop_by_hop);
}

/// The same, and the credentials for a proxy: of a request before it is forwarded.
pub fn strip_unforwardable(fields: &mut HeaderMap) {
    strip(fields, |name| is_hop_by_hop(name) || is_of_the_proxy(name));
}

/// One look at the names that are there costs less than looking for each that might be.
fn strip(fields: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    for name in listed(fields) {
        fields.remove(name);
    }
    while let Some(name) = fields.keys().find(|name| goes(name.as_str())).cloned() {
        fields.remove(name);
    }
}

/// What may not be stored of a response, beside what its directives say (RFC 9111 §3.1).
#[derive(Debug)]
pub(crate) struct Unstorable(Vec<HeaderName>);

impl Unstorable {
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        Self(listed(fields))
    }

    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        is_hop_by_hop(name.as_str()) || is_of_the_proxy(name.as_str()) || self.0.contains(name)
    }
}

/// The fields that `Connection` lists.
fn listed(fields: &HeaderMap) -> Vec<HeaderName> {
    if !fields.contains_key(CONNECTION) {
        return Vec::new();
    }
    // What most say of their connections lists nothing that is not known anyway.
    let is_known =
        |name: &&[u8]| name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close");
    members_of(fields, &CONNECTION)
        .filter(|name| !is_known(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !is_end_to_end(name))
        .collect()
}

fn is_end_to_end(name: &HeaderName) -> bool {
    use crate::header_names;
    [
        http::header::HOST,
        header_names::CONTENT_LENGTH,
        header_names::CACHE_CONTROL,
        header_names::AUTHORIZATION,
        header_names::VARY,
        header_names::AGE,
        header_names::DATE,
        header_names::EXPIRES,
        header_names::ETAG,
        header_names::SET_COOKIE,
    ]
    .contains(name)
}
