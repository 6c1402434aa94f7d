//! Framing of responses, correct and broken: a body never has the wrong length without an error.

mod setting;

use larder_core::OriginErrorKind::Protocol;
use setting::{Got, Server, content, fetch, get, kind, origin, request, sending};

/// Sends a request with this method to a server that sends these bytes and closes.
async fn response_to(method: &str, bytes: &[u8]) -> Got {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let got = sending(&origin, request(method, "/", larder_core::Body::empty()));
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send(bytes).await;
    drop(peer);
    got.await.expect("no panic")
}

#[tokio::test]
async fn a_malformed_head_is_an_error() {
    for (name, bytes) in [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("HTTP/0.9", "<h1>hello</h1>"),
        ("another version", "HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("NUL in a name", "HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 0\r\n\r\n"),
        ("a bare CR", "HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 0\r\n\r\n"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("a folded length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\nhello"),
        ("no colon", "HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 0\r\n\r\n"),
        ("white space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab"),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab"),
        ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab"),
        ("a length in hex", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab"),
        ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nab"),
        ("a length that overflows", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nab"),
        ("the greatest length", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nab"),
        ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ] {
        assert_eq!(kind(response_to("GET", bytes.as_bytes()).await), Protocol, "{name}");
    }
}

/// These codings change the content or its end, and this client does not decode them.
#[tokio::test]
async fn a_transfer_coding_that_would_be_left_in_the_content_is_an_error() {
    for coding in [
        "gzip, chunked",
        "gzip",
        "x-gzip",
        "deflate, chunked",
        "compress",
        "chunked, identity",
        "chunked, chunked",
        "chunked;a=b",
        "xchunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity, chunked, gzip",
        "\u{b}chunked",
        "chunked chunked",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        assert_eq!(kind(response_to("GET", bytes.as_bytes()).await), Protocol, "{coding:?}");
    }
}

#[tokio::test]
async fn an_unusual_but_unambiguous_response_is_read() {
    for (name, bytes, expected) in [
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\nab", "ab"),
        ("no length", "HTTP/1.1 200 OK\r\n\r\nab", "ab"),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nab", "ab"),
        (
            "the same length twice",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            "ab",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\n\r\n",
            "ab",
        ),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n",
            "ab",
        ),
        ("no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", "ab"),
        (
            "interim responses",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
             Content-Length: 2\r\n\r\nab",
            "ab",
        ),
        ("more than announced", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", "ab"),
        ("content of a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab", ""),
        ("content of a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nab", ""),
    ] {
        assert_eq!(content(response_to("GET", bytes.as_bytes()).await), expected, "{name}");
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(content(response_to("HEAD", head).await), "", "content of a response to HEAD");
}

/// RFC 9112 §6.3: the returned head has one length, or none if the body was chunked.
#[tokio::test]
async fn at_most_one_length_is_left_in_the_head() {
    for (name, method, bytes, expected) in [
        (
            "both lengths",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            &[][..],
        ),
        (
            "the same twice",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            &["2"],
        ),
        ("a list of the same", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", &["2"]),
        ("one", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", &["2"]),
        ("of a HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", &["7"]),
        ("two of a HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n", &[]),
        ("nonsense of a HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\n", &[]),
        ("nonsense of a 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7, 8\r\n\r\n", &[]),
    ] {
        let (head, body) = response_to(method, bytes.as_bytes()).await.expect(name);
        body.expect("whole");
        let lengths: Vec<_> = head.headers.get_all("content-length").iter().collect();
        assert_eq!(lengths, expected, "{name}");
    }
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    for (name, bytes) in [
        ("short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        ("no body data", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf"),
        ("no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("half a last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n"),
        ("no size of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"),
        ("a signed size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nhalf\r\n0\r\n\r\n"),
        (
            "a size that overflows",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf0000000000000003\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "longer than its chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhalf\r\n0\r\n\r\n",
        ),
    ] {
        let (_, body) = response_to("GET", bytes.as_bytes()).await.expect(name);
        assert!(body.is_err(), "{name}: {body:?}");
    }
}

/// A body that ends with its connection ends with an orderly close, not with a reset.
#[tokio::test]
async fn a_reset_is_not_the_end_of_a_body() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    let response = tokio::spawn(async move {
        use larder_core::Origin as _;
        origin.fetch(get("/")).await
    });
    let mut peer = server.accept().await;
    peer.head().await.expect("a request");
    peer.send("HTTP/1.1 200 OK\r\n\r\nhalf").await;
    let mut response = response.await.expect("no panic").expect("a head");
    let chunk = response.body_mut().chunk().await.expect("not the end").expect("a chunk");
    assert_eq!(chunk, "half");
    peer.reset();
    let next = response.body_mut().chunk().await;
    assert!(next.as_ref().is_some_and(Result::is_err), "{next:?}");
}

/// The number of headers and the size of the head are limited.
#[tokio::test]
async fn a_head_that_is_too_large_is_an_error() {
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "a".repeat(1 << 20));
    let endless = "a".repeat(1 << 20);
    for (name, bytes) in [
        ("many fields", format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n")),
        ("a long field", format!("HTTP/1.1 200 OK\r\n{long}Content-Length: 0\r\n\r\n")),
        ("a field without end", format!("HTTP/1.1 200 OK\r\nX: {endless}")),
        ("a reason without end", format!("HTTP/1.1 200 {endless}")),
    ] {
        let server = Server::bind().await;
        let origin = setting::origin(&server.url());
        let got = sending(&origin, get("/"));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        // The client rejects the head and closes before all of it is written.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.0, bytes.as_bytes()).await;
        assert_eq!(kind(got.await.expect("no panic")), Protocol, "{name}");
        peer.closed().await;
    }
}

/// 90 headers are within the default limit, and `max_headers` changes the limit.
#[tokio::test]
async fn max_headers_limits_the_number_of_headers() {
    for (fields, most, passes) in [(90, None, true), (300, Some(400), true), (300, Some(200), false)] {
        let server = Server::bind().await;
        let origin = setting::with(&server.url(), |options| {
            if let Some(most) = most {
                options.max_headers = most;
            }
        });
        let got = sending(&origin, get("/"));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        let many: String = (0..fields - 1).map(|n| format!("X-{n}: 1\r\n")).collect();
        peer.send(format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n")).await;
        assert_eq!(got.await.expect("no panic").is_ok(), passes, "{fields} of {most:?}");
    }
}

/// Surplus bytes after a response are not the start of the next, even if they look like a response.
#[tokio::test]
async fn surplus_bytes_are_not_the_next_response() {
    let server = Server::bind().await;
    let origin = origin(&server.url());
    for n in 0..20 {
        let got = sending(&origin, get(&format!("/{n}")));
        // The connection with the surplus is not reused: each request opens another one.
        let mut peer = server.accept().await;
        assert!(peer.head().await.expect("a request").starts_with(&format!("GET /{n} ")));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
        assert_eq!(content(got.await.expect("no panic")), "ab");
        peer.closed().await;
    }
    for (method, bytes) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\npoison"),
    ] {
        let got = sending(&origin, request(method, "/", larder_core::Body::empty()));
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send(bytes).await;
        assert_eq!(content(got.await.expect("no panic")), "");
        peer.closed().await;
    }
    let got = fetch(&setting::origin("http://127.0.0.1:1"), get("/")).await;
    assert_eq!(kind(got), larder_core::OriginErrorKind::Connect);
}
