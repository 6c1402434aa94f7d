//! Fields that belong to one connection (RFC 9110 §7.6.1), and those that are never stored (RFC 9111 §3.1).

use http::{HeaderMap, HeaderName};

use crate::{fields::members_of, names::CONNECTION};

/// Of one hop, whether `Connection` lists them or not.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// Of the proxy that a response came through, and not for whoever it is served to later (RFC 9111 §3.1).
const OF_THE_PROXY: [HeaderName; 3] = [
    http::header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    http::header::PROXY_AUTHORIZATION,
];

/// Removes the fields that stop at this hop, in either direction: the known ones, and those that `Connection` lists.
///
/// A connection option can't name a field that the message needs to mean the same behind this hop
/// (RFC 9110 §7.6.1: options are not end-to-end fields): `Host`, `Content-Length` and the fields of caching stay.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = members_of(fields, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in listed {
            fields.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
}

/// The same, and the credentials for a proxy: of a request before it is forwarded.
pub fn strip_unforwardable(fields: &mut HeaderMap) {
    strip_hop_by_hop(fields);
    strip_proxy_fields(fields);
}

/// Removes what was between this cache and the proxy it got the response from.
pub(crate) fn strip_proxy_fields(fields: &mut HeaderMap) {
    for name in OF_THE_PROXY {
        fields.remove(name);
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    use crate::names;
    [
        http::header::HOST,
        names::CONTENT_LENGTH,
        names::CACHE_CONTROL,
        names::AUTHORIZATION,
        names::VARY,
        names::AGE,
        names::DATE,
        names::EXPIRES,
        names::ETAG,
        names::SET_COOKIE,
    ]
    .contains(name)
}
