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

/// Fields that frameworks take for the real target, method, host or address.
fn is_steering(name: &str) -> bool {
    name == "forwarded"
        || name.starts_with("x-")
            && matches!(
                name,
                "x-forwarded"
                    | "x-forwarded-for"
                    | "x-forwarded-host"
                    | "x-forwarded-path"
                    | "x-forwarded-port"
                    | "x-forwarded-prefix"
                    | "x-forwarded-proto"
                    | "x-forwarded-scheme"
                    | "x-forwarded-server"
                    | "x-forwarded-ssl"
                    | "x-forwarded-uri"
                    | "x-host"
                    | "x-http-method"
                    | "x-http-method-override"
                    | "x-method-override"
                    | "x-original-host"
                    | "x-original-url"
                    | "x-real-ip"
                    | "x-rewrite-url"
            )
}

/// Which fields of a client's request go on.
pub(super) fn keeps(options: &ProxyOptions) -> impl Fn(&str) -> bool {
    let trusts = options.trust_forwarded;
    move |name| trusts || !is_steering(name)
}

/// Writes what a proxy writes into a client's request, of which it has [kept](keeps) what it may.
pub(super) fn write(fields: &mut HeaderMap, options: &ProxyOptions, peer: Option<IpAddr>, target: &Uri) {
    let before = if options.trust_forwarded { joined(fields, &FOR) } else { None };
    if let Some(peer) = peer {
        let chain = before.map_or_else(|| peer.to_string(), |before| format!("{before}, {peer}"));
        set(fields, FOR, &chain);
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
