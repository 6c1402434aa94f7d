//! Requests to switch protocols: WebSocket through the proxy, and what is not passed.
#![cfg(feature = "tls")]

mod setting;

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use larder_proxy::{Access, AccessLog};
use larder_testkit::{FnOrigin, RawOrigin};
use setting::{
    Protocol, Setup, header, read_response, read_to_end, status,
    websocket::{ACCEPTED, GET, HANDSHAKE, HELLO, MASKED_HELLO, accepting, echo, expect, switched},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// WebSocket got a 501.
#[tokio::test]
async fn a_websocket_works_with_tls_and_without() {
    for protocol in [Protocol::Http1, Protocol::Http1Tls] {
        let origin = accepting(|stream| {
            let mut frame = [0; 11];
            while stream.read_exact(&mut frame).is_ok() {
                assert_eq!(frame, MASKED_HELLO);
                stream.write_all(&HELLO).expect("it reads");
            }
        });
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut stream = proxy.open().await;
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
        let head = switched(&mut stream).await;
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(header(&head, "cache-status"), Some("larder; fwd=bypass; fwd-status=101; detail=upgrade"));
        assert_eq!((header(&head, "content-length"), header(&head, "keep-alive")), (None, None), "{head}");
        for _ in 0..3 {
            stream.write_all(&MASKED_HELLO).await.expect("it reads");
            stream.flush().await.expect("it reads");
            expect(&mut stream, &HELLO).await;
        }
        let [head] = &origin.heads()[..] else { panic!("one request") };
        assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(header(head, name), Some(value), "{head}");
        }
    }
}

/// Clients that need no answer to begin, and origins that speak first.
#[tokio::test]
async fn bytes_directly_behind_the_heads_arrive() {
    for protocol in [Protocol::Http1, Protocol::Http1Tls] {
        let origin = RawOrigin::start(|_, stream| {
            stream.write_all(format!("{ACCEPTED}first").as_bytes()).expect("it reads");
            echo(stream);
            false
        });
        let proxy = Setup::new(protocol).in_front_of(&origin);
        let mut stream = proxy.open().await;
        let early = vec![b'e'; 10_000];
        stream.write_all(&[HANDSHAKE.as_bytes(), &early].concat()).await.expect("it reads");
        switched(&mut stream).await;
        expect(&mut stream, b"first").await;
        expect(&mut stream, &early).await;
        stream.write_all(b"late").await.expect("it reads");
        expect(&mut stream, b"late").await;
    }
}

/// An origin that does not switch: the connection goes on with HTTP, also what was sent behind.
#[tokio::test]
async fn an_origin_may_decline() {
    let origin = RawOrigin::start(|_, stream| {
        let page = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage";
        stream.write_all(page).is_ok()
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all([HANDSHAKE, HANDSHAKE, GET].concat().as_bytes()).await.expect("it reads");
    for _ in 0..2 {
        let declined = read_response(&mut stream).await;
        assert_eq!(status(&declined), 200, "{declined}");
        let how = header(&declined, "cache-status");
        assert_eq!(how, Some("larder; fwd=bypass; fwd-status=200; detail=upgrade"), "{declined}");
        assert_eq!(header(&declined, "upgrade"), None, "{declined}");
        assert!(declined.ends_with("page"), "{declined}");
    }
    let page = read_response(&mut stream).await;
    let how = header(&page, "cache-status");
    assert_eq!(how, Some("larder; fwd=uri-miss; fwd-status=200; stored"), "nothing was stored before");
    assert_eq!(origin.heads().len(), 3);
    // What is stored is no answer to a request to switch.
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    assert_eq!(status(&read_response(&mut stream).await), 200);
    assert_eq!(origin.heads().len(), 4);
}

/// Other requests for the URL are looked up, collapsed and stored as if there were no WebSocket.
#[tokio::test]
async fn requests_for_the_same_url_are_unaffected() {
    let (held, release) = mpsc::channel::<()>();
    let (release, asked) = (Mutex::new(release), Arc::new(tokio::sync::Notify::new()));
    let arrived = Arc::clone(&asked);
    let origin = RawOrigin::start(move |head, stream| {
        if head.contains("websocket") {
            arrived.notify_one();
            let _ = release.lock().expect("no panic").recv();
            stream.write_all(ACCEPTED.as_bytes()).expect("it reads");
            echo(stream);
            return false;
        }
        let page = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage";
        stream.write_all(page).is_ok()
    });
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    asked.notified().await;
    assert_eq!(proxy.get("/chat?room=1").await.how(), "larder; fwd=uri-miss; fwd-status=200; stored");
    held.send(()).expect("the origin waits");
    switched(&mut stream).await;
    let hit = proxy.get("/chat?room=1").await;
    assert!(hit.how().starts_with("larder; hit"), "{hit:?}");
    stream.write_all(b"open").await.expect("it reads");
    expect(&mut stream, b"open").await;
}

/// Each of these is a request of HTTP like any other, and the origin sees no `Upgrade`.
#[tokio::test]
async fn what_is_no_upgrade_is_a_normal_request() {
    let origin = accepting(echo);
    let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
    for (number, (method, version, fields, content)) in [
        ("GET", "1.1", "Connection: upgrade\r\n", ""),
        ("GET", "1.1", "Upgrade: websocket\r\n", ""),
        ("GET", "1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", ""),
        ("GET", "1.1", "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", ""),
        ("GET", "1.1", "Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0\r\n", ""),
        ("GET", "1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n", "hi"),
        ("GET", "1.1", "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("POST", "1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n", "hi"),
        ("HEAD", "1.1", "Connection: upgrade\r\nUpgrade: websocket\r\n", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let request =
            format!("{method} /{number} HTTP/{version}\r\nHost: site.test\r\n{fields}\r\n{content}");
        let mut stream = proxy.tcp().await;
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let response = read_response_to(method, &mut stream).await;
        assert_eq!(status(&response), 200, "{request}{response}");
    }
    for head in origin.heads() {
        assert_eq!((header(&head, "upgrade"), header(&head, "http2-settings")), (None, None), "{head}");
    }
}

async fn read_response_to(method: &str, stream: &mut tokio::net::TcpStream) -> String {
    if method != "HEAD" {
        return read_response(stream).await;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(setting::PATIENCE, stream.read_u8()).await.expect("an answer").expect("open"));
    }
    String::from_utf8(head).expect("text")
}

/// A switch to a protocol that the client has not named would give its connection away.
#[tokio::test]
async fn another_switch_is_a_bad_gateway() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nEVIL";
    let silent = "HTTP/1.1 101 Switching Protocols\r\n\r\nEVIL";
    for (response, request) in [(other, HANDSHAKE), (silent, HANDSHAKE), (ACCEPTED, GET), (other, GET)] {
        let origin = RawOrigin::fixed(response);
        let proxy = Setup::new(Protocol::Http1).in_front_of(&origin);
        let mut stream = proxy.tcp().await;
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let received = read_response(&mut stream).await;
        assert_eq!(status(&received), 502, "{response}{received}");
        assert!(!received.contains("EVIL"), "{received}");
    }
}

#[tokio::test]
async fn a_route_may_switch_it_off() {
    let origin = accepting(echo);
    let mut setup = Setup::new(Protocol::Http1);
    setup.upgrades = false;
    let proxy = setup.in_front_of(&origin);
    let response = proxy.raw(HANDSHAKE).await;
    assert_eq!((status(&response), header(&response, "connection")), (501, Some("close")), "{response}");
    assert_eq!(
        status(&proxy.raw(HANDSHAKE.replace("websocket", "h2c").replace("keep-alive", "close")).await),
        200
    );
    assert_eq!(origin.heads().len(), 1);
}

/// Keeps what was reported.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(u16, u64, bool, String)>>);

impl AccessLog for Log {
    fn on_response_end(&self, access: &Access<'_>) {
        let entry = (access.status, access.bytes, access.complete, access.cache_status.to_owned());
        self.0.lock().expect("no panic").push(entry);
    }
}

/// The access log reports the connection when it has ended, with what the origin has sent.
#[tokio::test]
async fn the_access_log_reports_its_end() {
    let origin = accepting(echo);
    let log = Arc::<Log>::default();
    let shared = Arc::clone(&log);
    let proxy =
        Setup::new(Protocol::Http1).proxy(|options| options.with_access_log(shared)).in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    switched(&mut stream).await;
    stream.write_all(b"seven b").await.expect("it reads");
    expect(&mut stream, b"seven b").await;
    assert!(log.0.lock().expect("no panic").is_empty(), "it has not ended");
    stream.shutdown().await.expect("it closes");
    assert_eq!(read_to_end(&mut stream).await, "");
    while log.0.lock().expect("no panic").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let how = "larder; fwd=bypass; fwd-status=101; detail=upgrade".to_owned();
    assert_eq!(*log.0.lock().expect("no panic"), [(101, 7, true, how)]);
}

/// After a request with `Upgrade`, hyper left the connection to be closed by its user: the client
/// got no `close_notify`, and could lose the end of the response.
#[tokio::test]
async fn a_connection_that_did_not_switch_is_closed_in_order() {
    let long = bytes::Bytes::from(vec![b'x'; 2_000_000]);
    let copy = long.clone();
    let origin = FnOrigin::new(move |_, _| Ok(setting::storable(copy.clone())));
    let proxy = Setup::new(Protocol::Http1Tls).with(origin);
    for upgrade in ["h2c", "websocket"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade, close\r\nUpgrade: {upgrade}\r\n\r\n"
        );
        let (mut reader, mut writer) = tokio::io::split(proxy.open().await);
        let behind = GET.repeat(1000);
        writer.write_all((request + &behind).as_bytes()).await.expect("it has room");
        let mut response = Vec::new();
        timeout(setting::PATIENCE, reader.read_to_end(&mut response))
            .await
            .expect("in time")
            .expect("an orderly end");
        assert!(response.ends_with(&long), "{upgrade}: {} bytes", response.len());
    }
}

/// Without keep-alive, the response has `close` beside `upgrade`, and the connection switches.
#[tokio::test]
async fn it_needs_no_keep_alive() {
    let origin = accepting(echo);
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_keep_alive(Duration::ZERO))
        .in_front_of(&origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it reads");
    let head = switched(&mut stream).await;
    assert!(header(&head, "connection").is_some_and(|options| options.contains("upgrade")), "{head}");
    stream.write_all(b"open").await.expect("it reads");
    expect(&mut stream, b"open").await;
}
