//! [`HyperOrigin`]: sets the destination of a request, sends it, retries it on a stale connection,
//! and checks the response.
//!
//! The client is built in `connect`; framing is checked in `framing`; body timeouts are in `body`.

use std::{error::Error as _, fmt};

use async_trait::async_trait;
use http::{
    Extensions, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::HOST,
    uri::{Parts, PathAndQuery},
};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use larder_core::{Body, Origin, OriginError, OriginErrorKind, head_within};

use crate::{
    HyperOptions, OptionsError, body::IdleTimeoutBody, connect, connection::HasResponded,
    error::origin_error, framing,
};

/// An origin that fetches over HTTP/1.1 and HTTP/2 with a pool of connections.
///
/// Clones share the pool. The task of a connection runs on the tokio runtime on which the
/// connection was opened, so create one origin for each runtime.
///
/// ```no_run
/// use larder_core::{Body, Origin as _};
/// use larder_origin::{HyperOptions, HyperOrigin};
///
/// # async fn fetch() -> Result<(), Box<dyn std::error::Error>> {
/// let origin = HyperOrigin::new(HyperOptions::to("http://127.0.0.1:3000")?)?;
/// let request = http::Request::get("http://example.com/").body(Body::empty())?;
/// let response = origin.fetch(request).await?;
/// println!("{}", response.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HyperOrigin {
    client: Client<connect::Connector, Body>,
    options: HyperOptions,
}

impl fmt::Debug for HyperOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperOrigin").field("to", &self.options.to).finish_non_exhaustive()
    }
}

impl HyperOrigin {
    /// Creates an origin with these options. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionsError`] if [`HyperOptions::root_certificates`] is not empty and contains
    /// no certificate or an invalid one, or if [`HyperOptions::to`] is `https` and the feature
    /// `tls` is disabled.
    pub fn new(options: HyperOptions) -> Result<Self, OptionsError> {
        Ok(Self { client: connect::client(&options)?, options })
    }

    /// Sets the request's URI to [`HyperOptions::to`], if it is set, and its `Host`.
    ///
    /// `Host` is the name in the request's URI, which is the name in the cache key. If the client's
    /// own `Host` were sent, the response to another spelling of it would be stored for all
    /// clients.
    fn set_destination(&self, request: &mut Request<Body>) -> Result<(), OriginError> {
        let protocol = || OriginError::new(OriginErrorKind::Protocol);
        // Without a `Host`, hyper sends the name that it connects to.
        let host = if self.options.to.is_some() && !self.options.origin_host && !self.options.http2_only {
            request.uri().authority()
        } else {
            None
        };
        match host.map(|name| HeaderValue::from_str(name.as_str())) {
            Some(name) => request.headers_mut().insert(HOST, name.map_err(|_| protocol())?),
            None => request.headers_mut().remove(HOST),
        };
        let Some(to) = &self.options.to else { return Ok(()) };
        let prefix = to.path().trim_end_matches('/');
        let path = match request.uri().path_and_query() {
            Some(path) if prefix.is_empty() => path.clone(),
            path => {
                let path = path.map_or("/", PathAndQuery::as_str);
                format!("{prefix}{path}").parse().map_err(|_| protocol())?
            }
        };
        let mut parts = Parts::default();
        parts.scheme = to.scheme().cloned();
        parts.authority = to.authority().cloned();
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| protocol())?;
        Ok(())
    }

    /// Sends the request. Retries it once if the origin had closed the pooled connection, the
    /// method is idempotent (RFC 9110 §9.2.2) and the request has no body.
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, legacy::Error> {
        let retryable = request.method().is_idempotent() && request.body().is_empty();
        let retry = retryable.then(|| copy_head(&request));
        let response = match (self.client.request(request).await, retry) {
            (Err(error), Some(retry)) if is_stale_connection(&error) => self.client.request(retry).await?,
            (response, _) => response?,
        };
        response.extensions().get::<HasResponded>().iter().for_each(|responded| responded.set());
        Ok(response)
    }
}

/// Returns a copy of the request's method, URI, version and headers, without a body.
fn copy_head(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    copy
}

/// Returns whether the request failed because the pooled connection was closed: a response had
/// arrived on it before, and it broke before the first byte of this response.
fn is_stale_connection(error: &legacy::Error) -> bool {
    let mut extensions = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    let responded = extensions.get::<HasResponded>().is_some_and(HasResponded::get);
    responded && !error.is_connect() && is_disconnect(error)
}

/// Returns whether the connection was closed or reset.
fn is_disconnect(error: &legacy::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) else {
        return false;
    };
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io.is_some()
}

#[async_trait]
impl Origin for HyperOrigin {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        self.set_destination(&mut request)?;
        *request.version_mut() =
            if self.options.http2_only { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
        let limit = self.options.head_timeout;
        let (parts, body) = request.into_parts();
        let head_only = parts.method == Method::HEAD;
        let sending = |body| self.send(Request::from_parts(parts, body));
        let mut response = match head_within(limit, body, sending).await {
            Some(response) => response.map_err(origin_error)?,
            None => return Err(OriginError::new(OriginErrorKind::Timeout(limit))),
        };
        if response.status().is_informational() {
            // 101 Switching Protocols: this client does not send `Upgrade`, which is hop-by-hop.
            return Err(OriginError::new(OriginErrorKind::Protocol));
        }
        framing::normalize(response.headers_mut())?;
        if head_only || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // A `Content-Length` here is the length of another response's content (RFC 9110 §8.6).
            return Ok(response.map(|_| Body::empty()));
        }
        let limit = self.options.body_timeout;
        Ok(response.map(|body| Body::stream(IdleTimeoutBody::new(body, limit))))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
