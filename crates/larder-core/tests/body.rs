//! Bodies: conversions from streams, and the combinators that observe a body on its way.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http_body::Body as _;
use larder_core::{Body, BodyEnd, BodyError, BodyReadError};

type Chunk = Result<&'static str, std::io::Error>;

/// Fails to compile if a body, or a request or response with one, cannot be shared by threads.
const _: () = {
    const fn is_shareable<T: Send + Sync + Unpin + 'static>() {}
    is_shareable::<Body>();
    is_shareable::<http::Request<Body>>();
    is_shareable::<larder_core::CacheResponse>();
};

fn chunks(chunks: Vec<Chunk>) -> Body {
    Body::from_stream(stream::iter(chunks))
}

fn failing() -> Body {
    chunks(vec![Ok("hel"), Err(std::io::Error::other("reset"))])
}

async fn read(mut body: Body) -> (String, Option<String>) {
    let mut text = String::new();
    while let Some(chunk) = body.chunk().await {
        match chunk {
            Ok(chunk) => text.push_str(std::str::from_utf8(&chunk).expect("text")),
            Err(error) => return (text, Some(error.to_string())),
        }
    }
    (text, None)
}

#[tokio::test]
async fn a_body_of_a_stream_has_its_chunks_and_its_error() {
    let body = chunks(vec![Ok("hel"), Ok(""), Ok("lo")]);
    assert_eq!(body.size_hint().exact(), None);
    assert_eq!(read(body).await, ("hello".into(), None));
    assert_eq!(read(failing()).await, ("hel".into(), Some("reset".into())));
}

/// A truncated body is never complete, and no byte beyond the length is delivered.
#[tokio::test]
async fn a_stream_of_another_length_than_announced_fails() {
    let announced =
        |length| Body::from_stream_with_length(stream::iter(vec![Chunk::Ok("hel"), Ok("lo")]), length);
    assert_eq!(announced(5).size_hint().exact(), Some(5));
    assert_eq!(read(announced(5)).await, ("hello".into(), None));
    for (length, text, failure) in [(6, "hello", "shorter"), (4, "hel", "longer"), (2, "", "longer")] {
        let (read, error) = read(announced(length)).await;
        assert!(read == text && error.is_some_and(|error| error.contains(failure)), "{length}: {read}");
    }
    assert!(announced(0).is_empty());
}

#[tokio::test]
async fn a_mapped_error_replaces_the_error() {
    let (text, error) = read(failing().map_err(|error| format!("upload: {error}"))).await;
    assert_eq!((&*text, error.as_deref()), ("hel", Some("upload: reset")));
}

#[tokio::test]
async fn a_body_read_as_bytes_is_whole_and_within_the_limit() {
    let streamed = || chunks(vec![Ok("hel"), Ok(""), Ok("lo"), Ok("!")]);
    for (body, expected) in [
        (Body::empty(), &b""[..]),
        (Body::from(b"hello!".to_vec()), b"hello!"),
        (chunks(vec![Ok("hello!")]), b"hello!"),
        (streamed(), b"hello!"),
        (chunks(vec![]), b""),
    ] {
        assert_eq!(body.into_bytes(6).await.expect("whole"), expected);
    }
    let announced = Body::from_stream_with_length(stream::pending::<Chunk>(), 6);
    for too_long in [Body::from("hello!"), streamed(), chunks(vec![Ok("hello!")]), announced] {
        let error = too_long.into_bytes(5).await.expect_err("it has 6 bytes");
        assert!(matches!(error, BodyReadError::TooLong { limit: 5 }), "{error}");
        assert_eq!(error.to_string(), "the body is longer than 5 bytes");
    }
    let error = failing().into_bytes(usize::MAX).await.expect_err("it fails");
    assert!(matches!(error, BodyReadError::Failed(_)) && error.to_string() == "reset");
}

#[test]
fn a_body_in_memory_stays_in_memory() {
    let whole = || Body::from("hello").map_err(|error: BodyError| error);
    assert_eq!(whole().try_into_bytes().expect("in memory"), "hello");
    assert_eq!(Body::stream(whole()).try_into_bytes().expect("in memory"), "hello");
}

/// Reads `count` chunks of a body and drops it, and returns how it ended.
async fn ends(body: Body, count: usize) -> Vec<BodyEnd> {
    let ends: Arc<Mutex<Vec<BodyEnd>>> = Arc::default();
    let reported = Arc::clone(&ends);
    let mut body = body.on_end(move |end| reported.lock().expect("no panic").push(end));
    for _ in 0..count {
        let _ = body.chunk().await;
    }
    drop(body);
    let ends = ends.lock().expect("no panic");
    ends.clone()
}

#[tokio::test]
async fn the_end_of_a_body_is_reported_once() {
    let known = || Body::from_stream_with_length(stream::iter([Chunk::Ok("hello")]), 5);
    for (what, body, count, end) in [
        ("a body read to its end", chunks(vec![Ok("a"), Ok("b")]), 3, BodyEnd::Complete),
        ("a body whose end was not read", chunks(vec![Ok("a"), Ok("b")]), 2, BodyEnd::Dropped),
        ("an unread body", chunks(vec![Ok("a")]), 0, BodyEnd::Dropped),
        ("a failed body", failing(), 2, BodyEnd::Failed),
        ("a failed body that is read again", failing(), 4, BodyEnd::Failed),
        ("all bytes of a known length", known(), 1, BodyEnd::Complete),
        ("an unread body in memory", Body::from("hello"), 0, BodyEnd::Dropped),
        ("a body in memory", Body::from(Bytes::from_static(b"hello")), 1, BodyEnd::Complete),
        ("an empty body", Body::empty(), 0, BodyEnd::Complete),
    ] {
        assert_eq!(ends(body, count).await, [end], "{what}");
    }
}
