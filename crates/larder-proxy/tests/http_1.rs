//! HTTP/1 byte by byte: heads, pipelining, versions, expectations, and the timeouts of a
//! connection.
#![cfg(feature = "tls")]

mod setting;

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use larder_core::Body;
use larder_testkit::{FnOrigin, ManualOrigin, RawOrigin};
use setting::{Protocol, Setup, header, read_response, read_to_end, status, storable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Returns a setup for HTTP/1.1.
fn setup() -> Setup {
    Setup::new(Protocol::Http1)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Returns an origin that responds with the path.
fn echo() -> Arc<FnOrigin> {
    FnOrigin::new(|_, request| Ok(storable(request.uri().path().to_owned())))
}

/// A field name of 65,536 bytes ended the worker's thread.
#[tokio::test]
async fn a_field_name_of_any_length_never_panics() {
    let proxy = setup().server(|options| options.with_max_header_bytes(1 << 20)).with(echo());
    for length in [65_535, 65_536, 100_000, 1 << 21] {
        let name = "a".repeat(length);
        let request = format!("GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{name}: 1\r\n\r\n");
        let response = proxy.raw(request).await;
        assert!([200, 431].contains(&status(&response)), "{length}: {response:?}");
        assert!(length <= 65_535 || status(&response) == 431, "{length}: {response:?}");
        assert_eq!(proxy.get("/").await.status, 200, "after a name of {length} bytes");
    }
}

/// After one response, a client sent one byte and kept the connection for ever.
#[tokio::test]
async fn each_head_has_its_own_time() {
    let limit = Duration::from_millis(300);
    let proxy = setup()
        .server(|options| options.with_request_timeout(limit).with_keep_alive(Duration::from_secs(3600)))
        .with(echo());
    let mut later = proxy.tcp().await;
    later.write_all(GET.as_bytes()).await.expect("it reads");
    assert_eq!(status(&read_response(&mut later).await), 200);
    later.write_all(b"G").await.expect("it reads");
    let response = read_to_end(&mut later).await;
    assert_eq!((status(&response), header(&response, "connection")), (408, Some("close")));

    let mut first = proxy.tcp().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("it reads");
    assert_eq!(status(&read_to_end(&mut first).await), 408);

    let mut silent = proxy.tcp().await;
    assert_eq!(read_to_end(&mut silent).await, "", "a connection without a request has no response");
}

/// A client that opens a TLS connection and sends nothing, or half a record.
#[tokio::test]
async fn a_tls_handshake_has_a_time() {
    let proxy = Setup::new(Protocol::Http1Tls)
        .server(|options| options.with_request_timeout(Duration::from_millis(300)))
        .with(echo());
    assert_eq!(proxy.raw("").await, "");
    assert_eq!(proxy.raw([22, 3, 1, 2, 0, 1]).await, "");
}

/// A byte now and then does not extend the time for a head.
#[tokio::test]
async fn a_trickling_head_is_cut() {
    let limit = Duration::from_millis(500);
    let proxy = setup().server(|options| options.with_request_timeout(limit)).with(echo());
    let mut stream = proxy.tcp().await;
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        writer.write_all(b"GET / HTTP/1.1\r\n").await.expect("it reads");
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if writer.write_all(b"a: b\r\n").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = trickle => {}
        response = read_to_end(&mut reader) => assert_eq!(status(&response), 408),
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let keep_alive = Duration::from_millis(300);
    let proxy = setup().server(|options| options.with_keep_alive(keep_alive)).with(echo());
    let mut stream = proxy.tcp().await;
    for _ in 0..2 {
        stream.write_all(GET.as_bytes()).await.expect("it reads");
        assert_eq!(status(&read_response(&mut stream).await), 200);
    }
    assert_eq!(read_to_end(&mut stream).await, "", "closed without a response");

    let proxy = setup().server(|options| options.with_keep_alive(Duration::ZERO)).with(echo());
    let mut stream = proxy.tcp().await;
    stream.write_all(GET.as_bytes()).await.expect("it reads");
    assert_eq!(header(&read_to_end(&mut stream).await, "connection"), Some("close"));
}

/// Requests behind `Connection: close` are not answered (RFC 9112 §9.6).
#[tokio::test]
async fn nothing_is_answered_behind_the_last_request() {
    let origin = echo();
    let proxy = setup().with(Arc::clone(&origin) as _);
    let last = "GET /last HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
    let responses = proxy.raw(format!("{GET}{last}{GET}{GET}")).await;
    assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 2, "{responses}");
    assert_eq!(origin.count(), 2);
}

/// Requests that had arrived behind the last one made the system reset the connection, and the
/// client lost the rest of the response.
#[tokio::test]
async fn requests_behind_the_last_one_do_not_cut_its_response() {
    let long = Bytes::from(vec![b'x'; 2_000_000]);
    let origin = FnOrigin::new(move |_, _| Ok(storable(long.clone())));
    let proxy = setup().server(|options| options.with_keep_alive(Duration::ZERO)).with(origin);
    assert_eq!(proxy.get("/").await.status, 200);
    for behind in [100, 1000, 4000] {
        let (mut reader, mut writer) = proxy.tcp().await.into_split();
        writer.write_all(GET.repeat(behind).as_bytes()).await.expect("it has room");
        let mut response = Vec::new();
        reader.read_to_end(&mut response).await.expect("no reset");
        assert!(response.len() > 2_000_000, "{behind}: {} bytes", response.len());
    }
}

/// One slow request, and thousands behind it: they stay in the network until they are answered.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = setup().with(origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: site.test\r\n\r\n").await.expect("it reads");
    let slow = requests.next().await;
    let (mut reader, mut writer) = stream.split();
    let many: String = (0..5000)
        .map(|_| "GET /next HTTP/1.1\r\nHost: site.test\r\n\r\n")
        .chain(["GET /next HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"])
        .collect();
    let reading = async {
        slow.respond(200, &[("cache-control", "max-age=60")], b"slow");
        requests.next().await.respond(200, &[("cache-control", "max-age=60")], b"next");
        read_to_end(&mut reader).await
    };
    let writing = async { writer.write_all(many.as_bytes()).await };
    let (responses, written) = tokio::join!(reading, writing);
    written.expect("everything is read");
    assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 5002);
    assert!(responses.find("slow") < responses.find("next"));
}

/// A client of HTTP/1.0 got chunks, and one without `Host` a 400.
#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let (origin, mut requests) = ManualOrigin::new();
    let proxy = setup().with(origin);
    let asking = proxy.raw("GET / HTTP/1.0\r\n\r\n");
    let answering = async {
        let body = requests.next().await.respond_streaming(200, &[], None);
        for chunk in ["one ", "and two"] {
            assert!(body.chunk(chunk).await);
        }
        body.end().await;
    };
    let (response, ()) = tokio::join!(asking, answering);
    assert!(response.starts_with("HTTP/1.0 200") || response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(header(&response, "transfer-encoding"), None, "{response}");
    assert!(response.ends_with("\r\n\r\none and two"), "{response}");
}

/// 100 is sent when the origin's connection reads the content, and not with a rejection.
#[tokio::test]
async fn an_expectation_is_answered_once() {
    let origin = RawOrigin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = setup().proxy(|options| options.with_max_content(10)).in_front_of(&origin);
    let head = |length: u32| {
        format!(
            "POST / HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let mut stream = proxy.tcp().await;
    stream.write_all(head(5).as_bytes()).await.expect("it reads");
    assert_eq!(read_response(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("it reads");
    assert_eq!(status(&read_to_end(&mut stream).await), 200);
    assert!(!origin.heads()[0].to_lowercase().contains("expect"), "{:?}", origin.heads());

    let rejected = proxy.raw(head(11)).await;
    assert!(status(&rejected) == 413 && !rejected.contains("100 Continue"), "{rejected}");
    assert_eq!(origin.heads().len(), 1);
}

/// A client that owed content counted against the health of the origin: the origin's time ran.
#[tokio::test]
async fn the_clients_time_is_not_the_origins() {
    let origin = RawOrigin::start(|head, stream| {
        if head.starts_with("POST") {
            return stream.read(&mut [0]).is_ok_and(|read| read > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let mut setup = setup().proxy(|options| options.with_content_timeout(Duration::from_secs(1)));
    setup.limits = larder_core::Limits::default().with_origin_timeout(Duration::from_millis(100));
    let proxy = setup.in_front_of(&origin);
    let request = "POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100\r\n\r\nhello";
    let response = proxy.raw(request).await;
    assert_eq!((status(&response), header(&response, "connection")), (408, Some("close")), "{response}");
    assert_eq!(header(&response, "cache-status"), Some("larder; detail=request-body-failed"));
}

/// A client of IPv4 on a listener of IPv6 has its own address in what the origin sees.
#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_listener_has_its_own_address() {
    let origin = FnOrigin::new(|_, request| {
        let clients = request.headers()["x-forwarded-for"].to_str().expect("text").to_owned();
        Ok(Response::new(Body::from(clients)))
    });
    let mut setup = setup();
    setup.listen = "[::]:0".parse().expect("an address");
    let mut proxy = setup.with(origin);
    proxy.address = (setting::LOCALHOST, proxy.address.port()).into();
    assert_eq!(proxy.get("/").await.text(), "127.0.0.1");
}

#[tokio::test]
async fn tunnels_are_rejected() {
    let proxy = setup().with(echo());
    let response = proxy.raw("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&response), 501);
}

/// Connections of one client beyond its limit are closed, and room is made by closing one.
#[tokio::test]
async fn a_client_has_a_limited_number_of_connections() {
    let proxy = setup().server(|options| options.with_max_connections_per_client(2)).with(echo());
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = proxy.tcp().await;
        stream.write_all(GET.as_bytes()).await.expect("it reads");
        assert_eq!(status(&read_response(&mut stream).await), 200);
        kept.push(stream);
    }
    assert_eq!(proxy.raw(GET).await, "", "the third is closed");
    let mut closing = kept.pop().expect("a connection");
    closing.shutdown().await.expect("it closes");
    read_to_end(&mut closing).await;
    let mut again = proxy.tcp().await;
    again.write_all(GET.as_bytes()).await.expect("it reads");
    let mut byte = [0];
    while again.read(&mut byte).await.unwrap_or(0) == 0 {
        again = proxy.tcp().await;
        let _ = again.write_all(GET.as_bytes()).await;
    }
    assert_eq!(byte, *b"H");
}

/// Connections that come faster than they are served wait, and none is refused.
#[tokio::test]
async fn many_connections_in_a_row_are_all_served() {
    let proxy = setup().server(|options| options.with_max_connections(50)).with(echo());
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(tokio::spawn(proxy_get(proxy.address)));
    }
    for stream in streams {
        assert_eq!(status(&stream.await.expect("no panic")), 200);
    }
}

/// Sends a request on a connection of its own.
async fn proxy_get(address: std::net::SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it accepts");
    let request = "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it reads");
    read_to_end(&mut stream).await
}

/// All of a long rejected request is still being sent: the client gets the response all the same.
#[tokio::test]
async fn a_rejection_reaches_a_client_that_still_sends() {
    let proxy = setup().proxy(|options| options.with_max_content(10)).with(echo());
    for _ in 0..20 {
        let mut request = b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 500000\r\n\r\n".to_vec();
        request.extend(vec![b'x'; 500_000]);
        assert_eq!(status(&proxy.raw(request).await), 413);
    }
}

/// After an early response, the rest of the content is read: the client gets the response, and the
/// connection is either closed in order or goes on (RFC 9112 §9.6).
#[tokio::test]
async fn an_early_response_reaches_a_client_that_still_sends() {
    for closes in [true, false] {
        let origin = RawOrigin::start(move |head, stream| {
            if head.starts_with("GET") {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").is_ok();
            }
            let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(refused).expect("it reads");
            !closes && std::io::copy(&mut stream.take(500_000), &mut std::io::sink()).is_ok()
        });
        let proxy = setup().in_front_of(&origin);
        let mut stream = proxy.tcp().await;
        let head = "POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}5\r\nhello\r\n").as_bytes()).await.expect("it reads");
        let early = read_response(&mut stream).await;
        assert_eq!((status(&early), early.ends_with("\r\n\r\nno")), (403, true), "{early}");
        let rest = [b"7A11B\r\n", &vec![b'x'; 0x7a11b][..], b"\r\n0\r\n\r\n", GET.as_bytes()].concat();
        stream.write_all(&rest).await.expect("no reset");
        let mut after = Vec::new();
        let mut next = [0; 4096];
        while !after.ends_with(b"next") {
            match stream.read(&mut next).await.expect("no reset") {
                0 => break,
                length => after.extend_from_slice(&next[..length]),
            }
        }
        assert!(after.is_empty() || status(&String::from_utf8_lossy(&after)) == 200, "closes: {closes}");
        assert_eq!(proxy.get("/").await.text(), "next");
    }
}
