//! Invalid input from clients and origins: the proxy does not panic, hang or grow, and never mixes
//! up responses.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    thread,
};

use larder_testkit::RawOrigin;
use process::{Proxy, content, header, status};

/// Starts an origin that answers with the request line.
fn echo() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let response = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        stream.write_all(response.as_bytes()).is_ok()
    })
}

/// Request smuggling: each request is rejected. The request behind it reaches neither the origin
/// nor another key.
#[test]
fn ambiguous_framing_is_rejected() {
    let origin = echo();
    let mut proxy = Proxy::start(&origin.url(), &[]);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n";
    for (name, head) in [
        (
            "two lengths",
            "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
        ),
        ("a list of lengths", "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0, 9\r\n\r\n"),
        ("a signed length", "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: +0\r\n\r\n"),
        (
            "an odd coding",
            "POST /a HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked not last",
            "POST /a HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "white space before the colon",
            "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length : 0\r\n\r\n",
        ),
        ("a folded line", "GET /a HTTP/1.1\r\nHost: example.com\r\nX: a\r\n b\r\n\r\n"),
        ("NUL", "GET /a HTTP/1.1\r\nHost: example.com\r\nX: a\0b\r\n\r\n"),
        ("NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        ("a bare CR", "GET /a HTTP/1.1\r\nHost: example.com\r\nX: a\rY: b\r\n\r\n"),
    ] {
        let response = proxy.raw(format!("{head}{hidden}").as_bytes());
        assert!((400..=501).contains(&status(&response)), "{name}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{name}: a second request was read: {response}");
    }
    assert!(!origin.heads().iter().any(|head| head.contains("hidden")), "{:?}", origin.heads());
    assert!(proxy.is_alive());
    assert_eq!(content(&proxy.get("/hidden", "")), "GET /hidden HTTP/1.1");
}

/// Of two lengths the chunks count, and nothing behind them is read (RFC 9112 §6.1). The origin
/// gets one of them.
#[test]
fn chunks_with_a_length_end_the_connection() {
    let origin = echo();
    let proxy = Proxy::start(&origin.url(), &[]);
    for lengths in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 48\r\nTransfer-Encoding: chunked",
    ] {
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: example.com\r\n{lengths}\r\n\r\n0\r\n\r\n\
             GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n"
        );
        let response = proxy.raw(request.as_bytes());
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{lengths}: {response}");
    }
    let heads = origin.heads().join("\n").to_lowercase();
    assert!(!heads.contains("hidden") && !heads.contains("content-length: 5"), "{heads}");
    assert!(!heads.contains("content-length: 48"), "{heads}");
}

/// A bare LF ends a line for some servers and not for others (RFC 9112 §2.2). The proxy
/// rejects the request, or forwards it with CRLF at the end of every line.
#[test]
fn a_bare_lf_hides_nothing() {
    let origin = echo();
    let proxy = Proxy::start(&origin.url(), &[]);
    let response = proxy.raw(b"GET /lf HTTP/1.1\nHost: example.com\nConnection: close\n\n");
    assert!(
        status(&response) == 200 && content(&response) == "GET /lf HTTP/1.1" || status(&response) == 400,
        "{response}"
    );
    for head in origin.heads() {
        assert!(
            head.lines().count() > 2 && !head.replace("\r\n", "").contains('\n'),
            "a bare LF was forwarded: {head:?}"
        );
    }
}

#[test]
fn ambiguous_targets_and_hosts_are_rejected() {
    let origin = echo();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@a\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 400),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 400),
        ("GET http://example.com/ok HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 200),
        ("GET http://example.com:80/ok HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 200),
        ("GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 400),
        ("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 501),
        ("TRACE / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 501),
        ("PURGE / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", 405),
        (
            "GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n",
            200,
        ),
        (
            "GET /h2c HTTP/1.1\r\nHost: example.com\r\nConnection: close, upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n",
            200,
        ),
    ] {
        let response = proxy.raw(request.as_bytes());
        assert_eq!(status(&response), expected, "{request:?}: {response}");
    }
    assert!(!origin.heads().iter().any(|head| head.contains("evil")), "{:?}", origin.heads());
}

#[test]
fn oversized_requests_are_rejected() {
    let origin = echo();
    let mut proxy = Proxy::start(&origin.url(), &[]);
    let query = "a".repeat(1 << 20);
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X: {}\r\n", "a".repeat(200_000));
    for (name, request) in [
        ("a query of 1 MiB", format!("GET /?{query} HTTP/1.1\r\nHost: example.com\r\n\r\n")),
        ("10,000 headers", format!("GET / HTTP/1.1\r\nHost: example.com\r\n{many}\r\n")),
        ("a large header", format!("GET / HTTP/1.1\r\nHost: example.com\r\n{large}\r\n")),
    ] {
        let response = proxy.raw(request.as_bytes());
        // The connection may be reset before the whole request has been sent. The status is never
        // 200.
        assert!(
            response.is_empty() || (400..=431).contains(&status(&response)),
            "{name}: {}",
            &response[..response.len().min(200)]
        );
    }
    assert!(origin.heads().is_empty(), "none of them reached the origin");
    assert!(proxy.is_alive());
    assert_eq!(status(&proxy.get("/", "")), 200);
}

/// A header of 64 KiB is forwarded or rejected.
#[test]
fn a_header_of_64_kib_is_forwarded_or_rejected() {
    let proxy = Proxy::start(&echo().url(), &[]);
    let response = proxy.get("/", &format!("X: {}\r\n", "a".repeat(65_000)));
    assert!(matches!(status(&response), 200 | 400..=431), "{response}");
}

/// An incomplete body from the origin is incomplete for the client, too, and is never stored.
#[test]
fn incomplete_bodies_are_never_stored() {
    for (name, bytes) in [
        ("a short body", "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nhalf"),
        (
            "no last chunk",
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ),
        (
            "a broken chunk",
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        ),
    ] {
        let origin = RawOrigin::fixed(bytes);
        let proxy = Proxy::start(&origin.url(), &[]);
        for round in 1..=2 {
            let response = proxy.get("/", "");
            let whole = match header(&response, "content-length") {
                Some(length) => content(&response).len().to_string() == length,
                None => response.ends_with("0\r\n\r\n"),
            };
            assert!(status(&response) == 502 || !whole, "{name}: {response}");
            assert_eq!(origin.heads().len(), round, "{name} was stored");
        }
    }
}

/// The origin sends something that is not HTTP, or two lengths: the client gets 502, or a response
/// that is not stored.
#[test]
fn invalid_responses_from_the_origin_are_502() {
    for (name, bytes) in [
        ("no HTTP", "hello\r\n\r\n"),
        ("nothing", ""),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 1\r\n\r\na"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\na"),
        (
            "switching protocols",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
    ] {
        let origin = RawOrigin::fixed(bytes);
        let mut proxy = Proxy::start(&origin.url(), &[]);
        let response = proxy.get("/", "");
        let stored = header(&response, "cache-status").is_some_and(|how| how.contains("stored"));
        assert!(status(&response) == 502 || !stored, "{name}: {response}");
        assert!(proxy.is_alive(), "{name}");
    }
    // An unknown transfer coding: the body ends with the connection (RFC 9112 §6.3).
    let origin = RawOrigin::fixed(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: nonsense\r\n\r\nab",
    );
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        let response = proxy.get("/", "");
        assert!(
            status(&response) == 200 && response.contains("\r\nab") && !response.contains("nonsense"),
            "{response}"
        );
    }
    // More bytes than Content-Length: they belong neither to this response nor to the next one.
    let origin = RawOrigin::fixed(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
    );
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(content(&proxy.get("/a", "")), "ab");
    assert_eq!(content(&proxy.get("/b", "")), "ab");
}

/// A client gets no error because the origin has closed an idle connection.
#[test]
fn an_origin_may_close_its_connection_after_each_response() {
    let origin =
        RawOrigin::fixed("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::start(&origin.url(), &[]);
    for n in 0..50 {
        let response = proxy.get(&format!("/{n}"), "");
        assert_eq!((status(&response), content(&response)), (200, "ok"), "request {n}");
    }
}

/// A client disconnected after 9,000 of 20,000 bytes, and the store then served these as a complete
/// response.
#[test]
fn a_client_that_disconnects_leaves_no_incomplete_entry() {
    let origin = RawOrigin::start(|_, stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2000000\r\n\r\n");
        (0..20).all(|_| stream.write_all(&[b'x'; 100_000]).is_ok())
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..5 {
        let mut stream = proxy.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").expect("it listens");
        let mut some = [0; 9000];
        stream.read_exact(&mut some).expect("the beginning");
    }
    let response = proxy.get("/", "");
    assert_eq!(content(&response).len(), 2_000_000);
}

/// Starts an origin with bodies of `length` bytes, chunked for `/chunked`.
fn origin_of(length: u64) -> RawOrigin {
    RawOrigin::start(move |head, stream| {
        let chunked = head.contains("/chunked");
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {length}")
        };
        let _ = stream.write_all(
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}\r\n\r\n").as_bytes(),
        );
        let chunk = vec![b'x'; 1 << 20];
        // "/warm" announces the whole length, but ends early: that suffices to warm up the proxy.
        let chunks = if head.contains("/warm") { 4 } else { length >> 20 };
        for _ in 0..chunks {
            let written = if chunked {
                stream
                    .write_all(b"100000\r\n")
                    .and_then(|()| stream.write_all(&chunk))
                    .and_then(|()| stream.write_all(b"\r\n"))
            } else {
                stream.write_all(&chunk)
            };
            if written.is_err() {
                return false;
            }
        }
        chunks == length >> 20 && (!chunked || stream.write_all(b"0\r\n\r\n").is_ok())
    })
}

/// Requests a path and reads the response. Returns its length in bytes.
fn drain(mut stream: TcpStream, path: &str) -> u64 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        read += length as u64;
    }
    read
}

/// 1 GiB, announced or not, adds at most 16 MiB to resident memory.
#[test]
fn a_gibibyte_passes_in_bounded_memory() {
    let origin = origin_of(1 << 30);
    for path in ["/sized", "/chunked"] {
        let proxy = Proxy::start(&origin.url(), &[]);
        // The first requests load code and fill pools. That memory does not count.
        for n in 0..4 {
            drain(proxy.connect(), &format!("/warm/{n}"));
        }
        let before = proxy.memory("VmRSS");
        assert!(drain(proxy.connect(), path) >= 1 << 30, "{path} came whole");
        let grown = proxy.memory("VmHWM").saturating_sub(before);
        assert!(grown <= 16 * 1024, "{path}: {grown} KiB more");
    }
}

/// A thousand slow clients of a body of 10 MiB share it in memory.
#[test]
fn a_thousand_slow_clients_share_one_object() {
    let origin = origin_of(10 << 20);
    let proxy = Arc::new(Proxy::start(&origin.url(), &[]));
    assert!(drain(proxy.connect(), "/") >= 10 << 20);
    let before = proxy.memory("VmRSS");
    let slow: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = proxy.connect();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
                .expect("it listens");
            stream
        })
        .collect();
    // Each client reads 1,000 bytes and then pauses.
    let slow: Vec<_> = slow
        .into_iter()
        .map(|mut stream| {
            stream.read_exact(&mut [0; 1000]).expect("the beginning");
            stream
        })
        .collect();
    let grown = proxy.memory("VmHWM").saturating_sub(before);
    assert!(grown <= 300 * 1024, "{grown} KiB for a thousand clients of 10 MiB");
    let last = slow.into_iter().next_back().expect("a thousand");
    let rest = thread::spawn(move || {
        let mut last = last;
        let mut rest = Vec::new();
        last.read_to_end(&mut rest).map(|read| read as u64 + 1000)
    });
    assert!(
        rest.join().expect("no panic").expect("it reads") >= 10 << 20,
        "a slow client gets the whole body"
    );
    assert_eq!(origin.heads().len(), 1);
}
