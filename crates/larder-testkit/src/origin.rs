//! Origins without a network: one that the test plays itself, and one that is a function.

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

/// An origin whose every answer the test gives by hand.
#[derive(Debug)]
pub struct ManualOrigin {
    requests: mpsc::UnboundedSender<ReceivedRequest>,
    outlives: bool,
}

/// The requests that reach a [`ManualOrigin`], in order.
#[derive(Debug)]
pub struct Requests(mpsc::UnboundedReceiver<ReceivedRequest>);

/// A request that waits for its answer. Dropped, the origin has closed the connection.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// As the engine sent it.
    pub request: Request<Body>,
    reply: oneshot::Sender<Result<Response<Body>, OriginError>>,
}

impl ManualOrigin {
    /// An origin, and where its requests arrive.
    pub fn new() -> (Arc<Self>, Requests) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { requests, outlives: true }), Requests(receiver))
    }

    /// The same for an origin that is gone when its request has been answered.
    pub fn of_one_request() -> (Arc<Self>, Requests) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { requests, outlives: false }), Requests(receiver))
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
        self.outlives
    }
}

impl Requests {
    /// Waits for the next one.
    ///
    /// # Panics
    ///
    /// If the origin is gone.
    pub async fn next(&mut self) -> ReceivedRequest {
        self.0.recv().await.expect("the origin is still there")
    }

    /// Whether one has arrived and not been taken.
    pub fn is_empty(&mut self) -> bool {
        self.0.is_empty()
    }
}

impl ReceivedRequest {
    /// Whether whoever asked still waits.
    pub fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Answers with these fields and this content.
    pub fn answer(self, status: u16, fields: &[(&str, &str)], content: &'static [u8]) {
        let _ = self.reply.send(Ok(response(status, fields, Body::from(Bytes::from_static(content)))));
    }

    /// Answers with a head; the content follows by hand. `length` is what is announced.
    pub fn begin(self, status: u16, fields: &[(&str, &str)], length: Option<u64>) -> Sending {
        let (chunks, receiver) = mpsc::channel(1);
        let body = Body::stream(Receiving { receiver, left: length });
        let _ = self.reply.send(Ok(response(status, fields, body)));
        Sending(chunks)
    }

    /// Fails without an answer.
    pub fn fail(self, kind: OriginErrorKind) {
        let _ = self.reply.send(Err(OriginError::new(kind)));
    }
}

fn response(status: u16, fields: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body).expect("a status code, names and values")
}

/// The content of an answer on its way. Dropped, it has broken off.
#[derive(Debug)]
pub struct Sending(mpsc::Sender<Option<Bytes>>);

impl Sending {
    /// Sends a chunk, once the one before has been taken. Says whether somebody still takes them.
    pub async fn chunk(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Some(chunk.into())).await.is_ok()
    }

    /// Ends it, whole.
    pub async fn end(self) {
        let _ = self.0.send(None).await;
    }

    /// Returns when nobody takes it any more.
    pub async fn given_up(&self) {
        self.0.closed().await;
    }
}

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
            None => Some(Err("the connection broke off".into())),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Answering = dyn Fn(usize, &Request<Body>) -> Result<Response<Body>, OriginError> + Send + Sync;

/// An origin that is a function of the request and of how many came before it.
pub struct FnOrigin {
    answer: Box<Answering>,
    count: AtomicUsize,
}

impl FnOrigin {
    /// An origin that answers so.
    pub fn new(
        answer: impl Fn(usize, &Request<Body>) -> Result<Response<Body>, OriginError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), count: AtomicUsize::new(0) })
    }

    /// An origin that always answers 200 with these fields and this content.
    pub fn fixed(fields: &'static [(&'static str, &'static str)], content: &'static [u8]) -> Arc<Self> {
        Self::new(move |_, _| Ok(response(200, fields, Body::from(Bytes::from_static(content)))))
    }

    /// How many requests have come.
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
        (self.answer)(self.count.fetch_add(1, Ordering::SeqCst), &request)
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
