//! Several listeners of one server, each of its own kind: TCP, Unix sockets, TLS, the PROXY
//! protocol, redirections to HTTPS.
#![cfg(all(feature = "tls", unix))]

mod setting;

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use larder_core::Origin;
use larder_proxy::{HttpsRedirect, ListenAddress, ListenerOptions, ServerOptions};
use larder_testkit::{FnOrigin, ManualOrigin};
use setting::{Protocol, Proxy, Setup, client::Trust, header, read_response, read_to_end, status};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

const GET: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

/// Returns an origin that responds with the target of the request and the client that it is for.
fn echo() -> Arc<dyn Origin> {
    FnOrigin::new(|_, request| {
        let client = request.headers().get("x-forwarded-for").map(|value| value.to_str().expect("text"));
        Ok(Response::new(format!("{} for {}", request.uri(), client.unwrap_or("none")).into()))
    })
}

fn tcp() -> ListenerOptions {
    ListenerOptions::tcp(([127, 0, 0, 1], 0).into())
}

/// Sends bytes, and returns the content of the response, or all that has come without one.
async fn content(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: impl AsRef<[u8]>) -> String {
    // The proxy may close the connection before everything is sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    let response = read_to_end(&mut stream).await;
    response.split_once("\r\n\r\n").map_or(response.clone(), |(_, content)| content.to_owned())
}

impl Proxy {
    async fn connect(&self, position: usize) -> TcpStream {
        TcpStream::connect(self.address_of(position)).await.expect("it listens")
    }
}

/// Creates a header of version 2 of the PROXY protocol for an IPv4 client.
fn version_2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 12 + 7]);
    header.extend(client);
    header.extend([127, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb]);
    header.extend([4, 0, 4, 1, 2, 3, 4]);
    header
}

#[tokio::test]
async fn each_listener_has_its_own_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let trust = Trust::new(&["site.test"]);
    let mut proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_workers(2))
        .listener(tcp().with_certificates(trust.certificates()))
        .listener(ListenerOptions::unix(&path).with_unix_mode(0o600))
        .with(echo());
    assert_eq!(content(proxy.connect(0).await, GET).await, "http://site.test/page for 127.0.0.1");
    let secure = trust.connect(proxy.connect(1).await, "site.test").await.expect("a handshake");
    assert_eq!(content(secure, GET).await, "https://site.test/page for 127.0.0.1");
    assert_eq!(proxy.addresses[2], ListenAddress::Unix(path.clone()));
    assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    for _ in 0..20 {
        let local = UnixStream::connect(&path).await.expect("it listens");
        assert_eq!(content(local, GET).await, "http://site.test/page for 127.0.0.1");
    }
    proxy.handle.shutdown();
    proxy.join();
    assert!(!path.exists(), "the file is removed");
}

/// A stopped server answers what has begun, also on a Unix socket, and a successor has the rest.
#[tokio::test]
async fn a_successor_takes_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let unix = || ListenerOptions::unix(&path).with_take_over(true);
    let setup = || Setup::new(Protocol::Http1).listener(unix());
    let (origin, mut requests) = ManualOrigin::new();
    let mut first = setup().with(origin);
    let early = UnixStream::connect(&path).await.expect("the first listens");
    let asking = tokio::spawn(content(early, GET));
    let received = requests.next().await;
    let second = setup().with(echo());
    first.handle.shutdown();
    let late = UnixStream::connect(&path).await.expect("the second listens");
    assert_eq!(content(late, GET).await, "http://site.test/page for 127.0.0.1");
    received.respond(200, &[], b"from the first");
    assert_eq!(asking.await.expect("no panic"), "from the first");
    first.join();
    assert!(path.exists(), "the file of the second stays");
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_proxy_protocol_states_the_client() {
    let trust = Trust::new(&["site.test"]);
    let senders = || "127.0.0.0/8".parse().expect("a network");
    let proxy = Setup::new(Protocol::Http1)
        .listener(tcp().with_proxy_protocol(senders()))
        .listener(tcp().with_proxy_protocol(senders()).with_certificates(trust.certificates()))
        .with(echo());
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
    for (name, preamble, client) in [
        ("version 1", line.as_bytes().to_vec(), "192.0.2.7"),
        ("IPv6", b"PROXY TCP6 2001:db8::7 ::1 1 443\r\n".to_vec(), "2001:db8::7"),
        ("mapped", b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443\r\n".to_vec(), "192.0.2.7"),
        ("UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ("version 2 with a TLV", version_2(0x21, [192, 0, 2, 8]), "192.0.2.8"),
        ("LOCAL", version_2(0x20, [192, 0, 2, 8]), "127.0.0.1"),
    ] {
        let expected = |scheme: &str| format!("{scheme}://site.test/page for {client}");
        let at_once = [&*preamble, GET.as_bytes()].concat();
        assert_eq!(content(proxy.connect(1).await, at_once).await, expected("http"), "{name}");
        // Each byte in a packet of its own.
        let mut split = proxy.connect(1).await;
        split.set_nodelay(true).expect("no delay");
        for byte in &preamble {
            split.write_u8(*byte).await.expect("it reads");
            tokio::task::yield_now().await;
        }
        assert_eq!(content(split, GET).await, expected("http"), "{name}, split");
        let mut tcp = proxy.connect(2).await;
        tcp.write_all(&preamble).await.expect("it reads");
        let secure = trust.connect(tcp, "site.test").await.expect("a handshake");
        assert_eq!(content(secure, GET).await, expected("https"), "{name}, over TLS");
    }
}

/// Without this, any client could choose the address that the log and the origin see.
#[tokio::test]
async fn the_proxy_protocol_is_for_trusted_proxies_and_never_optional() {
    let proxy = Setup::new(Protocol::Http1)
        .listener(tcp().with_proxy_protocol("127.0.0.0/8".parse().expect("a network")))
        .listener(tcp().with_proxy_protocol("192.0.2.0/24".parse().expect("a network")))
        .with(echo());
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
    let with_line = format!("{line}{GET}");
    assert_eq!(content(proxy.connect(1).await, GET).await, "", "without a header");
    assert_eq!(content(proxy.connect(2).await, &with_line).await, "", "from another network");
    assert_eq!(content(proxy.connect(1).await, format!("{line}{with_line}")).await.len(), 0, "twice");
    let too_long = format!("PROXY UNKNOWN {}\r\n{GET}", "x".repeat(100));
    assert_eq!(content(proxy.connect(1).await, too_long).await, "", "too long");
    let response = content(proxy.connect(0).await, &with_line).await;
    assert!(!response.contains("192.0.2.7"), "a listener without the protocol: {response}");
    // Those that send nothing are closed without a request.
    let mut silent = proxy.connect(1).await;
    silent.write_all(b"PROXY TC").await.expect("it reads");
    assert_eq!(read_to_end(&mut silent).await, "");
}

/// One client opened as many connections to each worker as it was allowed to have.
#[tokio::test]
async fn a_client_has_one_limit_for_all_workers() {
    let proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_workers(4).with_max_connections_per_client(3))
        .proxy(|options| options.with_trusted_proxies("192.0.2.1".parse().expect("an address")))
        .listener(tcp().with_proxy_protocol("127.0.0.0/8".parse().expect("a network")))
        .with(echo());
    let open = async |position: usize, preamble: &str| {
        let mut stream = proxy.connect(position).await;
        let request = format!("{preamble}GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut byte = [0];
        (stream.read(&mut byte).await.unwrap_or(0) == 1).then_some(stream)
    };
    let from = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 1 443\r\n");
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(open(0, "").await.expect("within the limit"));
        kept.push(open(1, &from("192.0.2.7")).await.expect("another client"));
    }
    for _ in 0..8 {
        assert!(open(0, "").await.is_none(), "the client of the connection");
        assert!(open(1, &from("192.0.2.7")).await.is_none(), "the client in the header");
        kept.push(open(1, &from("192.0.2.1")).await.expect("a trusted proxy has no limit"));
    }
}

#[tokio::test]
async fn a_listener_redirects_to_https() {
    let redirect = HttpsRedirect::default;
    let permanent = redirect().with_status(StatusCode::MOVED_PERMANENTLY).with_port(8443);
    let proxy = Setup::new(Protocol::Http1)
        .proxy(|options| options.with_trusted_proxies("127.0.0.2".parse().expect("an address")))
        .listener(tcp().with_redirect(redirect().with_acme_challenges(true)))
        .listener(tcp().with_redirect(permanent))
        .listener(tcp().with_redirect(redirect().with_host("www.site.test").with_status(StatusCode::OK)))
        .with(echo());
    let secure = |path: &str| format!("https://site.test{path}");
    for (listener, request, code, location) in [
        (1, "GET /a?b=c HTTP/1.1\r\nHost: site.test", 308, Some(secure("/a?b=c"))),
        (1, "POST /a HTTP/1.1\r\nHost: Site.Test:80\r\nContent-Length: 1", 308, Some(secure("/a"))),
        (1, "GET /a HTTP/1.1\r\nHost: [2001:db8::1]:80", 308, Some("https://[2001:db8::1]/a".to_owned())),
        (1, "GET http://site.test/a HTTP/1.1\r\nHost: site.test", 308, Some(secure("/a"))),
        (1, "GET //evil.test/ HTTP/1.1\r\nHost: site.test", 308, Some(secure("//evil.test/"))),
        (1, "OPTIONS * HTTP/1.1\r\nHost: site.test", 308, Some(secure("/"))),
        (1, "GET /a HTTP/1.1\r\nHost: site.test/evil", 400, None),
        (1, "GET /a HTTP/1.1\r\nHost: site.test@evil", 400, None),
        (1, "GET /a HTTP/1.1\r\nHost: site.test\r\nHost: evil.test", 400, None),
        (1, "GET /a HTTP/1.1\r\nX-Forwarded-Host: evil.test", 400, None),
        (1, "GET /a HTTP/1.0", 400, None),
        (1, "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: site.test", 200, None),
        (1, "GET /.well-known/acme-challenge/../../a HTTP/1.1\r\nHost: site.test", 308, Some(secure("/a"))),
        (2, "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: site.test", 301, {
            Some("https://site.test:8443/.well-known/acme-challenge/token".to_owned())
        }),
        (3, "GET /a HTTP/1.0", 308, Some("https://www.site.test/a".to_owned())),
        (3, "GET /a HTTP/1.1\r\nHost: other.test:8080", 308, Some("https://www.site.test/a".to_owned())),
        (0, "GET /a HTTP/1.1\r\nHost: site.test", 200, None),
    ] {
        let mut stream = proxy.connect(listener).await;
        let bytes = format!("{request}\r\nConnection: close\r\n\r\n");
        stream.write_all(bytes.as_bytes()).await.expect("it reads");
        stream.write_all(b"x").await.expect("it reads");
        let response = read_to_end(&mut stream).await;
        assert_eq!(
            (status(&response), header(&response, "location")),
            (code, location.as_deref()),
            "{request}"
        );
    }
}

/// Behind a load balancer that ends TLS, a redirection of every request would never end.
#[tokio::test]
async fn a_request_that_came_over_https_is_not_redirected() {
    let proxy = Setup::new(Protocol::Http1)
        .proxy(|options| options.with_trusted_proxies("127.0.0.1".parse().expect("an address")))
        .listener(tcp().with_redirect(HttpsRedirect::default()))
        .with(echo());
    let request =
        |proto: &str| format!("GET /a HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
    for (proto, code) in [("https", 200), ("http", 308)] {
        let mut stream = proxy.connect(1).await;
        stream.write_all(request(proto).as_bytes()).await.expect("it reads");
        assert_eq!(status(&read_response(&mut stream).await), code, "{proto}");
    }
}

#[test]
fn listeners_that_could_not_serve_are_errors() {
    let server = || larder_proxy::ProxyServer::new(ServerOptions::default());
    let listening = server().listen(tcp()).expect("a free port");
    let address = listening.local_addr().expect("an address");
    listening.listen(ListenerOptions::tcp(address).with_take_over(true)).expect_err("twice");
    for options in [
        tcp().with_proxy_protocol("".parse().expect("no network")),
        tcp().with_redirect(HttpsRedirect::default().with_host("https://site.test")),
        ListenerOptions::unix("/no/such/folder/proxy.sock"),
        ListenerOptions::unix("x".repeat(200)),
    ] {
        server().listen(options.clone()).expect_err(&format!("{options:?}"));
    }
}

/// A service manager opens the socket, and keeps it when the proxy restarts.
#[tokio::test]
async fn an_inherited_socket_outlives_the_server() {
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = inherited.local_addr().expect("an address");
    for _ in 0..2 {
        let cache = larder_core::Cache::builder(Arc::new(larder_memory::MemoryStore::default())).build();
        let options = ServerOptions::default().with_workers(2).with_signals(false);
        let server = larder_proxy::ProxyServer::new(options)
            .adopt(inherited.try_clone().expect("a descriptor").into(), tcp())
            .expect("it listens");
        assert_eq!(server.local_addr().expect("an address"), address);
        let make = move || larder_proxy::ReverseProxy::new(cache.clone(), echo(), Default::default());
        let running = server.run(make).expect("sockets");
        let handle = running.handle();
        let serving = tokio::spawn(running.serve());
        let stream = TcpStream::connect(address).await.expect("it listens");
        assert_eq!(content(stream, GET).await, "http://site.test/page for 127.0.0.1");
        handle.shutdown();
        serving.await.expect("no panic").expect("it ends");
    }
    // Between two servers, clients wait.
    let _waiting = TcpStream::connect(address).await.expect("it still listens");
    let not_listening = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    larder_proxy::ProxyServer::new(ServerOptions::default())
        .adopt(not_listening.into(), tcp())
        .expect_err("it does not listen");
}

/// Idle connections of HTTP/1 were closed while their next request was on its way.
#[tokio::test]
async fn a_request_on_its_way_at_a_shutdown_is_answered() {
    let mut proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_shutdown_timeout(Duration::from_secs(3600)))
        .with(echo());
    let mut idle = proxy.tcp().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.expect("it reads");
    assert_eq!(status(&read_response(&mut idle).await), 200);
    let mut unused = proxy.tcp().await;
    // It is accepted once one that was opened after it is.
    assert_eq!(proxy.get("/").await.status, 200);
    proxy.handle.shutdown();
    for stream in [&mut idle, &mut unused] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.expect("it reads");
        let response = read_to_end(stream).await;
        assert_eq!((status(&response), header(&response, "connection")), (200, Some("close")), "{response}");
    }
    proxy.join();
}
