//! Determines the target of a request (RFC 9112 §3.2, §3.3, RFC 9113 §8.3.1): its scheme, authority
//! and path, as the origin or handler will understand them.

use std::{borrow::Cow, error::Error, fmt, net::IpAddr};

use http::StatusCode;

use super::TrustedProxies;
use crate::{
    RequestHeaders, TargetError, TargetUri,
    policy::{list_members, parameters},
};

/// What a server has received as the target of a request.
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::{ReceivedTarget, RequestTarget, TrustedProxies};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("host", "Example.com:80".parse()?);
/// let received = ReceivedTarget::new("http", "/a?b");
/// let target = RequestTarget::of(&received, &headers, None, &TrustedProxies::default())?;
/// assert_eq!(target.to_uri()?.as_str(), "http://example.com/a?b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReceivedTarget<'a> {
    /// The scheme of the listener: `https` if clients use TLS.
    pub scheme: &'a str,
    /// Path and query of the request line, or of `:path`.
    pub path: &'a str,
    /// The scheme in an absolute form, or `:scheme`. Default: none.
    pub uri_scheme: Option<&'a str>,
    /// The authority in an absolute form, or `:authority`. Default: none.
    pub uri_authority: Option<&'a str>,
    /// Whether the version is HTTP/2 or later, where `:scheme` may name what a proxy in front has
    /// received. Default: false.
    pub is_http_2: bool,
    /// Whether the version is HTTP/1.0, which may lack a host. Default: false.
    pub is_http_1_0: bool,
    /// Whether the method is OPTIONS, for which `*` is a target. Default: false.
    pub is_options: bool,
}

impl<'a> ReceivedTarget<'a> {
    /// Creates the target of a request in origin form, on a listener with this scheme.
    pub fn new(scheme: &'a str, path: &'a str) -> Self {
        Self {
            scheme,
            path,
            uri_scheme: None,
            uri_authority: None,
            is_http_2: false,
            is_http_1_0: false,
            is_options: false,
        }
    }

    /// Creates the target of a request with this URI and version.
    pub fn of_uri(
        scheme: &'a str,
        method: &http::Method,
        uri: &'a http::Uri,
        version: http::Version,
    ) -> Self {
        Self {
            uri_scheme: uri.scheme_str(),
            uri_authority: uri.authority().map(http::uri::Authority::as_str),
            is_http_2: version >= http::Version::HTTP_2,
            is_http_1_0: version <= http::Version::HTTP_10,
            is_options: method == http::Method::OPTIONS,
            ..Self::new(scheme, uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str))
        }
    }
}

/// The target of a request as the origin or handler will understand it. Not normalized.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestTarget<'a> {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, with a port unless it is the default.
    pub authority: Cow<'a, str>,
    /// Path and query. Begins with `/`, or is `*`.
    pub path: &'a str,
}

/// The authority of a request of HTTP/1.0 without a host.
const NO_HOST: &str = "localhost";

impl<'a> RequestTarget<'a> {
    /// Determines the target of a request with these fields.
    ///
    /// `peer` is the address of the connection's other end. If it is one of the `trusted` proxies,
    /// the scheme and host that this proxy has received are the target: `Forwarded` (RFC 7239), or
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`. For any other peer these fields mean nothing.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetRejection`] if the request has no target, or if two parts of it name
    /// different ones: another server on the way may have chosen the other (RFC 9112 §3.2).
    pub fn of<H: RequestHeaders>(
        received: &ReceivedTarget<'a>,
        headers: &'a H,
        peer: Option<IpAddr>,
        trusted: &TrustedProxies,
    ) -> Result<Self, TargetRejection> {
        let mut scheme = known_scheme(received.scheme).ok_or(TargetRejection::Scheme)?;
        let mut authority = Cow::Borrowed(authority(received, headers, scheme)?);
        let path = match received.path {
            "*" if !received.is_options => return Err(TargetRejection::Asterisk),
            "" => "/",
            path => path,
        };
        if peer.is_some_and(|peer| trusted.contains(peer)) {
            let forwarded = forwarded(headers, trusted)?;
            if let Some(proto) = forwarded.proto {
                scheme = known_scheme(&proto).ok_or(TargetRejection::Forwarded)?;
            }
            if let Some(host) = forwarded.host {
                authority = Cow::Owned(host);
            }
        }
        Ok(Self { scheme, authority, path })
    }

    /// Returns whether the path has dot segments, so that its normal form, which is in the key, is
    /// another one.
    ///
    /// If handlers see the path as it was sent, their response must not be stored under the normal
    /// form: it is not the response of that path.
    pub fn has_dot_segments(&self) -> bool {
        let may_have_some = self.path.contains("/.") || self.path.contains("%2");
        may_have_some
            && self.to_uri().is_ok_and(|normal| !normal.path_and_query().eq_ignore_ascii_case(self.path))
    }

    /// Returns the target in normal form.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if a part is invalid or the target is too long.
    pub fn to_uri(&self) -> Result<TargetUri, TargetError> {
        TargetUri::new(self.scheme, &self.authority, self.path)
    }
}

/// Returns the authority that a request names, in the request line, in `:authority` or in `Host`.
fn authority<'a, H: RequestHeaders>(
    received: &ReceivedTarget<'a>,
    headers: &'a H,
    scheme: &str,
) -> Result<&'a str, TargetRejection> {
    let mut hosts = headers.lines("host");
    let host = match hosts.next().map(std::str::from_utf8) {
        Some(Ok(host)) => Some(host.trim_matches([' ', '\t'])).filter(|host| !host.is_empty()),
        Some(Err(_)) => return Err(TargetRejection::Host),
        None => None,
    };
    if hosts.next().is_some() {
        return Err(TargetRejection::SeveralHosts);
    }
    let other_scheme = received.uri_scheme.is_some_and(|uri| known_scheme(uri) != Some(scheme));
    if other_scheme && received.uri_authority.is_some() && !received.is_http_2 {
        return Err(TargetRejection::Scheme);
    }
    match (received.uri_authority, host) {
        (Some(authority), Some(host)) if !is_same_authority(scheme, authority, host) => {
            Err(TargetRejection::AuthoritiesDiffer)
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) if received.is_http_1_0 => Ok(NO_HOST),
        (None, None) => Err(TargetRejection::NoHost),
    }
}

/// Returns `http` or `https` for these schemes in any case.
fn known_scheme(scheme: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))
}

/// Returns whether two authorities are the same, in upper or lower case, with or without the
/// scheme's default port.
fn is_same_authority(scheme: &str, one: &str, other: &str) -> bool {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let without_port =
        |authority: &'_ str| authority.len() - if authority.ends_with(port) { port.len() } else { 0 };
    one.eq_ignore_ascii_case(other)
        || one[..without_port(one)].eq_ignore_ascii_case(&other[..without_port(other)])
}

/// What the trusted proxies in front have received.
#[derive(Debug, Default, PartialEq, Eq)]
struct ForwardedTarget {
    proto: Option<String>,
    host: Option<String>,
}

/// Reads the forwarded scheme and host of a request from a trusted peer.
///
/// Each proxy on the way may have appended a value. The one that counts was written by the trusted
/// proxy that is closest to the client: values to the left of it may be the client's own.
fn forwarded<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    let by_x = by_x_fields(headers, trusted)?;
    let by_rfc = by_rfc_7239(headers, trusted)?;
    // Two fields that disagree: the proxy in front sets only one of them, and has passed on the
    // other from its client.
    let merge = |x: Option<String>, rfc: Option<String>| match (x, rfc) {
        (Some(x), Some(rfc)) if !x.eq_ignore_ascii_case(&rfc) => Err(TargetRejection::Forwarded),
        (x, rfc) => Ok(x.or(rfc)),
    };
    Ok(ForwardedTarget { proto: merge(by_x.proto, by_rfc.proto)?, host: merge(by_x.host, by_rfc.host)? })
}

/// Reads `X-Forwarded-Proto` and `X-Forwarded-Host`.
fn by_x_fields<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    let clients = list(headers, "x-forwarded-for")?;
    // The last client is that of our peer; each that is trusted is one more proxy in between.
    let hops = clients.iter().rev().take_while(|client| is_trusted(client, trusted)).count();
    let value = |name| -> Result<Option<String>, TargetRejection> {
        let values = list(headers, name)?;
        Ok(values.len().checked_sub(1).map(|last| values[last.saturating_sub(hops)].to_owned()))
    };
    Ok(ForwardedTarget { proto: value("x-forwarded-proto")?, host: value("x-forwarded-host")? })
}

/// Reads `Forwarded` (RFC 7239 §4).
fn by_rfc_7239<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    let mut target = ForwardedTarget::default();
    for element in list(headers, "forwarded")?.iter().rev() {
        let mut client = None;
        target = ForwardedTarget::default();
        for pair in parameters(element.as_bytes()).map(String::from_utf8_lossy) {
            let Some((name, value)) = pair.split_once('=') else { return Err(TargetRejection::Forwarded) };
            let value = unquoted(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "proto" => target.proto = Some(value),
                "host" => target.host = Some(value),
                "for" => client = Some(value),
                _ => {}
            }
        }
        if !client.is_some_and(|client| is_trusted(&client, trusted)) {
            break;
        }
    }
    Ok(target)
}

/// Returns whether a client in a forwarded field is a trusted proxy: an address, with a port or
/// not.
fn is_trusted(client: &str, trusted: &TrustedProxies) -> bool {
    let address = client.parse::<IpAddr>().ok();
    let address = address.or_else(|| client.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    let bracketed = || client.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).is_some_and(|address| trusted.contains(address))
}

/// Returns the members of all lines of a field, which is a list of text.
fn list<'h, H: RequestHeaders>(headers: &'h H, name: &'h str) -> Result<Vec<&'h str>, TargetRejection> {
    let members = list_members(headers.lines(name)).map(std::str::from_utf8);
    members.collect::<Result<_, _>>().map_err(|_| TargetRejection::Forwarded)
}

/// Returns the content of a quoted string, or the token itself.
fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\\\\", "\\").replace("\\\"", "\""),
        None => value.to_owned(),
    }
}

/// The reason why a request has no target that can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetRejection {
    /// The request names no host.
    NoHost,
    /// `Host` is not text.
    Host,
    /// The request has more than one `Host`.
    SeveralHosts,
    /// `Host` and the authority of the request target differ.
    AuthoritiesDiffer,
    /// The scheme of the request target is not that of the listener.
    Scheme,
    /// The target is `*`, and the method is not OPTIONS.
    Asterisk,
    /// The fields of the trusted proxy in front are invalid, or name two different targets.
    Forwarded,
}

impl TargetRejection {
    /// Returns the status code of the response to such a request.
    pub fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

impl fmt::Display for TargetRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "the Host header is missing",
            Self::Host => "the Host header is not a valid name",
            Self::SeveralHosts => "the request has more than one Host header",
            Self::AuthoritiesDiffer => "Host and the authority of the request target differ",
            Self::Scheme => "this listener does not serve the scheme of the request target",
            Self::Asterisk => "the request target * is valid for OPTIONS only",
            Self::Forwarded => "the forwarded fields are invalid or name different targets",
        })
    }
}

impl Error for TargetRejection {}
