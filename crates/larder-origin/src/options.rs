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
/// let options = HyperOptions::to("http://127.0.0.1:3000")?
///     .with_head_timeout(Duration::from_secs(30))
///     .with_idle_timeout(Duration::from_secs(60));
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

    /// Sets the server that receives every request ([`to`](Self::to)).
    #[must_use]
    pub fn with_to(mut self, to: Uri) -> Self {
        self.to = Some(to);
        self
    }

    /// Sets whether the origin receives its own name as `Host` instead of the name in the request's
    /// URI ([`origin_host`](Self::origin_host)).
    #[must_use]
    pub fn with_origin_host(mut self, origin_host: bool) -> Self {
        self.origin_host = origin_host;
        self
    }

    /// Sets the timeout for connecting: name resolution, TCP and TLS together
    /// ([`connect_timeout`](Self::connect_timeout)).
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets the timeout for the head of a response ([`head_timeout`](Self::head_timeout)).
    #[must_use]
    pub fn with_head_timeout(mut self, head_timeout: Duration) -> Self {
        self.head_timeout = head_timeout;
        self
    }

    /// Sets the longest time between two chunks of a response body
    /// ([`body_timeout`](Self::body_timeout)).
    #[must_use]
    pub fn with_body_timeout(mut self, body_timeout: Duration) -> Self {
        self.body_timeout = body_timeout;
        self
    }

    /// Sets how long an idle connection stays in the pool ([`idle_timeout`](Self::idle_timeout)).
    #[must_use]
    pub fn with_idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Sets the maximum number of idle connections in the pool for each server
    /// ([`idle_connections`](Self::idle_connections)).
    #[must_use]
    pub fn with_idle_connections(mut self, idle_connections: usize) -> Self {
        self.idle_connections = idle_connections;
        self
    }

    /// Sets the maximum number of headers in an HTTP/1 response
    /// ([`max_headers`](Self::max_headers)).
    #[must_use]
    pub fn with_max_headers(mut self, max_headers: usize) -> Self {
        self.max_headers = max_headers;
        self
    }

    /// Sets the largest head of a response, in bytes ([`max_head`](Self::max_head)).
    #[must_use]
    pub fn with_max_head(mut self, max_head: usize) -> Self {
        self.max_head = max_head;
        self
    }

    /// Sets whether to use HTTP/2 without negotiation, with TLS and without
    /// ([`http2_only`](Self::http2_only)).
    #[must_use]
    pub fn with_http2_only(mut self, http2_only: bool) -> Self {
        self.http2_only = http2_only;
        self
    }

    /// Sets the root certificates in PEM to trust in addition to Mozilla's
    /// ([`root_certificates`](Self::root_certificates)).
    #[must_use]
    pub fn with_root_certificates(mut self, root_certificates: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = root_certificates.into();
        self
    }
}

/// An error in the options of an origin. Its message states what must be changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptionsError(pub(crate) &'static str);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for OptionsError {}
