//! What the origin is told about the client, and what a client can't tell it (RFC 9110 §7.6.3, RFC 7239).
//!
//! A field that steers the origin and is not in the key is a way to put another's page under a URL. Those that are known
//! to do that are dropped, and those that a proxy writes are written here, whatever the client has sent.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::VIA};

use super::ProxyOptions;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that frameworks take for the real target, method, host or address. Not forwarded.
const STEERING: [HeaderName; 17] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-path"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-real-ip"),
];

/// Makes the fields of a client's request those of the proxy's.
pub(super) fn rewrite(fields: &mut HeaderMap, options: &ProxyOptions, peer: Option<IpAddr>, target: &Uri) {
    let mut before = None;
    if options.trust_forwarded {
        before = joined(fields, &FOR);
    } else {
        for name in STEERING {
            fields.remove(name);
        }
        fields.remove(PROTO);
        fields.remove(HOST);
    }
    if let Some(peer) = peer {
        let chain = before.map_or_else(|| peer.to_string(), |before| format!("{before}, {peer}"));
        set(fields, FOR, &chain);
    } else if !options.trust_forwarded {
        fields.remove(FOR);
    }
    if !fields.contains_key(PROTO) {
        set(fields, PROTO, target.scheme_str().unwrap_or("http"));
    }
    if !fields.contains_key(HOST) {
        set(fields, HOST, target.authority().map_or("", |authority| authority.as_str()));
    }
    fields.append(VIA, HeaderValue::from_static("1.1 larder"));
}

fn joined(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = fields.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}
