//! Determines the target of a request (RFC 9112 §3.2, §3.3, RFC 9113 §8.3.1): its scheme, authority
//! and path, as the origin or handler will understand them.

use std::{borrow::Cow, error::Error, fmt, net::IpAddr};

use http::StatusCode;

use super::{TrustedProxies, forwarded::forwarded, is_steering};
use crate::{RequestHeaders, TargetError, TargetUri};

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
    /// the scheme and host that this proxy has received are the target: `X-Forwarded-Proto` and
    /// `X-Forwarded-Host`, or `Forwarded` (RFC 7239), as
    /// [`TrustedProxies::with_fields`] sets. For any other peer these fields mean nothing.
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
        // HTTP/1 rejects several lengths where it reads the content. Over HTTP/2 the frames have
        // the length, and an origin behind HTTP/1.1 could believe either field.
        if received.is_http_2 && headers.lines("content-length").nth(1).is_some() {
            return Err(TargetRejection::SeveralLengths);
        }
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

    /// Returns whether the path is not the one in the key: it has dot segments, characters that are
    /// encoded without need, or characters that a URI contains only percent-encoded.
    ///
    /// If handlers see the path as it was sent, their response must not be stored under the normal
    /// form: it is not the response of that path.
    pub fn has_other_path(&self) -> bool {
        let is_plain = |byte: u8| {
            !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
        };
        let may_differ =
            self.path.contains("/.") || self.path.contains('%') || !self.path.bytes().all(is_plain);
        may_differ
            && self.to_uri().is_ok_and(|normal| !normal.path_and_query().eq_ignore_ascii_case(self.path))
    }

    /// Returns whether a handler would see something else in the fields of a request than the key
    /// states: fields that steer it, a host that is not in normal form, or several lines of
    /// cookies. [`set_target_fields`](super::set_target_fields) changes that.
    pub fn differs_from_fields<H: RequestHeaders>(&self, headers: &H) -> bool {
        let (mut is_steered, mut has_cookies, mut has_host) = (false, false, false);
        headers.names(|name| {
            is_steered |= is_steering(name);
            has_cookies |= name == "cookie";
            has_host |= name == "host";
        });
        is_steered
            || self.has_other_authority()
            || has_host && headers.lines("host").next() != Some(self.authority.as_bytes())
            || has_cookies && headers.lines("cookie").nth(1).is_some()
    }

    /// Returns whether the authority is not the one in the key: it has upper-case letters, or a
    /// port that is empty or the default one.
    fn has_other_authority(&self) -> bool {
        let default = if self.scheme == "https" { ":443" } else { ":80" };
        self.authority.ends_with(':')
            || self.authority.ends_with(default)
            || self.authority.bytes().any(|byte| byte.is_ascii_uppercase())
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
    /// The request has more than one `Content-Length`.
    SeveralLengths,
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
            Self::SeveralLengths => "the request has more than one Content-Length",
        })
    }
}

impl Error for TargetRejection {}
