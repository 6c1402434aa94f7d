//! The server that a request is sent to, and the form in which the request is sent there.

use http::{
    HeaderValue, Request, Uri,
    header::{CONNECTION, HOST, TE},
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use larder_core::{Body, OriginError, OriginErrorKind};

use crate::HyperOptions;

/// A server: what a connection is opened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) is_tls: bool,
    /// The name or address, in lower case and without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl Destination {
    /// Returns the server of a URI, or `None` if it has no host or another scheme than `http` and
    /// `https`.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host: host.to_ascii_lowercase().into(), port })
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// Replaces the path by the one at the origin, and returns the authority that the request is sent
/// with: that of its URI, or of [`HyperOptions::to`] with [`HyperOptions::origin_host`].
///
/// The client's own `Host` is removed: the name in the URI is the one in the cache key. If the
/// client's spelling of it were sent, the response to it would be stored for all clients.
///
/// # Errors
///
/// Returns a [`Protocol`](OriginErrorKind::Protocol) error if the request has no host, or a target
/// that is invalid with the origin's path in front of it.
pub(crate) fn prepare(options: &HyperOptions, request: &mut Request<Body>) -> Result<Authority, OriginError> {
    let invalid =
        || OriginError::new(OriginErrorKind::Protocol).with_source("the request has no valid target");
    request.headers_mut().remove(HOST);
    let own = options.to.as_ref().filter(|_| options.origin_host).and_then(Uri::authority);
    let authority = own.or(request.uri().authority()).cloned();
    let Some(to) = &options.to else { return authority.ok_or_else(invalid) };
    let authority = authority.or_else(|| to.authority().cloned()).ok_or_else(invalid)?;
    let prefix = to.path().trim_end_matches('/');
    if !prefix.is_empty() && request.uri().path() != "*" {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let path: PathAndQuery = format!("{prefix}{path}").parse().map_err(|_| invalid())?;
        *request.uri_mut() = Uri::from(path);
    }
    Ok(authority)
}

/// Writes the target in HTTP/1.1's form: path and query in the request line, and the authority in
/// `Host` (RFC 9112 §3.2.1).
///
/// # Errors
///
/// Returns a [`Protocol`](OriginErrorKind::Protocol) error if the authority is not a header value.
pub(crate) fn to_http1(request: &mut Request<Body>, authority: &Authority) -> Result<(), OriginError> {
    let host = HeaderValue::from_str(authority.as_str())
        .map_err(|error| OriginError::new(OriginErrorKind::Protocol).with_source(error))?;
    request.headers_mut().insert(HOST, host);
    if request.headers().contains_key(TE) {
        // It concerns this connection (RFC 9110 §10.1.4).
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("te"));
    }
    *request.uri_mut() = Uri::from(path_of(request.uri()));
    *request.version_mut() = http::Version::HTTP_11;
    Ok(())
}

/// Writes the target in HTTP/2's form: scheme, authority and path as pseudo-header fields (RFC 9113
/// §8.3.1).
///
/// # Errors
///
/// Returns a [`Protocol`](OriginErrorKind::Protocol) error if the parts make no URI.
pub(crate) fn to_http2(
    request: &mut Request<Body>,
    authority: Authority,
    is_tls: bool,
) -> Result<(), OriginError> {
    request.headers_mut().remove(HOST);
    let mut parts = Parts::default();
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path_of(request.uri()));
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|error| OriginError::new(OriginErrorKind::Protocol).with_source(error))?;
    *request.version_mut() = http::Version::HTTP_2;
    Ok(())
}

/// Returns the path and query of a URI: `/` if it has none, and `*` for the whole server (RFC 9110
/// §7.1).
fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}
