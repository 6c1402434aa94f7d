//! Connections: reuse, stale connections, resets, timeouts and cancelled requests.

mod setting;

use std::time::Duration;

use larder_core::{Body, Origin as _, OriginErrorKind};
use setting::{Server, content, fetch, get, kind, origin, request, sending, upload, with};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_reused() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let first = sending(&origin, get("/1"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send(OK).await;
    assert_eq!(content(first.await.expect("no panic")), "ok");
    for n in 2..10 {
        let next = sending(&origin, get(&format!("/{n}")));
        assert!(peer.head().await.expect("the same connection").starts_with(&format!("GET /{n} ")));
        peer.send(OK).await;
        assert_eq!(content(next.await.expect("no panic")), "ok");
    }
    assert!(!server.has_pending_connection().await);
}

/// Regression test: an origin with a short keep-alive time closed the connection just as a request
/// was sent on it, and the client received a 502.
#[tokio::test]
async fn a_request_on_a_stale_connection_is_retried() {
    for reset in [false, true] {
        for method in ["GET", "HEAD", "DELETE"] {
            let server = Server::bind().await;
            let origin = origin(&server.url());
            let first = sending(&origin, get("/1"));
            let mut peer = server.accept().await;
            peer.head().await.expect("a request");
            peer.send(OK).await;
            assert_eq!(content(first.await.expect("no panic")), "ok");
            let second = sending(&origin, request(method, "/2", Body::empty()));
            let lost = peer.head().await.expect("the same connection");
            if reset {
                peer.reset();
            } else {
                drop(peer);
            }
            let mut peer = server.accept().await;
            assert_eq!(peer.head().await.expect("the request is retried"), lost);
            peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(content(second.await.expect("no panic")), "", "{method}, reset: {reset}");
        }
    }
}

/// A request that is not idempotent may have been processed, so it is not retried (RFC 9110
/// §9.2.2). A request on a new connection has not met a stale one, so it is not retried either.
#[tokio::test]
async fn other_requests_are_not_retried() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let new = sending(&origin, get("/"));
    server.accept().await.head().await.expect("a request");
    assert_eq!(kind(new.await.expect("no panic")), OriginErrorKind::Protocol);

    for (method, body) in [("POST", Body::empty()), ("POST", Body::from("x")), ("PUT", Body::from("x"))] {
        let first = sending(&origin, get("/1"));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send(OK).await;
        assert_eq!(content(first.await.expect("no panic")), "ok");
        let second = sending(&origin, request(method, "/2", body));
        peer.head().await.expect("the same connection");
        drop(peer);
        assert_eq!(kind(second.await.expect("no panic")), OriginErrorKind::Protocol, "{method}");
        assert!(!server.has_pending_connection().await, "{method} was retried");
    }
}

/// The pool detects a connection that was closed while idle, so that not even a POST fails on it.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_reused() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    for n in 0..20 {
        let got = sending(&origin, request("POST", &format!("/{n}"), Body::from("x")));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send(OK).await;
        assert_eq!(content(got.await.expect("no panic")), "ok", "request {n}");
        tokio::io::AsyncWriteExt::shutdown(&mut peer.0).await.expect("shutdown");
        // The client has detected the close when it closes its side.
        peer.closed().await;
    }
}

/// An origin may respond before it has read the whole request body, and close (413, for example).
#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_returned() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    chunks.send(Some(b"some")).await.expect("the client reads the chunk");
    peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    let (head, body) = got.await.expect("no panic").expect("a response");
    assert_eq!((head.status.as_u16(), &*body.expect("whole")), (413, &b"no"[..]));
    drop(peer);
    // The client stops reading the request body.
    while chunks.send(Some(b"more")).await.is_ok() {}
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let mut request = request("POST", "/", Body::from("content"));
    request.headers_mut().insert("expect", http::HeaderValue::from_static("100-continue"));
    let got = sending(&origin, request);
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    let mut sent = [0; 7];
    tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut sent).await.expect("the content");
    assert_eq!(&sent, b"content");
    peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    peer.send(OK).await;
    assert_eq!(content(got.await.expect("no panic")), "ok");
}

/// A client that aborts its upload is not a failure of the origin, and the origin does not receive
/// a complete body.
#[tokio::test]
async fn a_failed_request_body_is_a_request_body_error() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    let head = peer.head().await.expect("a request");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    chunks.send(Some(b"some")).await.expect("the client reads the chunk");
    drop(chunks);
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::RequestBody);
    let mut received = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer.0, &mut received).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "{received:?}");
}

#[tokio::test]
async fn a_request_is_framed_by_the_length_of_its_body() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    for (method, body, expected) in [
        ("POST", Body::from("12345"), Some("content-length: 5")),
        (
            "PUT",
            Body::from_stream_with_length(futures_util::stream::iter([Ok::<_, std::io::Error>("12345")]), 5),
            Some("content-length: 5"),
        ),
        ("POST", upload().1, Some("transfer-encoding: chunked")),
        ("GET", Body::empty(), None),
    ] {
        let got = sending(&origin, request(method, "/", body));
        let mut peer = server.accept().await;
        let head = peer.head().await.expect("a request");
        for line in ["content-length: 5", "transfer-encoding: chunked"] {
            assert_eq!(head.contains(line), expected == Some(line), "{method}: {head}");
        }
        got.abort();
    }
}

/// The clock is paused: it advances when all tasks wait.
#[tokio::test(start_paused = true)]
async fn an_origin_that_does_not_respond_is_a_timeout() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.head_timeout = Duration::from_secs(7));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::Timeout(Duration::from_secs(7)));
    // The request was cancelled, which closes its connection.
    peer.closed().await;
}

#[tokio::test]
async fn a_pause_in_a_body_is_an_error_and_not_its_end() {
    for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let server = Server::bind().await;
        let origin = with(&server.url(), |options| options.body_timeout = Duration::from_millis(50));
        let got = sending(&origin, get("/"));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        let chunk = if framing.starts_with('T') { "4\r\nhalf\r\n" } else { "half" };
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{chunk}")).await;
        let (_, body) = got.await.expect("no panic").expect("a head");
        assert!(body.expect_err("an error").to_string().contains("50ms"));
        peer.closed().await;
    }
}

/// The body timeout applies to each pause, not to the whole body: a slow body is not cut off.
/// A stream of events is silent while nothing happens.
#[tokio::test]
async fn a_stream_of_events_has_a_limit_of_its_own() {
    for (media_type, is_cut) in
        [("text/event-stream", false), ("Text/Event-Stream; charset=utf-8", false), ("text/plain", true)]
    {
        let server = Server::bind().await;
        let origin =
            with(&server.url(), |options| options.body_timeout = std::time::Duration::from_millis(50));
        let got = sending(&origin, get("/"));
        let mut peer = server.accept().await;
        assert!(peer.head().await.is_some());
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: 2\r\n\r\n"))
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if !is_cut {
            peer.send("ok").await;
        }
        let (_, body) = got.await.expect("no panic").expect("a head");
        assert_eq!(body.is_err(), is_cut, "{media_type}: {body:?}");
    }
}

#[tokio::test]
async fn a_slow_body_may_take_longer_than_the_body_timeout() {
    let server = Server::bind().await;
    let limit = Duration::from_millis(400);
    let origin = with(&server.url(), |options| options.body_timeout = limit);
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await;
    let start = tokio::time::Instant::now();
    while start.elapsed() < limit * 3 / 2 {
        // Simulates a slow origin; the sleep waits for no event.
        tokio::time::sleep(limit / 8).await;
        peer.send("x").await;
    }
    assert_eq!(content(got.await.expect("no panic")), "x".repeat(12));
}

/// Regression test: an upload over a slow line took longer than the head timeout, and the client
/// received a 504.
#[tokio::test(start_paused = true)]
async fn the_head_timeout_starts_after_the_last_chunk_of_an_upload() {
    let server = Server::bind().await;
    let limit = Duration::from_secs(60);
    let origin = with(&server.url(), |options| options.head_timeout = limit);
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    for _ in 0..10 {
        tokio::time::sleep(limit / 2).await;
        chunks.send(Some(b"x")).await.expect("the client reads the chunk");
        let mut chunk = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut chunk).await.expect("a chunk");
    }
    chunks.send(None).await.expect("the client reads the chunk");
    peer.send(OK).await;
    assert_eq!(content(got.await.expect("no panic")), "ok");
}

#[tokio::test]
async fn a_cancelled_request_closes_its_connection() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    got.abort();
    peer.closed().await;

    // Dropping an endless body closes the connection instead of reading the rest.
    let response = {
        let origin = std::sync::Arc::clone(&origin);
        tokio::spawn(async move { origin.fetch(get("/")).await })
    };
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
    drop(response.await.expect("no panic").expect("a head"));
    while tokio::io::AsyncWriteExt::write_all(&mut peer.0, &[b'x'; 65536]).await.is_ok() {}
}

/// A refused connection and an unknown host are connect errors.
#[tokio::test]
async fn a_failed_connection_is_a_connect_error() {
    let port = Server::bind().await.0.local_addr().expect("a local address").port();
    for to in [format!("http://127.0.0.1:{port}"), "http://unknown.invalid".to_owned()] {
        let got = fetch(&origin(&to), get("/")).await;
        assert_eq!(kind(got), OriginErrorKind::Connect, "{to}");
    }
}

/// Regression test: a server that accepted connections and sent nothing blocked the TLS handshake
/// forever.
#[cfg(feature = "tls")]
#[tokio::test]
async fn the_connect_timeout_includes_the_tls_handshake() {
    let server = Server::bind().await;
    let address = server.0.local_addr().expect("a local address");
    let origin =
        with(&format!("https://{address}"), |options| options.connect_timeout = Duration::from_millis(50));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::Connect);
    peer.closed().await;
}
