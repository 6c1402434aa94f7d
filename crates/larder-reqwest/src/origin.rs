//! reqwest as the engine's origin, and bodies between the two.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError, Origin, OriginError, OriginErrorKind};
use sync_wrapper::SyncWrapper;

/// An [`Origin`] on a `reqwest::Client`, for a [`Cache`](larder_core::Cache) of one's own making.
///
/// Its client follows no redirects ([`Policy::none`](reqwest::redirect::Policy::none)): what comes at the end of a chain would
/// be stored as what stands at its beginning. Fields that the client adds by itself (`default_headers`, a cookie store) are
/// not seen by the cache: leave them to whoever makes the requests.
#[derive(Debug, Clone)]
pub struct ReqwestOrigin {
    client: reqwest::Client,
}

impl ReqwestOrigin {
    /// Asks with this client.
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Origin for ReqwestOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let request = to_reqwest(request)?;
        let again = request.method().is_idempotent().then(|| request.try_clone()).flatten();
        let response = match (self.client.execute(request).await, again) {
            (Err(error), Some(again)) if is_broken_off(&error) => self.client.execute(again).await,
            (response, _) => response,
        };
        Ok(from_reqwest(response.map_err(origin_error)?))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}

/// Whether the connection broke before the answer's first byte. Most often it had been idle and the server was closing it
/// just then: whatever may be repeated is asked once more (RFC 9110 §9.2.2), which the caller then need not do.
fn is_broken_off(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout() && !error.is_body()
}

/// A request as reqwest has it.
pub(crate) fn to_reqwest(request: Request<Body>) -> Result<reqwest::Request, OriginError> {
    reqwest::Request::try_from(request.map(to_reqwest_body))
        .map_err(|error| OriginError::new(OriginErrorKind::Protocol).with_source(error))
}

/// A response as the engine has it.
pub(crate) fn from_reqwest(response: reqwest::Response) -> Response<Body> {
    Response::from(response).map(Body::stream)
}

pub(crate) fn from_reqwest_body(body: reqwest::Body) -> Body {
    let in_memory = body.as_bytes().is_some();
    let mut body = Body::stream(body);
    if !in_memory {
        return body;
    }
    // All of it is here: one chunk, without a wait.
    match body.chunk().now_or_never() {
        Some(Some(Ok(bytes))) => Body::from(bytes),
        _ => Body::empty(),
    }
}

pub(crate) fn to_reqwest_body(body: Body) -> reqwest::Body {
    match body.try_into_bytes() {
        Ok(bytes) => reqwest::Body::from(bytes),
        Err(body) => {
            let left = body.size_hint().exact();
            reqwest::Body::wrap(Shareable { body: SyncWrapper::new(body), left })
        }
    }
}

pub(crate) fn origin_error(error: reqwest::Error) -> OriginError {
    let kind = if error.is_connect() {
        OriginErrorKind::Connect
    } else if error.is_timeout() {
        // reqwest does not say which of its limits it was.
        OriginErrorKind::Timeout(std::time::Duration::ZERO)
    } else if error.is_body() {
        OriginErrorKind::RequestBody
    } else {
        OriginErrorKind::Protocol
    };
    OriginError::new(kind).with_source(error)
}

/// A body that may be shared between threads, since nobody reads it through a shared reference.
struct Shareable {
    body: SyncWrapper<Body>,
    left: Option<u64>,
}

impl http_body::Body for Shareable {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(self.body.get_mut()).poll_frame(cx));
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &frame) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
