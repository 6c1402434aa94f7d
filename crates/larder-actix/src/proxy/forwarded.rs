//! The headers that describe the client to the origin (RFC 9110 §7.6.3, RFC 7239).
//!
//! Some headers make an origin respond for another target than the one in the cache key. A client
//! could use them to store another page under a URL (cache poisoning). They are removed here, and
//! the headers that a proxy sets are set, whatever the client has sent.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::VIA};

use super::ProxyOptions;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Returns whether frameworks take this header for the real target, method, host or client address.
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

/// Returns a predicate for the headers of a client's request that are forwarded.
pub(super) fn forwardable(options: &ProxyOptions) -> impl Fn(&str) -> bool {
    let trusted = options.trust_forwarded;
    move |name| trusted || !is_steering(name)
}

/// Sets `X-Forwarded-*` and `Via` on a forwarded request. Its headers are those that
/// [`forwardable`] selects.
pub(super) fn set_headers(
    headers: &mut HeaderMap,
    options: &ProxyOptions,
    peer: Option<IpAddr>,
    target: &Uri,
) {
    let previous = if options.trust_forwarded { joined(headers, &X_FORWARDED_FOR) } else { None };
    if let Some(peer) = peer {
        let chain = previous.map_or_else(|| peer.to_string(), |previous| format!("{previous}, {peer}"));
        set(headers, X_FORWARDED_FOR, &chain);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        set(headers, X_FORWARDED_PROTO, target.scheme_str().unwrap_or("http"));
    }
    if !headers.contains_key(X_FORWARDED_HOST) {
        set(headers, X_FORWARDED_HOST, target.authority().map_or("", |authority| authority.as_str()));
    }
    headers.append(VIA, HeaderValue::from_static("1.1 larder"));
}

/// Returns the values of a header joined with commas; `None` without a value.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Sets a header; does nothing if the value is not valid in one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
