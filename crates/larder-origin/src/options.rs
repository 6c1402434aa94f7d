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
    /// the request's path. It must have the scheme `http` or `https` and a host. Default: `None`,
    /// which sends each request to the server in its URI.
    pub to: Option<Uri>,
    /// Whether the origin receives its own name as `Host` instead of the name in the request's URI.
    /// Only used with `to`. Default: `false`, since a server with several virtual hosts needs the
    /// name that the client requested, which is also the name in the cache key.
    pub origin_host: bool,
    /// Timeout for connecting: name resolution, TCP and TLS together. Default: 5 s. When it passes,
    /// the request fails with [`OriginErrorKind::Connect`](larder_core::OriginErrorKind::Connect).
    pub connect_timeout: Duration,
    /// Timeout for the head of a response. It starts again with each chunk of the request's body,
    /// and is at least 5 minutes while the client owes the next one. Default: 60 s. When it passes,
    /// the request fails with [`OriginErrorKind::Timeout`](larder_core::OriginErrorKind::Timeout).
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
    /// Longest time between two chunks of a stream of events (`text/event-stream`) or of a response
    /// of gRPC (`application/grpc`). Default: 1 hour, because such a stream is silent while nothing
    /// happens.
    pub event_timeout: Duration,
    /// Longest time of a whole exchange, from the request to the end of the response's body.
    /// Default: none, because a download or a stream of events may last for long. When it passes,
    /// the request fails with [`OriginErrorKind::Timeout`](larder_core::OriginErrorKind::Timeout),
    /// or the body ends with an error.
    pub total_timeout: Option<Duration>,
    /// Maximum number of connections of this origin and its clones to each server; with one origin
    /// for each worker, it applies to each worker. Default: 1,024; 0 counts as 1. Further requests
    /// wait until one of them ends. A connection that has switched to another protocol, such as
    /// WebSocket, counts until it is closed.
    pub max_connections: usize,
    /// Maximum number of requests that wait for a connection to one server. Default: 1,024. A
    /// further one fails at once with
    /// [`OriginErrorKind::Busy`](larder_core::OriginErrorKind::Busy).
    pub max_waiting: usize,
    /// Age at which a connection is no longer used for new requests, so that a change of the
    /// server's addresses is noticed. Default: 5 minutes.
    pub max_age: Duration,
    /// Whether to use HTTP/2 without negotiation, with TLS and without. Default: `false`: HTTP/2 is
    /// negotiated over TLS, and HTTP/1.1 is used without TLS.
    pub http2_only: bool,
    /// Which root certificates are trusted beside [`root_certificates`](Self::root_certificates).
    /// Default: Mozilla's. Without the feature `tls` it is ignored.
    pub trusted_roots: TrustedRoots,
    /// Further root certificates to trust, in PEM: those of a private certificate authority.
    /// Default: none. Without the feature `tls` they are ignored.
    pub root_certificates: Vec<u8>,
    /// The certificate with which connections identify themselves to the origin. Default: none.
    /// Without the feature `tls` it is ignored.
    pub client_certificate: Option<ClientCertificate>,
}

/// The root certificates that are trusted beside those in the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TrustedRoots {
    /// Mozilla's root certificates, which are part of the program.
    #[default]
    Mozilla,
    /// No others: only [`HyperOptions::root_certificates`] are trusted.
    OnlyConfigured,
    /// The root certificates of the operating system, read when the origin is created. The
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` override where they are.
    #[cfg(feature = "system-roots")]
    System,
}

/// A certificate with which a connection identifies itself, and its private key.
///
/// ```no_run
/// use larder_origin::{ClientCertificate, HyperOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = ClientCertificate::new(std::fs::read("client.pem")?, std::fs::read("client-key.pem")?);
/// let options = HyperOptions::to("https://10.0.0.1")?.with_client_certificate(identity);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientCertificate {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl ClientCertificate {
    /// Creates an identity from a certificate chain, with the client's certificate first, and its
    /// private key, both in PEM. They are checked when the origin is created.
    pub fn new(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { chain: chain.into(), key: key.into() }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
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
            event_timeout: Duration::from_secs(3600),
            total_timeout: None,
            max_connections: 1024,
            max_waiting: 1024,
            max_age: Duration::from_secs(300),
            http2_only: false,
            trusted_roots: TrustedRoots::default(),
            root_certificates: Vec::new(),
            client_certificate: None,
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
    /// has a query, a user name, a password, or a port that is no number.
    pub fn to(origin: &str) -> Result<Self, OptionsError> {
        let uri = origin.parse::<Uri>().map_err(|_| NOT_AN_ORIGIN)?;
        check_server(&uri)?;
        Ok(Self { to: Some(uri), ..Self::default() })
    }

    /// Sets the server that receives every request ([`to`](Self::to)). The URI is checked when the
    /// origin is created.
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

    /// Sets the longest time between two chunks of a stream of events
    /// ([`event_timeout`](Self::event_timeout)).
    #[must_use]
    pub fn with_event_timeout(mut self, event_timeout: Duration) -> Self {
        self.event_timeout = event_timeout;
        self
    }

    /// Sets the longest time of a whole exchange ([`total_timeout`](Self::total_timeout)).
    #[must_use]
    pub fn with_total_timeout(mut self, total_timeout: Duration) -> Self {
        self.total_timeout = Some(total_timeout);
        self
    }

    /// Sets the maximum number of connections to each server
    /// ([`max_connections`](Self::max_connections)).
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets the maximum number of requests that wait for a connection
    /// ([`max_waiting`](Self::max_waiting)).
    #[must_use]
    pub fn with_max_waiting(mut self, max_waiting: usize) -> Self {
        self.max_waiting = max_waiting;
        self
    }

    /// Sets the age at which a connection is no longer used for new requests
    /// ([`max_age`](Self::max_age)).
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets which root certificates are trusted beside the configured ones
    /// ([`trusted_roots`](Self::trusted_roots)).
    #[must_use]
    pub fn with_trusted_roots(mut self, trusted_roots: TrustedRoots) -> Self {
        self.trusted_roots = trusted_roots;
        self
    }

    /// Sets the certificate with which connections identify themselves
    /// ([`client_certificate`](Self::client_certificate)).
    #[must_use]
    pub fn with_client_certificate(mut self, client_certificate: ClientCertificate) -> Self {
        self.client_certificate = Some(client_certificate);
        self
    }

    /// Sets whether to use HTTP/2 without negotiation, with TLS and without
    /// ([`http2_only`](Self::http2_only)).
    #[must_use]
    pub fn with_http2_only(mut self, http2_only: bool) -> Self {
        self.http2_only = http2_only;
        self
    }

    /// Sets further root certificates to trust, in PEM
    /// ([`root_certificates`](Self::root_certificates)).
    #[must_use]
    pub fn with_root_certificates(mut self, root_certificates: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = root_certificates.into();
        self
    }
}

/// The error of a URI that names no server.
const NOT_AN_ORIGIN: OptionsError = OptionsError(
    "the origin must be a URL with http:// or https:// and a host, without a query, e.g. http://127.0.0.1:3000",
);

/// Checks the URI of the server that receives every request.
///
/// # Errors
///
/// Returns an [`OptionsError`] if it has another scheme than `http` and `https`, no host, a port
/// that is none, a query, a user name or a password.
pub(crate) fn check_server(uri: &Uri) -> Result<(), OptionsError> {
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_known || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err(NOT_AN_ORIGIN);
    }
    let Some(authority) = uri.authority() else { return Err(NOT_AN_ORIGIN) };
    if authority.as_str().contains('@') {
        return Err(OptionsError("the origin's URL must not contain a user name or password"));
    }
    // `Uri` accepts any text as a port, and does not report it.
    let after_host = &authority.as_str()[authority.host().len()..];
    if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(OptionsError("the port in the origin's URL is not a number from 1 to 65535"));
    }
    Ok(())
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
