//! TLS: trusted certificates, negotiation of HTTP/2, and truncated connections.
#![cfg(feature = "tls")]

mod setting;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_core::{Body, OriginErrorKind};
use larder_origin::{ClientCertificate, HyperOptions, HyperOrigin, TrustedRoots};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use setting::{Got, Server, content, fetch, get, kind, request};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Returns a self-signed certificate for `localhost` in PEM, and a TLS acceptor that uses it.
fn self_signed(protocols: &[&str]) -> (Vec<u8>, TlsAcceptor) {
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
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (generated.cert.pem().into_bytes(), TlsAcceptor::from(Arc::new(config)))
}

fn trusting(server: &Server, roots: &[u8], change: impl FnOnce(&mut HyperOptions)) -> Arc<HyperOrigin> {
    let port = server.0.local_addr().expect("a local address").port();
    setting::with(&format!("https://localhost:{port}"), |options| {
        options.root_certificates = roots.to_vec();
        change(options);
    })
}

async fn accept(server: &Server, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    acceptor.accept(server.accept().await.0).await.expect("a handshake")
}

/// Responds with the request's method, version, URI, `Host` and content.
async fn describe(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let hosts: Vec<_> = head.headers.get_all("host").iter().collect();
    let text = format!("{} {:?} {} {hosts:?} {body:?}", head.method, head.version, head.uri);
    Ok(http::Response::new(Full::from(text)))
}

fn serve(server: Server, acceptor: TlsAcceptor) {
    tokio::spawn(async move {
        loop {
            let stream = TokioIo::new(accept(&server, &acceptor).await);
            if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(stream, service_fn(describe));
                tokio::spawn(connection);
            } else {
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(describe)),
                );
            }
        }
    });
}

#[tokio::test]
async fn a_configured_root_is_trusted_and_others_are_not() {
    let server = Server::bind().await;
    let (roots, acceptor) = self_signed(&[]);
    let (others, _) = self_signed(&[]);
    let trusted = trusting(&server, &roots, |_| {});
    let untrusted = [trusting(&server, &[], |_| {}), trusting(&server, &others, |_| {})];
    let got = setting::sending(&trusted, get("/"));
    let mut stream = accept(&server, &acceptor).await;
    let _ = stream.read(&mut [0; 4096]).await.expect("a request");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("the client reads");
    assert_eq!(content(got.await.expect("no panic")), "ok");
    for origin in untrusted {
        let got = setting::sending(&origin, get("/"));
        let peer = server.accept().await;
        assert!(acceptor.accept(peer.0).await.is_err());
        assert_eq!(kind(got.await.expect("no panic")), OriginErrorKind::Connect);
    }
}

#[test]
fn invalid_root_certificates_are_rejected() {
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for roots in ["not PEM", key.as_str(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = HyperOptions::default().with_root_certificates(roots.as_bytes().to_vec());
        assert!(HyperOrigin::new(options).is_err(), "{roots}");
    }
}

/// Without a length, a body ends with its connection. `close_notify` distinguishes an orderly end
/// from a truncation (RFC 9112 §9.8).
#[tokio::test]
async fn a_truncated_connection_is_not_the_end_of_a_body() {
    for orderly in [true, false] {
        let server = Server::bind().await;
        let (roots, acceptor) = self_signed(&[]);
        let origin = trusting(&server, &roots, |_| {});
        let got = setting::sending(&origin, get("/"));
        let mut stream = accept(&server, &acceptor).await;
        let _ = stream.read(&mut [0; 4096]).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.expect("the client reads");
        stream.flush().await.expect("flush");
        if orderly {
            stream.shutdown().await.expect("close_notify");
        }
        drop(stream);
        let (_, body) = got.await.expect("no panic").expect("a head");
        assert_eq!(body.is_ok(), orderly, "{body:?}");
    }
}

/// Sends a POST, and returns the server's description of it and the server's port.
async fn described(protocols: &[&str], change: impl FnOnce(&mut HyperOptions)) -> (String, u16) {
    let server = Server::bind().await;
    let port = server.0.local_addr().expect("a local address").port();
    let (roots, acceptor) = self_signed(protocols);
    let origin = trusting(&server, &roots, change);
    serve(server, acceptor);
    let got = fetch(&origin, request("POST", "/a?b", Body::from("content"))).await;
    (content(got), port)
}

#[tokio::test]
async fn http2_is_negotiated() {
    let (received, port) = described(&["h2", "http/1.1"], |options| options.origin_host = true).await;
    assert!(received.starts_with(&format!("POST HTTP/2.0 https://localhost:{port}/a?b")), "{received}");
    assert!(!received.contains("example.com") && received.ends_with("b\"content\""), "{received}");
    let (received, port) = described(&["http/1.1"], |options| options.origin_host = true).await;
    assert_eq!(received, format!("POST HTTP/1.1 /a?b [\"localhost:{port}\"] b\"content\""));
}

/// `Host` and `:authority` never differ (RFC 9113 §8.3.1).
#[tokio::test]
async fn the_clients_host_is_sent_over_http2() {
    for http2_only in [false, true] {
        let (received, _) = described(&["h2", "http/1.1"], |options| options.http2_only = http2_only).await;
        assert_eq!(received, "POST HTTP/2.0 https://example.com/a?b [] b\"content\"");
    }
    let (received, _) = described(&["http/1.1"], |_| {}).await;
    assert_eq!(received, "POST HTTP/1.1 /a?b [\"example.com\"] b\"content\"");
}

/// A private certificate authority can be the only one that is trusted, and the origin can require
/// a certificate of its clients.
#[tokio::test]
async fn an_origin_can_require_a_client_certificate() {
    let server = Server::bind().await;
    let port = server.0.local_addr().expect("a local address").port();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let client = rcgen::generate_simple_self_signed(["proxy".to_owned()]).expect("a certificate");
    let mut clients = rustls::RootCertStore::empty();
    clients.add(client.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(
            vec![own.cert.der().clone()],
            PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key"),
        )
        .expect("key and certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let identity = ClientCertificate::new(
        client.cert.pem().into_bytes(),
        client.signing_key.serialize_pem().into_bytes(),
    );
    let with = |identity: Option<ClientCertificate>| {
        setting::with(&format!("https://localhost:{port}"), |options| {
            options.trusted_roots = TrustedRoots::OnlyConfigured;
            options.root_certificates = own.cert.pem().into_bytes();
            options.client_certificate = identity;
        })
    };
    tokio::spawn(async move {
        loop {
            let acceptor = acceptor.clone();
            let peer = server.accept().await;
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(peer.0).await.ok()?);
                let builder = hyper::server::conn::http1::Builder::new();
                builder.serve_connection(stream, service_fn(describe)).await.ok()
            });
        }
    });
    assert!(content(fetch(&with(Some(identity)), get("/")).await).starts_with("GET HTTP/1.1 / "));
    let error = fetch(&with(None), get("/")).await.expect_err("no certificate");
    assert!(matches!(error.kind(), OriginErrorKind::Connect | OriginErrorKind::Protocol), "{error:?}");
}

#[test]
fn invalid_client_certificates_are_rejected() {
    let one = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["b".to_owned()]).expect("a certificate");
    let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    for (chain, key, is_valid) in [
        (&*chain, &*key, true),
        ("", &*key, false),
        (&*chain, "not PEM", false),
        (&*chain, &*other.signing_key.serialize_pem(), false),
    ] {
        let identity = ClientCertificate::new(chain, key);
        assert_eq!(format!("{identity:?}"), "ClientCertificate", "no key in logs");
        let options = HyperOptions::default().with_client_certificate(identity);
        assert_eq!(HyperOrigin::new(options).is_ok(), is_valid, "{key}");
    }
    let options = HyperOptions::default().with_trusted_roots(TrustedRoots::OnlyConfigured);
    let error = HyperOrigin::new(options).expect_err("nothing is trusted");
    assert!(error.to_string().contains("root_certificates"), "{error}");
}

async fn over_plain_http2(
    method: &str,
    respond: impl Fn(http::Request<Incoming>) -> http::Response<Full<Bytes>> + Clone + Send + 'static,
) -> Got {
    let server = Server::bind().await;
    let origin = setting::with(&server.url(), |options| options.http2_only = true);
    tokio::spawn(async move {
        let stream = TokioIo::new(server.accept().await.0);
        let service = service_fn(move |request| {
            let response = respond(request);
            async { Ok::<_, Infallible>(response) }
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    });
    fetch(&origin, request(method, "/", Body::empty())).await
}

#[tokio::test]
async fn http2_without_tls_by_prior_knowledge() {
    let got = over_plain_http2("GET", |_| http::Response::new(Full::from("content"))).await;
    assert_eq!(content(got), "content");
    // `Content-Length` in a response to HEAD is the length that a GET would return, not of this
    // body.
    let got = over_plain_http2("HEAD", |_| {
        http::Response::builder().header("content-length", 7).body(Full::default()).expect("a response")
    });
    let (head, body) = got.await.expect("a response");
    assert_eq!((head.headers["content-length"].as_bytes(), body.expect("whole").len()), (&b"7"[..], 0));
}

#[tokio::test]
async fn a_head_that_is_too_large_in_http2_is_an_error() {
    let got = over_plain_http2("GET", |_| {
        let mut response = http::Response::new(Full::from("content"));
        for n in 0..200 {
            let name = http::HeaderName::from_bytes(format!("x-{n}").as_bytes()).expect("a name");
            let value = http::HeaderValue::from_str(&"a".repeat(1000)).expect("a value");
            response.headers_mut().insert(name, value);
        }
        response
    });
    assert_eq!(kind(got.await), OriginErrorKind::Protocol);
}

/// When the origin has restarted and the connection is closed, the next request opens another one.
#[tokio::test]
async fn http2_survives_a_restart_of_the_origin() {
    let server = Server::bind().await;
    let origin = setting::with(&server.url(), |options| options.http2_only = true);
    for _ in 0..3 {
        let got = setting::sending(&origin, get("/"));
        let stream = TokioIo::new(server.accept().await.0);
        let service =
            service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("ok"))) });
        let connection = tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service),
        );
        assert_eq!(content(got.await.expect("no panic")), "ok");
        connection.abort();
        let _ = connection.await;
    }
}

/// Regression test: three clients that had stopped reading blocked all other streams of the
/// connection.
#[tokio::test]
async fn a_slow_reader_does_not_block_other_streams_of_its_connection() {
    use larder_core::Origin as _;
    let server = Server::bind().await;
    let origin = setting::with(&server.url(), |options| options.http2_only = true);
    tokio::spawn(async move {
        let stream = TokioIo::new(server.accept().await.0);
        let service = service_fn(|request: http::Request<Incoming>| async move {
            let length = if request.uri().path() == "/large" { 8 << 20 } else { 2 };
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(vec![b'x'; length]))))
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    });
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut response = origin.fetch(get("/large")).await.expect("a response");
        response.body_mut().chunk().await.expect("not the end").expect("a chunk");
        slow.push(response);
    }
    assert_eq!(content(fetch(&origin, get("/small")).await), "xx");
    let rest = setting::read(slow.pop().expect("fifty").into_body()).await.expect("whole");
    assert!(rest.len() < 8 << 20 && rest.len() > 7 << 20);
}
