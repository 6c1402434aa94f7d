//! Origins without a network: [`ManualOrigin`], which the test scripts step by step, and
//! [`FnOrigin`], which is a function.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use larder_core::{Body, BodyError, Origin, OriginError, OriginErrorKind};
use tokio::sync::{mpsc, oneshot};

/// An origin that hands each request to the test, which responds when and how it chooses.
///
/// ```
/// use larder_core::{Body, Origin as _};
/// use larder_testkit::ManualOrigin;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (origin, mut requests) = ManualOrigin::new();
/// let request = http::Request::get("http://example.com/").body(Body::empty()).unwrap();
/// let response = tokio::spawn(async move { origin.fetch(request).await });
///
/// let received = requests.next().await;
/// assert_eq!(received.request.uri().path(), "/");
/// received.respond(200, &[("cache-control", "max-age=60")], b"hello");
/// assert_eq!(response.await.unwrap().unwrap().status(), 200);
/// # });
/// ```
pub struct ManualOrigin {
    requests: mpsc::UnboundedSender<ReceivedRequest>,
    background: bool,
}

/// The requests that a [`ManualOrigin`] receives, in order.
pub struct ReceivedRequests(mpsc::UnboundedReceiver<ReceivedRequest>);

/// A request that waits for its response. If it is dropped, the request fails with a
/// [`Protocol`](OriginErrorKind::Protocol) error, as if the origin had closed the connection.
pub struct ReceivedRequest {
    /// The request as the engine sent it.
    pub request: Request<Body>,
    reply: oneshot::Sender<Result<Response<Body>, OriginError>>,
}

impl fmt::Debug for ManualOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManualOrigin")
    }
}

impl ManualOrigin {
    /// Creates an origin and the receiver of its requests.
    pub fn new() -> (Arc<Self>, ReceivedRequests) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { requests, background: true }), ReceivedRequests(receiver))
    }

    /// Creates an origin that serves one request only, such as a handler in the same process. It
    /// does not support background revalidation.
    pub fn single_request() -> (Arc<Self>, ReceivedRequests) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { requests, background: false }), ReceivedRequests(receiver))
    }
}

#[async_trait]
impl Origin for ManualOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let (reply, response) = oneshot::channel();
        let closed = || OriginError::new(OriginErrorKind::Protocol);
        self.requests.send(ReceivedRequest { request, reply }).map_err(|_| closed())?;
        response.await.unwrap_or_else(|_| Err(closed()))
    }

    fn supports_background_revalidation(&self) -> bool {
        self.background
    }
}

impl fmt::Debug for ReceivedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceivedRequests")
    }
}

impl ReceivedRequests {
    /// Waits for the next request.
    ///
    /// # Panics
    ///
    /// Panics if the origin has been dropped.
    pub async fn next(&mut self) -> ReceivedRequest {
        self.0.recv().await.expect("the origin has not been dropped")
    }

    /// Returns whether there is no request that has arrived and has not been taken with `next`.
    pub fn is_empty(&mut self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

impl ReceivedRequest {
    /// Returns whether the engine still waits for the response.
    pub fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Responds with this status, these headers and this content.
    pub fn respond(self, status: u16, fields: &[(&str, &str)], content: &'static [u8]) {
        let _ = self.reply.send(Ok(response(status, fields, Body::from(Bytes::from_static(content)))));
    }

    /// Responds with a head, and returns a [`BodySender`] through which the test sends the content.
    /// `length` is the announced length of the content.
    pub fn respond_streaming(self, status: u16, fields: &[(&str, &str)], length: Option<u64>) -> BodySender {
        let (chunks, receiver) = mpsc::channel(1);
        let body = Body::stream(Receiving { receiver, left: length });
        let _ = self.reply.send(Ok(response(status, fields, body)));
        BodySender(chunks)
    }

    /// Fails the request without a response, with an error or with an error of a kind.
    pub fn fail(self, error: impl Into<OriginError>) {
        let _ = self.reply.send(Err(error.into()));
    }
}

/// Creates a response.
fn response(status: u16, fields: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body).expect("a status code, names and values")
}

/// Sends the content of a response. If it is dropped before [`end`](Self::end), the body fails.
pub struct BodySender(mpsc::Sender<Option<Bytes>>);

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodySender")
    }
}

impl BodySender {
    /// Sends a chunk, after the previous one has been received. Returns whether the body still has
    /// a receiver.
    pub async fn chunk(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Some(chunk.into())).await.is_ok()
    }

    /// Ends the body without error.
    pub async fn end(self) {
        let _ = self.0.send(None).await;
    }

    /// Waits until the receiver of the body has been dropped.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The receiving side of a [`BodySender`], as a response body.
struct Receiving {
    receiver: mpsc::Receiver<Option<Bytes>>,
    left: Option<u64>,
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.receiver.poll_recv(cx)) {
            Some(Some(chunk)) => {
                self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                Some(Ok(Frame::data(chunk)))
            }
            Some(None) => None,
            None => Some(Err("the connection was closed".into())),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Respond = dyn Fn(usize, &Request<Body>) -> Result<Response<Body>, OriginError> + Send + Sync;

/// An origin that is a function of the number of earlier requests and the request.
///
/// ```
/// use http::Response;
/// use larder_core::Body;
/// use larder_testkit::FnOrigin;
///
/// let origin = FnOrigin::new(|number, request| {
///     Ok(Response::new(Body::from(format!("{} {number}", request.uri().path()))))
/// });
/// assert_eq!(origin.count(), 0);
/// ```
pub struct FnOrigin {
    respond: Box<Respond>,
    count: AtomicUsize,
}

impl FnOrigin {
    /// Creates an origin that calls `respond` for each request.
    pub fn new(
        respond: impl Fn(usize, &Request<Body>) -> Result<Response<Body>, OriginError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { respond: Box::new(respond), count: AtomicUsize::new(0) })
    }

    /// Creates an origin that always responds with 200, these headers and this content.
    pub fn fixed(fields: &'static [(&'static str, &'static str)], content: &'static [u8]) -> Arc<Self> {
        Self::new(move |_, _| Ok(response(200, fields, Body::from(Bytes::from_static(content)))))
    }

    /// Returns the number of requests so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FnOrigin({} requests)", self.count())
    }
}

#[async_trait]
impl Origin for FnOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        (self.respond)(self.count.fetch_add(1, Ordering::SeqCst), &request)
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
