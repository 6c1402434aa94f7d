//! Connections: reused, gone stale, broken, too slow, given up.

mod setting;

use std::time::Duration;

use larder_core::{Body, Origin as _, OriginErrorKind};
use setting::{Server, content, fetch, get, kind, origin, request, sending, upload, with};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again() {
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
    assert!(server.is_alone().await);
}

/// An origin with a short keep-alive closes just as a request comes in on the connection: its client got a 502.
#[tokio::test]
async fn a_request_that_met_a_closing_connection_is_sent_again() {
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
            assert_eq!(peer.head().await.expect("it is sent again"), lost);
            peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(content(second.await.expect("no panic")), "", "{method}, reset: {reset}");
        }
    }
}

/// What may have happened must not happen twice (RFC 9110 §9.2.2), and what was sent on a new connection has
/// failed for another reason.
#[tokio::test]
async fn other_requests_are_not_sent_again() {
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
        assert!(server.is_alone().await, "{method} was sent again");
    }
}

/// Closed while nobody used it: noticed, and not even a POST is lost on it.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    for n in 0..20 {
        let got = sending(&origin, request("POST", &format!("/{n}"), Body::from("x")));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send(OK).await;
        assert_eq!(content(got.await.expect("no panic")), "ok", "request {n}");
        tokio::io::AsyncWriteExt::shutdown(&mut peer.0).await.expect("it closes");
        // The other side has seen it when it closes, too.
        peer.closed().await;
    }
}

/// 413 and the like: the origin answers before it has read the content, and closes.
#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_passed_on() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    chunks.send(Some(b"some")).await.expect("it is taken");
    peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    let (head, body) = got.await.expect("no panic").expect("a response");
    assert_eq!((head.status.as_u16(), &*body.expect("whole")), (413, &b"no"[..]));
    drop(peer);
    // The rest of the content is not waited for.
    while chunks.send(Some(b"more")).await.is_ok() {}
}

#[tokio::test]
async fn interim_responses_are_not_the_answer() {
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

/// The client broke off its upload: that is not the origin's fault, and the origin does not take it for whole.
#[tokio::test]
async fn a_request_body_that_fails_is_the_clients_failure() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    let head = peer.head().await.expect("a request");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    chunks.send(Some(b"some")).await.expect("it is taken");
    drop(chunks);
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::RequestBody);
    let mut received = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer.0, &mut received).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "{received:?}");
}

#[tokio::test]
async fn the_length_of_a_request_is_its_bodys() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    for (method, body, expected) in [
        ("POST", Body::from("12345"), Some("content-length: 5")),
        ("PUT", Body::stream(Body::from("12345")), Some("content-length: 5")),
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

/// Each wait has its limit. Time is the paused clock's, which goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn a_silent_origin_is_a_timeout() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.head_timeout = Duration::from_secs(7));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::Timeout(Duration::from_secs(7)));
    // It was given up, and nothing holds on to the connection.
    peer.closed().await;
}

#[tokio::test]
async fn a_pause_within_a_body_is_an_error_and_never_an_end() {
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

/// A body that flows, slowly, is not cut: the limit is for each pause.
#[tokio::test]
async fn a_body_may_take_longer_than_each_pause() {
    let server = Server::bind().await;
    let limit = Duration::from_millis(400);
    let origin = with(&server.url(), |options| options.body_timeout = limit);
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").await;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < limit * 3 / 2 {
        // Spends time, as a slow origin does; nothing is waited for.
        tokio::time::sleep(limit / 8).await;
        peer.send("x").await;
    }
    assert_eq!(content(got.await.expect("no panic")), "x".repeat(12));
}

/// A long upload over a slow line took longer than the origin may take to answer, and was a 504.
#[tokio::test(start_paused = true)]
async fn an_upload_that_moves_is_not_a_silent_origin() {
    let server = Server::bind().await;
    let limit = Duration::from_secs(60);
    let origin = with(&server.url(), |options| options.head_timeout = limit);
    let (chunks, body) = upload();
    let got = sending(&origin, request("POST", "/", body));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    for _ in 0..10 {
        tokio::time::sleep(limit / 2).await;
        chunks.send(Some(b"x")).await.expect("it is taken");
        let mut chunk = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut chunk).await.expect("a chunk");
    }
    chunks.send(None).await.expect("it is taken");
    peer.send(OK).await;
    assert_eq!(content(got.await.expect("no panic")), "ok");
}

#[tokio::test]
async fn what_is_given_up_is_closed() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    got.abort();
    peer.closed().await;

    // A body without end that nobody reads is not read to its end.
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

/// Refused, and unknown: there was no connection.
#[tokio::test]
async fn no_connection_is_an_error_of_its_own() {
    let port = Server::bind().await.0.local_addr().expect("it listens").port();
    for to in [format!("http://127.0.0.1:{port}"), "http://nobody.invalid".to_owned()] {
        let got = fetch(&origin(&to), get("/")).await;
        assert_eq!(kind(got), OriginErrorKind::Connect, "{to}");
    }
}

/// A server that takes connections and says nothing kept a TLS handshake waiting for ever.
#[cfg(feature = "tls")]
#[tokio::test]
async fn a_handshake_is_part_of_connecting() {
    let server = Server::bind().await;
    let address = server.0.local_addr().expect("it listens");
    let origin =
        with(&format!("https://{address}"), |options| options.connect_timeout = Duration::from_millis(50));
    let got = sending(&origin, get("/"));
    let mut peer = server.accept().await;
    assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::Connect);
    peer.closed().await;
}
