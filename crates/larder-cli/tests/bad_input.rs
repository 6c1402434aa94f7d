//! Nothing a client or an origin sends makes the proxy panic, hang, grow, or answer one request with another's response.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    thread,
};

use larder_testkit::RawOrigin;
use process::{Proxy, content, field, status};

fn echo() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

/// Request smuggling: each is refused, and what hides behind it never reaches the origin or another's key.
#[test]
fn ambiguous_framing_is_refused() {
    let origin = echo();
    let mut proxy = Proxy::start(&origin.url(), &[]);
    let hidden = "GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n";
    for (name, head) in [
        (
            "both lengths",
            "POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
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
        let answer = proxy.raw(format!("{head}{hidden}").as_bytes());
        assert!((400..=501).contains(&status(&answer)), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: a second request was read: {answer}");
    }
    assert!(!origin.heads().iter().any(|head| head.contains("hidden")), "{:?}", origin.heads());
    assert!(proxy.is_alive());
    assert_eq!(content(&proxy.get("/hidden", "")), "GET /hidden HTTP/1.1");
}

/// A bare LF ends a line for some servers and not for others (RFC 9112 §2.2): what comes of it is the same for both.
#[test]
fn a_bare_lf_hides_nothing() {
    let origin = echo();
    let proxy = Proxy::start(&origin.url(), &[]);
    let answer = proxy.raw(b"GET /lf HTTP/1.1\nHost: example.com\nConnection: close\n\n");
    assert!(
        status(&answer) == 200 && content(&answer) == "GET /lf HTTP/1.1" || status(&answer) == 400,
        "{answer}"
    );
    for head in origin.heads() {
        assert!(
            head.lines().count() > 2 && !head.replace("\r\n", "").contains('\n'),
            "a bare LF was passed on: {head:?}"
        );
    }
}

#[test]
fn targets_and_hosts_that_are_not_clear_are_refused() {
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
        ("GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
        (
            "GET /h2c HTTP/1.1\r\nHost: example.com\r\nConnection: close, upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n",
            200,
        ),
    ] {
        let answer = proxy.raw(request.as_bytes());
        assert_eq!(status(&answer), expected, "{request:?}: {answer}");
    }
    assert!(!origin.heads().iter().any(|head| head.contains("evil")), "{:?}", origin.heads());
}

#[test]
fn what_is_too_large_is_a_clear_refusal() {
    let origin = echo();
    let mut proxy = Proxy::start(&origin.url(), &[]);
    let query = "a".repeat(1 << 20);
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X: {}\r\n", "a".repeat(200_000));
    for (name, request) in [
        ("a query of 1 MiB", format!("GET /?{query} HTTP/1.1\r\nHost: example.com\r\n\r\n")),
        ("10,000 fields", format!("GET / HTTP/1.1\r\nHost: example.com\r\n{many}\r\n")),
        ("a large field", format!("GET / HTTP/1.1\r\nHost: example.com\r\n{large}\r\n")),
    ] {
        let answer = proxy.raw(request.as_bytes());
        // The connection may be reset before what is left unread has been sent; never is it a 200.
        assert!(
            answer.is_empty() || (400..=431).contains(&status(&answer)),
            "{name}: {}",
            &answer[..answer.len().min(200)]
        );
    }
    assert!(origin.heads().is_empty(), "none of them is the origin's business");
    assert!(proxy.is_alive());
    assert_eq!(status(&proxy.get("/", "")), 200);
}

/// A 64 KiB field that fits passes, and is not stored as part of anything.
#[test]
fn a_field_of_64_kib_is_passed_on_or_refused() {
    let proxy = Proxy::start(&echo().url(), &[]);
    let answer = proxy.get("/", &format!("X: {}\r\n", "a".repeat(65_000)));
    assert!(matches!(status(&answer), 200 | 400..=431), "{answer}");
}

/// Truncated origin bodies are passed on as broken and never stored: short, a broken chunk, a reset.
#[test]
fn broken_bodies_are_broken_for_the_client_and_stored_for_nobody() {
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
            let answer = proxy.get("/", "");
            let whole = match field(&answer, "content-length") {
                Some(length) => content(&answer).len().to_string() == length,
                None => answer.ends_with("0\r\n\r\n"),
            };
            assert!(status(&answer) == 502 || !whole, "{name}: {answer}");
            assert_eq!(origin.heads().len(), round, "{name} was stored");
        }
    }
}

/// An origin that does not speak HTTP, or says things twice: 502, or a response of the right extent.
#[test]
fn nonsense_from_the_origin_is_502() {
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
        let answer = proxy.get("/", "");
        let stored = field(&answer, "cache-status").is_some_and(|how| how.contains("stored"));
        assert!(status(&answer) == 502 || !stored, "{name}: {answer}");
        assert!(proxy.is_alive(), "{name}");
    }
    // A coding that nobody knows: the content ends with the connection (RFC 9112 §6.3).
    let origin = RawOrigin::fixed(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: nonsense\r\n\r\nab",
    );
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        let answer = proxy.get("/", "");
        assert!(
            status(&answer) == 200 && answer.contains("\r\nab") && !answer.contains("nonsense"),
            "{answer}"
        );
    }
    // More than was announced: the surplus is not part of the response, nor of the next one.
    let origin = RawOrigin::fixed(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
    );
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(content(&proxy.get("/a", "")), "ab");
    assert_eq!(content(&proxy.get("/b", "")), "ab");
}

/// An origin that closes its idle connections must not cost a client an error.
#[test]
fn an_origin_that_closes_after_each_response_is_asked_again() {
    let origin =
        RawOrigin::fixed("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::start(&origin.url(), &[]);
    for n in 0..50 {
        let answer = proxy.get(&format!("/{n}"), "");
        assert_eq!((status(&answer), content(&answer)), (200, "ok"), "request {n}");
    }
}

/// A client that went away left 9,000 of 20,000 bytes in the store, served as whole.
#[test]
fn a_client_that_goes_away_leaves_no_half_entry() {
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
    let answer = proxy.get("/", "");
    assert_eq!(content(&answer).len(), 2_000_000);
}

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
        // "/warm" announces all and breaks off early, which is as good for getting warm.
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
        // Code and pools that the first requests bring in are not the body's.
        for n in 0..4 {
            drain(proxy.connect(), &format!("/warm/{n}"));
        }
        let before = proxy.memory("VmRSS");
        assert!(drain(proxy.connect(), path) >= 1 << 30, "{path} came whole");
        let grown = proxy.memory("VmHWM").saturating_sub(before);
        assert!(grown <= 16 * 1024, "{path}: {grown} KiB more");
    }
}

/// A thousand slow clients of one object of 10 MiB don't multiply it.
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
    // Each takes a little, and then nothing, while the others do the same.
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
    assert!(rest.join().expect("no panic").expect("it reads") >= 10 << 20, "and each gets the whole");
    assert_eq!(origin.heads().len(), 1);
}
