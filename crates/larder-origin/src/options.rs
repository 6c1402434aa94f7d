//! How the origin is reached.

use std::{error::Error, fmt, time::Duration};

use http::Uri;

/// How the origin is reached. Each limit has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HyperOptions {
    /// Where every request goes: scheme and authority, and a path that is put before the request's own. `None`, the
    /// default, is where its URI says.
    pub to: Option<Uri>,
    /// With `to`: whether the origin gets its own name as `Host`, and not the client's. Default: no. A server that
    /// answers for several names needs the client's, and what is stored is stored under it.
    pub origin_host: bool,
    /// How long connecting may take: name resolution, TCP and TLS together. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long the head of a response may take, from the last chunk of the request's body. Default: 60 s.
    pub head_timeout: Duration,
    /// How long a pause within a body may take. Default: 60 s.
    pub body_timeout: Duration,
    /// How long an idle connection is kept. Default: 4 s, which is below the 5 s that many servers keep one for: a
    /// request that can't be repeated, such as a POST, must not meet a connection that is being closed. An origin that
    /// is known to keep connections for longer may be given more.
    pub idle_timeout: Duration,
    /// Idle connections that are kept for one origin. Default: 256.
    pub idle_connections: usize,
    /// Fields of a response, at most. Default: 256.
    pub max_fields: usize,
    /// Bytes of a response's head, at most. Default: 128 KiB.
    pub max_head: usize,
    /// HTTP/2 without negotiation, also without TLS. Default: no; over TLS it is negotiated.
    pub http2_only: bool,
    /// Certificates to trust beside Mozilla's, in PEM.
    pub roots: Vec<u8>,
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
            max_fields: 256,
            max_head: 128 * 1024,
            http2_only: false,
            roots: Vec::new(),
        }
    }
}

impl HyperOptions {
    /// Every request goes to `origin`, such as `http://127.0.0.1:3000`.
    ///
    /// # Errors
    ///
    /// If that is no URL with `http` or `https` and a host.
    pub fn to(origin: &str) -> Result<Self, OptionsError> {
        let uri = origin.parse::<Uri>().ok().filter(|uri| {
            let known = matches!(uri.scheme_str(), Some("http" | "https"));
            known && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
        });
        let uri = uri.ok_or(OptionsError("the origin is not a URL with http:// or https:// and a host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(OptionsError("the origin's URL has a user name or password, which are not sent"));
        }
        Ok(Self { to: Some(uri), ..Self::default() })
    }
}

/// What is wrong with the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionsError(pub(crate) &'static str);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for OptionsError {}
