//! Requests that switch the protocol of their connection: the connection, its place in the pool,
//! and the wrappers of origins.

mod setting;

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use larder_core::{Body, Origin, OriginError, OriginErrorKind, Upgrade, Upgraded};
use larder_origin::{
    Balance, Failover, FailoverOptions, HeaderRewrite, HeaderRules, Health, HyperOptions, HyperOrigin,
};
use setting::{Server, content, fetch, get, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";

/// Creates a request to switch to `x`, as a proxy sends it.
fn switching() -> Request<Body> {
    let asked = Request::get("/").header("connection", "upgrade").header("upgrade", "x").body(());
    let upgrade = Upgrade::of(&asked.expect("a request").into_parts().0).expect("an upgrade");
    let mut request = get("/socket");
    request.extensions_mut().insert(upgrade);
    request
}

/// Sends the request, and returns the connection.
async fn switch(origin: &dyn Origin) -> Result<(Response<Body>, Option<Upgraded>), OriginError> {
    let mut response = origin.fetch(switching()).await?;
    let connection = Upgraded::detach(&mut response);
    Ok((response, connection))
}

/// The connection is a new one, holds its place among those to the server, and never returns.
#[tokio::test]
async fn a_connection_that_has_switched_leaves_the_pool() {
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| {
        options.max_connections = 1;
        options.max_waiting = 0;
    });
    let (got, mut first) = tokio::join!(fetch(&origin, get("/")), async {
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer
    });
    assert_eq!(content(got), "ok");
    let (switched, mut peer) = tokio::join!(switch(&*origin), async {
        let mut peer = server.accept().await;
        let head = peer.head().await.expect("a request").to_lowercase();
        assert!(
            head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: x\r\n"),
            "{head}"
        );
        peer.send(format!("{ACCEPTED}early")).await;
        peer
    });
    let (response, connection) = switched.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut connection = connection.expect("it has switched");
    let mut early = [0; 5];
    connection.read_exact(&mut early).await.expect("open");
    assert_eq!(&early, b"early");
    connection.write_all(b"not HTTP").await.expect("open");
    let mut bytes = [0; 8];
    peer.0.read_exact(&mut bytes).await.expect("open");
    assert_eq!(&bytes, b"not HTTP");
    assert_eq!(setting::kind(fetch(&origin, get("/")).await), OriginErrorKind::Busy);
    drop(connection);
    peer.closed().await;
    let (got, ()) = tokio::join!(fetch(&origin, get("/")), async {
        first.head().await.expect("the idle connection");
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain").await;
    });
    assert_eq!(content(got), "again");
}

/// An answer of HTTP leaves the connection to the pool.
#[tokio::test]
async fn a_connection_that_has_not_switched_is_used_again() {
    let server = Server::bind().await;
    let origin = setting::origin(&server.url());
    let (declined, mut peer) = tokio::join!(switch(&*origin), async {
        let mut peer = server.accept().await;
        peer.head().await.expect("a request");
        peer.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nno!").await;
        peer
    });
    let (response, connection) = declined.expect("a response");
    assert_eq!((response.status(), connection.is_none()), (StatusCode::UPGRADE_REQUIRED, true));
    assert_eq!(setting::read(response.into_body()).await.expect("whole"), b"no!");
    let (got, ()) = tokio::join!(fetch(&origin, get("/")), async {
        let head = peer.head().await.expect("the same connection").to_lowercase();
        assert!(!head.contains("upgrade"), "{head}");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    });
    assert_eq!(content(got), "ok");
}

#[tokio::test]
async fn another_protocol_is_an_error() {
    for response in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x, y\r\nConnection: upgrade\r\n\r\n",
    ] {
        let server = Server::bind().await;
        let origin = setting::origin(&server.url());
        let (switched, mut peer) = tokio::join!(switch(&*origin), async {
            let mut peer = server.accept().await;
            peer.head().await.expect("a request");
            peer.send(response).await;
            peer
        });
        assert_eq!(switched.expect_err("another protocol").kind(), OriginErrorKind::Protocol, "{response}");
        peer.closed().await;
    }
    let server = Server::bind().await;
    let origin = with(&server.url(), |options| options.http2_only = true);
    assert_eq!(switch(&*origin).await.expect_err("HTTP/2 only").kind(), OriginErrorKind::Connect);
}

/// A request to switch is sent to one origin, once, and the connection counts as its load.
#[tokio::test]
async fn a_failover_switches_one_origin() {
    let closed = Server::bind().await.url();
    let server = Server::bind().await;
    let origins = |urls: [&str; 2]| urls.map(|url| setting::origin(url) as Arc<dyn Origin>).to_vec();
    let failover = |urls: [&str; 2], balance| {
        let options = FailoverOptions::default().with_balance(balance);
        Failover::new(origins(urls), Health::new(urls), options)
    };
    let url = server.url();
    let first = failover([&closed, &url], Balance::First);
    assert_eq!(switch(&first).await.expect_err("no second attempt").kind(), OriginErrorKind::Connect);
    assert!(!server.has_pending_connection().await);

    let other = Server::bind().await;
    let least: Arc<dyn Origin> = Arc::new(failover([&url, &other.url()], Balance::LeastConnections));
    let rules = HeaderRules::default().with_set([(header::SERVER, HeaderValue::from_static("edge"))]);
    let rewritten = HeaderRewrite::new(Arc::clone(&least), HeaderRules::default(), rules);
    let mut held = Vec::new();
    for server in [&server, &other] {
        let (switched, peer) = tokio::join!(switch(&rewritten), async {
            let mut peer = server.accept().await;
            peer.head().await.expect("a request");
            peer.send(ACCEPTED).await;
            peer
        });
        let (response, connection) = switched.expect("a response");
        assert_eq!(response.headers()["server"], "edge");
        held.push((connection.expect("it has switched"), peer));
    }
    // The first one is without load again; without the count, it would be the second one's turn.
    drop(held.remove(0));
    let _ = held;
    let switching = switch(&rewritten);
    tokio::select! {
        _ = server.accept() => {}
        _ = other.accept() => panic!("the other one still has a connection"),
        _ = switching => panic!("no one has answered"),
    }
}

/// Servers that prefer HTTP/2 have WebSocket over HTTP/1.1 all the same.
#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_that_prefers_http_2_is_offered_http_1() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let chain = vec![CertificateDer::from(generated.cert.der().to_vec())];
    let key = PrivateKeyDer::try_from(generated.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("key and certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::bind().await;
    let port = server.0.local_addr().expect("a local address").port();
    tokio::spawn(async move {
        loop {
            let stream = acceptor.accept(server.accept().await.0).await.expect("a handshake");
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            tokio::spawn(async move {
                if is_http2 {
                    let respond = hyper::service::service_fn(async |_| {
                        Ok::<_, std::convert::Infallible>(Response::new(
                            http_body_util::Full::<bytes::Bytes>::from("h2"),
                        ))
                    });
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = http2.serve_connection(TokioIo::new(stream), respond).await;
                } else {
                    let mut stream = stream;
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.expect("a head"));
                    }
                    stream.write_all(ACCEPTED.as_bytes()).await.expect("it reads");
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    tokio::io::copy(&mut reader, &mut writer).await.expect("an echo");
                    writer.shutdown().await.expect("it closes");
                }
            });
        }
    });
    let options = HyperOptions::to(&format!("https://localhost:{port}")).expect("a URL");
    let options = options.with_root_certificates(generated.cert.pem().into_bytes());
    let origin = HyperOrigin::new(options).expect("valid options");
    assert_eq!(content(fetch(&origin, get("/")).await), "h2");
    let (response, connection) = switch(&origin).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut connection = connection.expect("it has switched");
    connection.write_all(b"over TLS").await.expect("open");
    connection.shutdown().await.expect("it closes");
    let mut echoed = String::new();
    connection.read_to_string(&mut echoed).await.expect("an orderly end");
    assert_eq!(echoed, "over TLS");
    assert_eq!(content(fetch(&origin, get("/")).await), "h2");
}
