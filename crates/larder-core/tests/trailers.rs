//! Trailers: who gets those of a response, and that no one else does.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use larder_core::{Body, BodyEnd, Cache, CacheResponse};
use larder_memory::MemoryStore;
use larder_testkit::FnOrigin;
use tokio::sync::mpsc;

/// A body of which the test sends the frames.
struct Frames(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn trailers() -> Frame<Bytes> {
    let mut fields = HeaderMap::new();
    fields.insert("x-sum", HeaderValue::from_static("8"));
    Frame::trailers(fields)
}

/// Reads a body. Returns its bytes and its trailers.
async fn read(mut body: Body) -> (String, Option<HeaderMap>) {
    let mut text = String::new();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { return (text, None) };
        match frame.expect("no error").into_data() {
            Ok(chunk) => text.push_str(std::str::from_utf8(&chunk).expect("text")),
            Err(frame) => return (text, frame.into_trailers().ok()),
        }
    }
}

/// Starts a cache in front of an origin with one body, which may be stored.
fn start(body: Body) -> impl AsyncFn() -> CacheResponse {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
    let body = Mutex::new(Some(body));
    let origin = FnOrigin::new(move |_, _| {
        let mut response = Response::new(body.lock().expect("no panic").take().expect("one request"));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        Ok(response)
    });
    async move || {
        let request = Request::get("http://example.com/").body(Body::empty()).expect("a request");
        cache.fetch(request, Arc::clone(&origin) as _).await.expect("a response")
    }
}

/// A body that is still arriving: its first client gets the trailers, one that joins does not, nor
/// does a hit.
#[tokio::test]
async fn the_client_of_the_fetch_gets_the_trailers() {
    let (sender, frames) = mpsc::unbounded_channel();
    sender.send(Frame::data("half".into())).expect("it is read");
    let fetch = start(Body::stream(Frames(frames)));
    let (leader, follower) = tokio::join!(fetch(), fetch());
    assert!(!leader.cache_status().collapsed && follower.cache_status().collapsed);
    assert_eq!(leader.headers()["trailer"], "x-sum");
    assert!(!follower.headers().contains_key("trailer"), "it announces what does not come");
    sender.send(Frame::data("half".into())).expect("it is read");
    sender.send(trailers()).expect("it is read");
    drop(sender);
    let (leader, follower) = tokio::join!(read(leader.into_body()), read(follower.into_body()));
    assert_eq!(leader.0, "halfhalf");
    assert_eq!(leader.1.expect("trailers")["x-sum"], "8");
    assert_eq!(follower, ("halfhalf".to_owned(), None));
    loop {
        let hit = fetch().await;
        assert!(!hit.headers().contains_key("trailer"));
        let is_hit = hit.cache_status().hit;
        assert_eq!(read(hit.into_body()).await, ("halfhalf".to_owned(), None));
        if is_hit {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// A body that has arrived with the head, also one of trailers only.
#[tokio::test]
async fn trailers_that_have_arrived_are_sent() {
    for content in ["a page", ""] {
        let (sender, frames) = mpsc::unbounded_channel();
        if !content.is_empty() {
            sender.send(Frame::data(content.into())).expect("it is read");
        }
        sender.send(trailers()).expect("it is read");
        drop(sender);
        let fetch = start(Body::stream(Frames(frames)));
        let miss = fetch().await;
        assert!(miss.cache_status().stored, "{miss:?}");
        let (text, fields) = read(miss.into_body()).await;
        assert_eq!(
            (text.as_str(), &fields.expect("trailers")["x-sum"]),
            (content, &HeaderValue::from_static("8"))
        );
        let hit = fetch().await;
        assert!(hit.cache_status().hit);
        assert_eq!(read(hit.into_body()).await, (content.to_owned(), None));
    }
}

/// A reader stops at the trailers. The response counted as one that the client had left.
#[tokio::test]
async fn a_body_that_was_read_to_its_trailers_is_complete() {
    let (sender, frames) = mpsc::unbounded_channel();
    sender.send(trailers()).expect("it is read");
    let (report, mut ends) = mpsc::unbounded_channel();
    let body = Body::stream(Frames(frames)).on_end(move |end| report.send(end).expect("the test waits"));
    assert!(read(body).await.1.is_some());
    assert_eq!(ends.recv().await, Some(BodyEnd::Complete));
}
