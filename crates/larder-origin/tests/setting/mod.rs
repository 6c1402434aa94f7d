//! Servers that a test scripts byte by byte, and helpers to send requests to them.
#![allow(dead_code, reason = "each test file uses only some of the helpers")]

use std::sync::Arc;

use larder_core::{Body, BodyError, Origin as _, OriginError, OriginErrorKind};
use larder_origin::{HyperOptions, HyperOrigin};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A listener. The test accepts its connections and writes the responses.
pub(crate) struct Server(pub(crate) TcpListener);

impl Server {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("a local address"))
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Peer(stream)
    }

    /// Returns whether a client has connected and has not been accepted.
    pub(crate) async fn has_pending_connection(&self) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(self.0.poll_accept(cx).is_ready())).await
    }
}

/// The origin's side of one connection.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    /// Reads the head of the next request. Returns `None` if the client has closed.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        Some(String::from_utf8(head).expect("text"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the client reads");
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = [0; 4096];
        while self.0.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }

    /// Closes the connection with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        self.0.set_zero_linger().expect("set SO_LINGER");
    }
}

pub(crate) fn origin(to: &str) -> Arc<HyperOrigin> {
    with(to, |_| {})
}

pub(crate) fn with(to: &str, change: impl FnOnce(&mut HyperOptions)) -> Arc<HyperOrigin> {
    let mut options = HyperOptions::to(to).expect("a URL");
    change(&mut options);
    Arc::new(HyperOrigin::new(options).expect("valid options"))
}

pub(crate) fn get(path: &str) -> http::Request<Body> {
    request("GET", path, Body::empty())
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> http::Request<Body> {
    http::Request::builder()
        .method(method)
        .uri(format!("http://example.com{path}"))
        .body(body)
        .expect("a request")
}

/// The result of a request: the head, and the body or its error.
pub(crate) type Got = Result<(http::response::Parts, Result<Vec<u8>, BodyError>), OriginError>;

pub(crate) async fn fetch(origin: &HyperOrigin, request: http::Request<Body>) -> Got {
    let (parts, body) = origin.fetch(request).await?.into_parts();
    Ok((parts, read(body).await))
}

/// Reads a whole body. Panics if it ends without error and its length is not the announced one.
pub(crate) async fn read(mut body: Body) -> Result<Vec<u8>, BodyError> {
    let announced = http_body::Body::size_hint(&body).exact();
    let mut whole = Vec::new();
    while let Some(chunk) = body.chunk().await {
        whole.extend_from_slice(&chunk?);
    }
    assert!(announced.is_none_or(|length| length == whole.len() as u64), "announced as {announced:?}");
    Ok(whole)
}

pub(crate) fn content(got: Got) -> String {
    let (_, body) = got.expect("a response");
    String::from_utf8(body.expect("whole")).expect("text")
}

pub(crate) fn kind(got: Got) -> OriginErrorKind {
    match got {
        Ok((head, body)) => panic!("a response came: {head:?} {body:?}"),
        Err(error) => error.kind(),
    }
}

/// Sends a request in a separate task.
pub(crate) fn sending(
    origin: &Arc<HyperOrigin>,
    request: http::Request<Body>,
) -> tokio::task::JoinHandle<Got> {
    let origin = Arc::clone(origin);
    tokio::spawn(async move { fetch(&origin, request).await })
}

/// Creates a request body and its sender: `Some` sends a chunk, `None` ends the body, and dropping
/// the sender fails it.
pub(crate) fn upload() -> (tokio::sync::mpsc::Sender<Option<&'static [u8]>>, Body) {
    let (chunks, receiver) = tokio::sync::mpsc::channel(1);
    let chunks_of = |receiver: Option<tokio::sync::mpsc::Receiver<_>>| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(chunk)) => Some((Ok(chunk), Some(receiver))),
            Some(None) => None,
            None => Some((Err("the client disconnected"), None)),
        }
    };
    (chunks, Body::from_stream(futures_util::stream::unfold(Some(receiver), chunks_of)))
}

/// Waits until the other tasks have nothing left to do.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
}
