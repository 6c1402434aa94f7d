//! A `reqwest::Client` as the origin of the cache engine, and conversions between the body types of
//! both.

use std::{fmt, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use http::{Request, Response};
use larder_core::{Body, Origin, OriginError, OriginErrorKind};

use crate::unseen_redirects::FinalUrl;

/// An [`Origin`] that sends requests with a `reqwest::Client`, for programs that use a
/// [`Cache`](larder_core::Cache) without [`CachedClient`](crate::CachedClient).
///
/// Configure the client to follow no redirects ([`Policy::none`](reqwest::redirect::Policy::none)).
/// Otherwise the last response of a chain would be stored under the first URL. The cache does not
/// see headers that the client adds to requests, such as `default_headers` and cookies; set them on
/// the requests instead.
///
/// If a connection breaks before the response arrives, an idempotent request with its body in
/// memory is sent once more (RFC 9110 §9.2.2).
///
/// ```
/// use larder_reqwest::{ReqwestOrigin, reqwest};
///
/// # fn main() -> Result<(), reqwest::Error> {
/// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let origin = ReqwestOrigin::new(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReqwestOrigin {
    client: reqwest::Client,
}

/// The network of a client: sends requests with reqwest, and decodes the content codings of
/// responses.
pub type NetworkOrigin = Arc<dyn Origin>;

/// Creates the origin of a client from its network.
pub(crate) type WrapOrigin = Box<dyn FnOnce(NetworkOrigin) -> Arc<dyn Origin> + Send + Sync>;

impl fmt::Debug for ReqwestOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestOrigin")
    }
}

impl ReqwestOrigin {
    /// Creates an origin that sends requests with this client.
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Origin for ReqwestOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let request = to_reqwest(request)?;
        let url = request.url().clone();
        let retry = request.method().is_idempotent().then(|| request.try_clone()).flatten();
        let response = match (self.client.execute(request).await, retry) {
            (Err(error), Some(retry)) if is_connection_lost(&error) => self.client.execute(retry).await,
            (response, _) => response,
        };
        let response = response.map_err(origin_error)?;
        let final_url = (*response.url() != url).then(|| FinalUrl(response.url().clone()));
        let mut response = from_reqwest(response);
        if let Some(url) = final_url {
            response.extensions_mut().insert(url);
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}

/// Returns whether the connection broke before the first byte of the response.
///
/// Most often the connection was idle and the server closed it just as the request was sent.
/// Requests that may be repeated are then sent once more (RFC 9110 §9.2.2), so that the caller need
/// not do it.
fn is_connection_lost(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout() && !error.is_body()
}

/// Converts a request to reqwest's type.
pub(crate) fn to_reqwest(request: Request<Body>) -> Result<reqwest::Request, OriginError> {
    reqwest::Request::try_from(request.map(to_reqwest_body))
        .map_err(|error| OriginError::new(OriginErrorKind::Protocol).with_source(error))
}

/// Converts a response to the engine's type. Its address is an extension of it.
pub(crate) fn from_reqwest(response: reqwest::Response) -> Response<Body> {
    let address = response.remote_addr().map(RemoteAddr);
    let mut response = Response::from(response).map(Body::stream);
    if let Some(address) = address {
        response.extensions_mut().insert(address);
    }
    response
}

/// The address of the server that has sent a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteAddr(pub(crate) SocketAddr);

/// Converts a body to the engine's type. A body in memory stays in memory.
pub(crate) fn from_reqwest_body(body: reqwest::Body) -> Body {
    let in_memory = body.as_bytes().is_some();
    let mut body = Body::stream(body);
    if !in_memory {
        return body;
    }
    // A body in memory is one chunk that is ready at once.
    match body.chunk().now_or_never() {
        Some(Some(Ok(bytes))) => Body::from(bytes),
        _ => Body::empty(),
    }
}

/// Converts a body to reqwest's type. A body in memory stays in memory.
pub(crate) fn to_reqwest_body(body: Body) -> reqwest::Body {
    match body.try_into_bytes() {
        Ok(bytes) => reqwest::Body::from(bytes),
        Err(body) => reqwest::Body::wrap(body),
    }
}

/// Converts an error of reqwest to an origin error of the matching kind.
pub(crate) fn origin_error(error: reqwest::Error) -> OriginError {
    OriginError::new(error_kind(&error)).with_source(error)
}

/// Returns the kind of origin error for an error of reqwest.
pub(crate) fn error_kind(error: &reqwest::Error) -> OriginErrorKind {
    if error.is_connect() {
        OriginErrorKind::Connect
    } else if error.is_timeout() {
        // reqwest does not report which of its timeouts passed.
        OriginErrorKind::Timeout(std::time::Duration::ZERO)
    } else if error.is_body() {
        OriginErrorKind::RequestBody
    } else {
        OriginErrorKind::Protocol
    }
}
