//! The origin.

use std::error::Error as _;

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
    HyperOptions, OptionsError, body::Impatient, connect, connection::Answered, error::origin_error, framing,
};

/// Fetches over HTTP, with a pool of connections.
///
/// Cloning shares the pool.
#[derive(Debug, Clone)]
pub struct HyperOrigin {
    client: Client<connect::Connector, Body>,
    options: HyperOptions,
}

impl HyperOrigin {
    /// An origin that is reached like this. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the options.
    pub fn new(options: HyperOptions) -> Result<Self, OptionsError> {
        Ok(Self { client: connect::client(&options)?, options })
    }

    /// Sends the request to [`HyperOptions::to`], if there is one.
    ///
    /// The client's name goes along as it is in the request's URI, and so in its key: were the client's own `Host` sent,
    /// what the origin makes of another spelling would be stored for all.
    fn address(&self, request: &mut Request<Body>) -> Result<(), OriginError> {
        let protocol = || OriginError::new(OriginErrorKind::Protocol);
        // Without one, hyper sends the name that it connects to.
        let client = if self.options.to.is_some() && !self.options.origin_host && !self.options.http2_only {
            request.uri().authority()
        } else {
            None
        };
        match client.map(|name| HeaderValue::from_str(name.as_str())) {
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

    /// Sends the request, and once more if the connection turns out to have been closed by the origin meanwhile, and
    /// the request is one that may be repeated (RFC 9110 §9.2.2).
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, legacy::Error> {
        let again = (request.method().is_idempotent() && request.body().is_empty()).then(|| copy(&request));
        let response = match (self.client.request(request).await, again) {
            (Err(error), Some(again)) if has_gone_stale(&error) => self.client.request(again).await?,
            (response, _) => response?,
        };
        response.extensions().get::<Answered>().iter().for_each(|answered| answered.set());
        Ok(response)
    }
}

/// A request without its body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    copy
}

/// Whether the connection had answered before, and then broke before the first byte of this answer.
fn has_gone_stale(error: &legacy::Error) -> bool {
    let mut extensions = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    let answered = extensions.get::<Answered>().is_some_and(Answered::get);
    answered && !error.is_connect() && is_broken_off(error)
}

fn is_broken_off(error: &legacy::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) else {
        return false;
    };
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io.is_some()
}

#[async_trait]
impl Origin for HyperOrigin {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        self.address(&mut request)?;
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
            // 101: a protocol that nobody here asked for.
            return Err(OriginError::new(OriginErrorKind::Protocol));
        }
        framing::settle(response.headers_mut())?;
        if head_only || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // Its length, if it has one, is that of another response (RFC 9110 §8.6).
            return Ok(response.map(|_| Body::empty()));
        }
        let limit = self.options.body_timeout;
        Ok(response.map(|body| Body::stream(Impatient::new(body, limit))))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
