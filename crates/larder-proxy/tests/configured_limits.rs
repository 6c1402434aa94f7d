//! Each limit of a configuration, on real sockets, and the keys of routes for ranges and upgrades.
#![cfg(all(feature = "config", feature = "tls", unix))]

mod setting;

use std::{io::Write as _, thread, time::Duration};

use larder_testkit::RawOrigin;
use setting::{
    PATIENCE,
    client::{Trust, connect},
    frames::{RawClient, SETTINGS},
    header, read_response, read_to_end,
    running::{Running, origin},
    status, websocket,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const GET: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
const OPEN_GET: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Starts a proxy with these limits in front of an origin.
async fn start(limits: &str, origin: &RawOrigin) -> Running {
    let limits = limits.replace('\n', ", ");
    Running::start(&format!("limits = {{ {limits} }}\n[[route]]\norigins = \"{}\"", origin.url())).await
}

/// Sends bytes, and reads until the connection is closed.
async fn ask(proxy: &Running, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = proxy.connect(0).await;
    // The proxy may close the connection before everything is sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn limits_on_a_request() {
    let origin = origin("page");
    let limits = "max_header_bytes = \"8KiB\"\nmax_headers = 5\nmax_content = \"10\"";
    let proxy = start(limits, &origin).await;
    let with = |lines: &str| GET.replace("Host", &format!("{lines}Host"));
    let long = format!("X-Long: {}\r\n", "x".repeat(9000));
    let many: String = (0..5).map(|n| format!("X-{n}: 1\r\n")).collect();
    let post = |length: usize| {
        let content = "x".repeat(length);
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{content}"
        )
    };
    for (request, expected) in
        [(with(""), 200), (with(&long), 431), (with(&many), 431), (post(10), 200), (post(11), 413)]
    {
        assert_eq!(status(&ask(&proxy, &request).await), expected, "{request}");
    }
    // A reload applies the limit on content, and reports the others.
    let text = format!("limits = {{ max_content = \"11\" }}\n[[route]]\norigins = \"{}\"", origin.url());
    let changes = proxy.reload(&text);
    let expected = "changed: limits.max_content; limits.max_header_bytes, limits.max_headers need a restart";
    assert_eq!(changes, expected);
    assert_eq!(status(&ask(&proxy, post(11)).await), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_on_streams() {
    let origin = origin("page");
    let proxy = start("max_concurrent_streams = 7", &origin).await;
    let mut client = RawClient::start(proxy.connect(0).await, &[]).await;
    let settings = client.any().await.expect("settings");
    assert_eq!(settings.kind, SETTINGS);
    let streams = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit");
    assert_eq!(streams[2..], [0, 0, 0, 7]);
    drop(client);
    proxy.stop().await;
}

/// Sends a request on a connection that stays open.
async fn open(stream: &mut TcpStream) -> String {
    stream.write_all(OPEN_GET.as_bytes()).await.expect("open");
    read_response(stream).await
}

#[tokio::test]
async fn a_limit_on_all_connections() {
    let origin = origin("page");
    let proxy = start("max_connections = 1", &origin).await;
    let mut first = proxy.connect(0).await;
    assert_eq!(status(&open(&mut first).await), 200);
    let mut second = proxy.connect(0).await;
    second.write_all(GET.as_bytes()).await.expect("the system accepts");
    // The first one is served, and the second not, however often the worker had time for it.
    for _ in 0..20 {
        assert_eq!(status(&open(&mut first).await), 200);
    }
    let mut byte = [0];
    assert!(second.try_read(&mut byte).is_err(), "it waits");
    drop(first);
    assert_eq!(status(&read_to_end(&mut second).await), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_on_connections_of_one_client() {
    let origin = origin("page");
    let proxy = start("max_connections_per_client = 2", &origin).await;
    let (mut first, mut second) = (proxy.connect(0).await, proxy.connect(0).await);
    assert_eq!((status(&open(&mut first).await), status(&open(&mut second).await)), (200, 200));
    assert_eq!(ask(&proxy, GET).await, "", "closed at once");
    proxy.stop().await;
}

/// Connections that wait to be accepted: the worker has as many as it may have.
#[tokio::test]
async fn a_limit_on_connections_that_wait() {
    let (origin, folder) = (origin("page"), tempfile::tempdir().expect("a folder"));
    let socket = folder.path().join("larder.sock");
    let text = format!(
        "limits = {{ max_connections = 1, backlog = 2 }}\n[[listener]]\nlisten = \"unix:{}\"\n\
         [[route]]\norigins = \"{}\"",
        socket.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let mut first = proxy.connect(0).await;
    assert_eq!(status(&open(&mut first).await), 200);
    let mut waiting = Vec::new();
    let refused = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "the system lets more of them wait");
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    drop((first, waiting));
    proxy.stop().await;
}

#[tokio::test]
async fn timeouts_of_clients() {
    let origin = RawOrigin::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 30000000\r\n\r\n";
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&vec![b'x'; 30_000_000]).is_ok()
    });
    let limits = "request_timeout = \"200ms\"\ncontent_timeout = \"200ms\"\nsend_timeout = \"1s\"";
    let proxy = start(limits, &origin).await;
    assert_eq!(status(&ask(&proxy, "GET /page HTTP/1.1\r\n").await), 408);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nfive ";
    assert_eq!(status(&ask(&proxy, post).await), 408);
    // This client reads only after the proxy has given up.
    let mut slow = proxy.connect(0).await;
    slow.write_all(GET.as_bytes()).await.expect("it reads");
    let mut bytes = vec![0; 100];
    slow.read_exact(&mut bytes).await.expect("the beginning");
    let reset = timeout(PATIENCE, slow.ready(tokio::io::Interest::ERROR)).await;
    reset.expect("it is reset").expect("a state");
    let error = slow.read_to_end(&mut bytes).await.expect_err("it was cut");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_on_silence_after_an_upgrade() {
    let origin = websocket::accepting(|stream| {
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let proxy = start("upgrade_timeout = \"200ms\"", &origin).await;
    let mut stream = proxy.connect(0).await;
    stream.write_all(websocket::HANDSHAKE.as_bytes()).await.expect("it reads");
    websocket::switched(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "", "closed");
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_on_the_time_of_a_shutdown() {
    let origin = RawOrigin::start(|_, _| {
        thread::sleep(PATIENCE * 2);
        false
    });
    let proxy = start("shutdown_timeout = \"100ms\"", &origin).await;
    let mut stream = proxy.connect(0).await;
    stream.write_all(GET.as_bytes()).await.expect("it reads");
    while origin.heads().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    timeout(PATIENCE / 2, proxy.stop()).await.expect("the default is 30 s");
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn the_interval_between_checks_of_certificates() {
    let (origin, folder) = (origin("page"), tempfile::tempdir().expect("a folder"));
    let [cert, key] = ["pem", "key"].map(|name| folder.path().join(name));
    let [old, new] = [(); 2].map(|()| Trust::new(&["site.test"]));
    old.write([&cert, &key]);
    let text = format!(
        "tls = {{ cert = \"{}\", key = \"{}\" }}\nlimits = {{ certificate_interval = \"10ms\" }}\n\
         [[route]]\norigins = \"{}\"",
        cert.display(),
        key.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    connect(&[&old], proxy.connect(0).await, "site.test").await.expect("the first certificate");
    new.write([&cert, &key]);
    let renewed = async {
        while connect(&[&new], proxy.connect(0).await, "site.test").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the default is 60 s");
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_without_upgrades() {
    let origin = websocket::accepting(websocket::echo);
    let text = format!(
        "[[route]]\norigins = \"{0}\"\nupgrades = false\n[[route]]\nprefix = \"/chat\"\norigins = \"{0}\"",
        origin.url()
    );
    let proxy = Running::start(&text).await;
    assert_eq!(status(&ask(&proxy, websocket::HANDSHAKE.replace("/chat", "/other")).await), 501);
    let mut stream = proxy.connect(0).await;
    stream.write_all(websocket::HANDSHAKE.as_bytes()).await.expect("it reads");
    websocket::switched(&mut stream).await;
    drop(stream);
    proxy.stop().await;
}

/// A page that is compressed for each client: the second one gets it as it is. A reload applies.
#[cfg(feature = "compress")]
#[tokio::test]
async fn a_limit_on_encoders() {
    let origin = RawOrigin::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-type: text/plain\r\n";
        let part = "a line of a long page\n".repeat(1000);
        write!(stream, "{head}transfer-encoding: chunked\r\n\r\n").is_ok()
            && (0..1000).all(|_| write!(stream, "{:x}\r\n{part}\r\n", part.len()).is_ok())
            && stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let text = |count: usize| {
        format!(
            "compress = true\nlimits = {{ max_encoders = {count} }}\n[[route]]\norigins = \"{}\"",
            origin.url()
        )
    };
    let proxy = Running::start(&text(1)).await;
    // These read nothing behind the head.
    let head = async || {
        let mut stream = proxy.connect(0).await;
        let request = OPEN_GET.replace("Host", "Accept-Encoding: gzip\r\nHost");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(stream.read_u8().await.expect("a head")));
        }
        (head.contains("content-encoding: gzip"), stream)
    };
    let (first, second) = (head().await, head().await);
    assert_eq!((first.0, second.0), (true, false));
    assert_eq!(proxy.reload(&text(2)), "changed: limits.max_encoders");
    let (third, fourth, fifth) = (head().await, head().await, head().await);
    assert_eq!((third.0, fourth.0, fifth.0), (true, true, false));
    drop((first, second, third, fourth, fifth));
    proxy.handle.close();
    proxy.stop().await;
}

/// Sends a request for a range, and returns the range of the request to the origin.
async fn forwarded_range(proxy: &Running, origin: &RawOrigin, path: &str, range: &str) -> Option<String> {
    let request = GET.replace("/page", path).replace("Host", &format!("Range: bytes={range}\r\nHost"));
    let response = ask(proxy, request).await;
    assert_eq!(status(&response), 206, "{response}");
    let head = origin.heads().pop().expect("a request").to_ascii_lowercase();
    header(&format!("{head}\r\n\r\n"), "range").map(str::to_owned)
}

#[tokio::test]
async fn ranges_of_a_route() {
    const LENGTH: usize = 300_000;
    let origin = RawOrigin::start(|head, stream| {
        let head = head.to_ascii_lowercase();
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let fields = "cache-control: max-age=60\r\netag: \"1\"\r\ncontent-length";
        let response = match range.and_then(|range| range.split_once('-')) {
            Some((start, end)) => {
                let start: usize = start.parse().expect("a number");
                let end = end.parse::<usize>().map_or(LENGTH, |end| end + 1).min(LENGTH);
                let (length, last) = (end - start, end - 1);
                let range = format!("content-range: bytes {start}-{last}/{LENGTH}");
                format!("HTTP/1.1 206 Partial\r\n{range}\r\n{fields}: {length}\r\n\r\n{}", "x".repeat(length))
            }
            None => format!("HTTP/1.1 200 OK\r\n{fields}: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH)),
        };
        stream.write_all(response.as_bytes()).is_ok()
    });
    let route = |prefix: &str, ranges: &str| {
        format!("[[route]]\nprefix = \"{prefix}\"\norigins = \"{}\"\nranges = {{ {ranges} }}\n", origin.url())
    };
    let text = [
        route("/", ""),
        route("/never", "whole_limit = \"0\""),
        route("/slices", "whole_limit = \"1KiB\", slice = \"64KiB\""),
    ];
    let proxy = Running::start(&text.concat()).await;
    for (path, expected) in
        [("/whole", None), ("/never", Some("bytes=70000-70009")), ("/slices", Some("bytes=65536-131071"))]
    {
        let first = forwarded_range(&proxy, &origin, path, "0-9").await;
        assert_eq!(first.as_deref(), Some("bytes=0-9"));
        let second = forwarded_range(&proxy, &origin, path, "70000-70009").await;
        assert_eq!(second.as_deref(), expected, "{path}");
    }
    proxy.stop().await;
}
