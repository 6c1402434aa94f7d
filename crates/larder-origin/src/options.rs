//! Options of [`HyperOrigin`](crate::HyperOrigin): the destination of requests, timeouts and
//! limits.

use std::{error::Error, fmt, time::Duration};

use http::Uri;

/// Options of a [`HyperOrigin`](crate::HyperOrigin): the destination of requests, timeouts and
/// limits.
///
/// ```
/// use std::time::Duration;
///
/// use larder_origin::HyperOptions;
///
/// # fn main() -> Result<(), larder_origin::OptionsError> {
/// let mut options = HyperOptions::to("http://127.0.0.1:3000")?;
/// options.head_timeout = Duration::from_secs(30);
/// options.idle_timeout = Duration::from_secs(60);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HyperOptions {
    /// Server that receives every request: scheme and authority, and a path that is prepended to
    /// the request's path. Default: `None`, which sends each request to the server in its URI.
    pub to: Option<Uri>,
    /// Whether the origin receives its own name as `Host` instead of the name in the request's URI.
    /// Only used with `to`. Default: `false`, since a server with several virtual hosts needs the
    /// name that the client requested, which is also the name in the cache key.
    pub origin_host: bool,
    /// Timeout for connecting: name resolution, TCP and TLS together. Default: 5 s. When it passes,
    /// the request fails with [`OriginErrorKind::Connect`](larder_core::OriginErrorKind::Connect).
    pub connect_timeout: Duration,
    /// Timeout for the head of a response, counted from the last chunk of the request's body.
    /// Default: 60 s. When it passes, the request fails with
    /// [`OriginErrorKind::Timeout`](larder_core::OriginErrorKind::Timeout).
    pub head_timeout: Duration,
    /// Longest time between two chunks of a response body. Default: 60 s. When it passes, the body
    /// ends with an error.
    pub body_timeout: Duration,
    /// How long an idle connection stays in the pool. Default: 4 s.
    ///
    /// It should be shorter than the origin's keep-alive time, which is 5 s for many servers.
    /// Otherwise a request that must not be retried, such as a POST, can be sent on a connection
    /// that the origin is closing. Set more if the origin's keep-alive time is longer.
    pub idle_timeout: Duration,
    /// Maximum number of idle connections in the pool for each server. Default: 256. Further ones
    /// are closed when their response ends.
    pub idle_connections: usize,
    /// Maximum number of headers in an HTTP/1 response. Default: 256. A response with more headers
    /// is an error.
    pub max_headers: usize,
    /// Largest head of a response in bytes. Default: 128 KiB; for HTTP/1 at least 8 KiB. A response
    /// with a larger head is an error.
    pub max_head: usize,
    /// Whether to use HTTP/2 without negotiation, with TLS and without. The origin then receives
    /// its own name as `:authority`. Default: `false`: HTTP/2 is negotiated over TLS, if the origin
    /// receives its own name.
    pub http2_only: bool,
    /// Root certificates in PEM to trust in addition to Mozilla's. Default: none. Without the
    /// feature `tls` they are ignored.
    pub root_certificates: Vec<u8>,
}

impl Default for HyperOptions {
    fn default() -> Self {
        Self {
            to: None,
            origin_host: false,
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(4),
            idle_connections: 256,
            max_headers: 256,
            max_head: 128 * 1024,
            http2_only: false,
            root_certificates: Vec::new(),
        }
    }
}

impl HyperOptions {
    /// Creates options that send every request to `origin`, such as `http://127.0.0.1:3000`. The
    /// other options have their defaults.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionsError`] if `origin` is not a URL with `http` or `https` and a host, or
    /// has a query, a user name or a password.
    pub fn to(origin: &str) -> Result<Self, OptionsError> {
        let uri = origin.parse::<Uri>().ok().filter(|uri| {
            let known = matches!(uri.scheme_str(), Some("http" | "https"));
            known && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
        });
        let uri = uri.ok_or(OptionsError(
            "the origin must be a URL with http:// or https:// and a host, without a query",
        ))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(OptionsError("the origin's URL must not contain a user name or password"));
        }
        Ok(Self { to: Some(uri), ..Self::default() })
    }
}

/// An error in the options of an origin. Its message states what must be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionsError(pub(crate) &'static str);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for OptionsError {}
