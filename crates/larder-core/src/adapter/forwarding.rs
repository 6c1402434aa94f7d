//! Prepares the fields of a client's request for the origin, in the one safe order.

use std::{error::Error, fmt, net::IpAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, HOST, VIA},
};

use super::{TrustedProxies, joined_cookies, steering::strip_ambiguous, strip_steering};
use crate::policy::{list_members, parameters, strip_trailers, strip_unforwardable};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The field by which networks of caches detect loops (RFC 8586).
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// How a proxy prepares the fields of requests for its origins.
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::{Forwarding, ReceivedTarget, RequestTarget, TrustedProxies};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("host", "example.com".parse()?);
/// headers.insert("connection", "x-forwarded-proto".parse()?);
/// headers.insert("x-forwarded-host", "evil.example".parse()?);
/// let (peer, trusted) = (Some("192.0.2.7".parse()?), TrustedProxies::default());
/// let received = ReceivedTarget::new("https", "/");
/// let target = RequestTarget::of(&received, &headers.clone(), peer, &trusted)?.to_uri()?;
///
/// Forwarding::new("larder").prepare(&mut headers, target.scheme(), target.authority(), peer, &trusted)?;
/// assert_eq!(headers["x-forwarded-host"], "example.com");
/// assert_eq!(headers["x-forwarded-proto"], "https", "the client's Connection does not remove the proxy's field");
/// assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// The value that this proxy appends to `Via`.
    via: HeaderValue,
    /// The name of this instance in `CDN-Loop`.
    id: HeaderValue,
}

impl Forwarding {
    /// Creates the preparation of a proxy with this name in `Via`, which must be a token.
    ///
    /// Each value has an identifier of its own in `CDN-Loop`, which its clones share, so that a
    /// chain of two proxies with one name is no loop. The workers of one proxy use clones.
    pub fn new(name: &str) -> Self {
        let hash = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name);
        let value =
            |text: String, default| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(default));
        Self {
            via: value(format!("1.1 {name}"), "1.1 larder"),
            id: value(format!("{name}-{hash:016x}"), "larder"),
        }
    }

    /// Prepares the fields of a request to be sent to an origin.
    ///
    /// First it removes the fields that `Connection` lists and every other field that concerns the
    /// client's connection (RFC 9110 §7.6.1); then the fields with which a client could steer the
    /// origin ([`is_steering`](super::is_steering)), and those with `_` or another character in
    /// their name that gateways read as `-`. Last it writes `Host`, `X-Forwarded-Proto` and
    /// `X-Forwarded-Host` of the target in normal form, `X-Forwarded-For`, `Via` and `CDN-Loop`.
    /// `X-Forwarded-For` continues that of a trusted `peer`, and starts with the peer for any
    /// other. Several `Cookie` lines become one (RFC 9113 §8.2.3).
    ///
    /// # Errors
    ///
    /// Returns [`LoopDetected`] if the request has been here before (RFC 8586).
    pub fn prepare(
        &self,
        headers: &mut HeaderMap,
        scheme: &str,
        authority: &str,
        peer: Option<IpAddr>,
        trusted: &TrustedProxies,
    ) -> Result<(), LoopDetected> {
        if self.has_been_here(headers) {
            return Err(LoopDetected);
        }
        let is_trusted = peer.is_some_and(|peer| trusted.contains(peer));
        let clients = is_trusted.then(|| joined(headers, &X_FORWARDED_FOR));
        let clients = clients.filter(|clients| !clients.is_empty());
        strip_unforwardable(headers);
        strip_steering(headers);
        strip_ambiguous(headers);
        if let Some(Ok(cookies)) = joined_cookies(headers).map(HeaderValue::try_from) {
            headers.insert(COOKIE, cookies);
        }
        let host = headers.get(HOST).filter(|host| host.as_bytes() == authority.as_bytes());
        let host = host.cloned().or_else(|| HeaderValue::from_str(authority).ok());
        set(headers, HOST, host.clone());
        set(headers, X_FORWARDED_PROTO, scheme_value(scheme));
        set(headers, X_FORWARDED_HOST, host);
        if let Some(peer) = peer {
            let peer = text_of(peer.to_canonical());
            let chain = clients.map_or_else(|| peer.clone(), |clients| format!("{clients}, {peer}"));
            set(headers, X_FORWARDED_FOR, HeaderValue::try_from(chain).ok());
        }
        headers.append(VIA, self.via.clone());
        headers.append(CDN_LOOP, self.id.clone());
        Ok(())
    }

    /// Prepares the trailers of a request to be sent to an origin. Those that must not be in a
    /// trailer section are removed, and those with which a client could steer the origin, which
    /// may merge them into the head.
    ///
    /// RFC 9110 §6.5.1.
    pub fn prepare_trailers(trailers: &mut HeaderMap) {
        strip_trailers(trailers);
        strip_steering(trailers);
        strip_ambiguous(trailers);
        trailers.remove(VIA);
        trailers.remove(CDN_LOOP);
    }

    /// Returns whether `CDN-Loop` names this instance.
    fn has_been_here(&self, headers: &HeaderMap) -> bool {
        list_members(headers.get_all(CDN_LOOP).iter().map(HeaderValue::as_bytes))
            .any(|member| parameters(member).next() == Some(self.id.as_bytes()))
    }
}

/// Returns the lines of a list joined by commas, without those that are not text.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(", ")
}

/// Returns the value of a field that names the scheme.
fn scheme_value(scheme: &str) -> Option<HeaderValue> {
    match scheme {
        "http" => Some(HeaderValue::from_static("http")),
        "https" => Some(HeaderValue::from_static("https")),
        other => HeaderValue::from_str(other).ok(),
    }
}

/// Returns an address as text. Each request has one; for version 4 this costs a tenth of its
/// `Display`.
fn text_of(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = if octet >= 100 { 0 } else { 2 - usize::from(octet >= 10) };
        text.extend(digits[leading..].iter().map(|digit| char::from(b'0' + digit)));
    }
    text
}

/// Sets a field; removes it if the value is not valid in one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

/// The preparation of a proxy named `larder`.
impl Default for Forwarding {
    fn default() -> Self {
        Self::new("larder")
    }
}

/// The error of a request that this proxy has sent before: an origin of this proxy is the proxy
/// itself. The status code of the response is 508.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopDetected;

impl fmt::Display for LoopDetected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has been forwarded by this proxy before (loop detected)")
    }
}

impl Error for LoopDetected {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn addresses_are_written_as_display_does() {
        for octet in 0..=255 {
            for address in [[octet, 0, 10, 255], [1, octet, 99, octet], [octet; 4]] {
                let address = IpAddr::from(Ipv4Addr::from(address));
                assert_eq!(text_of(address), address.to_string());
            }
        }
        let address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        assert_eq!(text_of(address), "2001:db8::1");
    }
}
