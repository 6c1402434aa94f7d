//! Connects the engine to an origin that can run only inside the request's own future.
//!
//! Some origins live only as long as the request, or are not [`Send`]: the rest of a middleware
//! stack, or an actix-web handler. The engine's [`Origin`] must be `Send`, `Sync` and `'static`.
//! [`local_origin`] therefore returns an `Origin` that sends each request through a channel. The
//! future that called the engine receives it from [`OriginRequests`], runs it, and answers through
//! the [`Responder`] while it waits for the engine's response.

use std::fmt;

use async_trait::async_trait;
use http::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::{Body, Origin, OriginError, OriginErrorKind};

/// A request of the engine, and the channel for its response.
#[derive(Debug)]
#[non_exhaustive]
pub struct OriginRequest {
    /// The request to send to the origin.
    pub request: Request<Body>,
    /// The channel for the response. Dropping it cancels the exchange.
    pub responder: Responder,
}

/// The sending half of the channel on which the engine waits for a response.
pub struct Responder(oneshot::Sender<Result<Response<Body>, OriginError>>);

/// The receiving end for the engine's requests; see [`local_origin`].
pub struct OriginRequests(mpsc::UnboundedReceiver<Box<OriginRequest>>);

/// The engine's end of the channel.
///
/// The channel is unbounded, but holds only a few requests: one for each time that the engine
/// forwards the client's request.
struct LocalOrigin {
    /// Boxed, because the channel allocates room for 32 messages at once.
    requests: mpsc::UnboundedSender<Box<OriginRequest>>,
    supports_background: bool,
}

impl fmt::Debug for LocalOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalOrigin")
    }
}

/// Creates an origin for one request, and the receiver of the requests that the engine sends to it.
///
/// For a handler that is not `Send + 'static`, or that borrows the request or the rest of a
/// middleware stack. Otherwise implement [`Origin`] for it, which needs no channel.
///
/// `supports_background` becomes the result of [`Origin::supports_background_revalidation`]. Pass
/// `true` only if requests are still received and answered after the client's request has been
/// answered.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use larder_core::{Body, Origin, local_origin};
///
/// let (origin, mut requests) = local_origin(false);
/// let request = http::Request::get("http://example.com/").body(Body::empty()).unwrap();
/// let fetch = origin.fetch(request);
/// let handler = async {
///     let request = requests.next().await.expect("the origin sends a request");
///     request.responder.send(Ok(http::Response::new(Body::from("hello"))));
/// };
/// let (response, ()) = tokio::join!(fetch, handler);
/// assert_eq!(response.unwrap().status(), 200);
/// # });
/// ```
pub fn local_origin(supports_background: bool) -> (impl Origin, OriginRequests) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (LocalOrigin { requests: sender, supports_background }, OriginRequests(receiver))
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

impl Responder {
    /// Sends the origin's response, or its error, to the engine.
    ///
    /// Has no effect if the engine has stopped waiting.
    pub fn send(self, result: Result<Response<Body>, OriginError>) {
        let _ = self.0.send(result);
    }
}

impl fmt::Debug for OriginRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginRequests")
    }
}

impl OriginRequests {
    /// Returns the engine's next request, or `None` once the engine cannot send another.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; no request is lost.
    pub async fn next(&mut self) -> Option<OriginRequest> {
        self.0.recv().await.map(|request| *request)
    }
}

#[async_trait]
impl Origin for LocalOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let (sender, response) = oneshot::channel();
        let closed = || OriginError::new(OriginErrorKind::Closed);
        let responder = Responder(sender);
        self.requests.send(Box::new(OriginRequest { request, responder })).map_err(|_| closed())?;
        response.await.unwrap_or_else(|_| Err(closed()))
    }

    fn supports_background_revalidation(&self) -> bool {
        self.supports_background
    }
}
