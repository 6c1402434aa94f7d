//! Shutdown and reload: what happens to idle and busy connections, and to the port.
#![cfg(feature = "tls")]

mod setting;

use std::{sync::Arc, time::Duration};

use larder_testkit::{FnOrigin, ManualOrigin};
use setting::{
    Protocol, Setup,
    frames::{GOAWAY, HEADERS, RawClient},
    header, read_response, read_to_end, status, storable,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Returns a setup in which waiting for the time of a shutdown would take an hour.
fn setup(protocol: Protocol) -> Setup {
    Setup::new(protocol).server(|options| options.with_shutdown_timeout(Duration::from_secs(3600)))
}

/// One idle connection of HTTP/2 kept the server for the whole time, and got no GOAWAY.
#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let origin = FnOrigin::new(|_, _| Ok(storable("a page")));
    let mut proxy = setup(Protocol::H2c).server(|options| options.with_workers(2)).with(origin);
    let mut idle_2 = RawClient::start(proxy.tcp().await, &[]).await;
    idle_2.get(1, "/").await;
    assert_eq!(idle_2.next().await.expect("a head").kind, HEADERS);
    let mut unused_2 = RawClient::start(proxy.tcp().await, &[]).await;
    let mut idle_1 = proxy.tcp().await;
    idle_1.write_all(GET).await.expect("it reads");
    assert_eq!(status(&read_response(&mut idle_1).await), 200);
    let mut unused_1 = proxy.tcp().await;
    let mut begun = proxy.tcp().await;
    begun.write_all(b"GET / HT").await.expect("it reads");
    // All have been accepted once one that was opened after them is answered by each worker.
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    proxy.handle.shutdown();
    assert!(idle_2.rest().await.iter().any(|frame| frame.kind == GOAWAY));
    unused_2.rest().await;
    for stream in [&mut idle_1, &mut unused_1, &mut begun] {
        assert_eq!(read_to_end(stream).await, "");
    }
    let address = proxy.address;
    proxy.join();
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

/// A request in flight is completed, and its connection then closed.
#[tokio::test]
async fn requests_in_flight_are_completed() {
    for protocol in Protocol::ALL {
        let (origin, mut requests) = ManualOrigin::new();
        let mut proxy = setup(protocol).with(origin);
        let mut client = proxy.client().await;
        let asking = tokio::spawn(async move { (client.get("/").await, client) });
        let received = requests.next().await;
        proxy.handle.shutdown();
        while TcpStream::connect(proxy.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        received.respond(200, &[], b"in time");
        let (reply, _client) = asking.await.expect("a reply");
        assert_eq!((reply.status, reply.text()), (200, "in time"), "{protocol:?}");
        if !protocol.is_http_2() {
            assert_eq!(reply.header("connection"), "close", "{protocol:?}");
        }
        proxy.join();
    }
}

/// What has not ended in time is closed.
#[tokio::test]
async fn a_shutdown_has_an_end() {
    let (origin, mut requests) = ManualOrigin::new();
    let mut proxy = Setup::new(Protocol::Http1)
        .server(|options| options.with_shutdown_timeout(Duration::from_millis(200)))
        .with(origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(GET).await.expect("it reads");
    let _held = requests.next().await;
    proxy.handle.shutdown();
    assert_eq!(read_to_end(&mut stream).await, "");
    proxy.join();
}

/// A response that is being stored is stored whole, although its client and all others have left.
#[tokio::test]
async fn a_response_in_progress_is_stored_before_the_end() {
    let (origin, mut requests) = ManualOrigin::new();
    let mut proxy = setup(Protocol::Http1).with(origin);
    let mut stream = proxy.tcp().await;
    stream.write_all(GET).await.expect("it reads");
    let body = requests.next().await.respond_streaming(200, &[("cache-control", "max-age=60")], None);
    assert!(body.chunk("the beginning ").await);
    let mut first = [0; 1];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.expect("a response");
    drop(stream);
    proxy.handle.shutdown();
    while TcpStream::connect(proxy.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(body.chunk("and the end").await, "it is still being read");
    body.end().await;
    proxy.join();
    let never = FnOrigin::fixed(&[], b"not stored");
    let request = http::Request::get("http://site.test/").body(larder_core::Body::empty());
    let stored = proxy.cache.fetch(request.expect("a request"), never).await.expect("a response");
    let content = stored.into_body().into_bytes(1000).await.expect("whole");
    assert_eq!(content, "the beginning and the end");
}

/// A reload replaces the proxy of each worker, and open connections go on.
#[tokio::test]
async fn a_reload_keeps_connections() {
    let origin = FnOrigin::new(|number, _| Ok(http::Response::new(number.to_string().into())));
    let proxy = Setup::new(Protocol::Http1).with(Arc::clone(&origin) as _);
    let mut stream = proxy.tcp().await;
    for expected in ["0", "1"] {
        stream.write_all(GET).await.expect("it reads");
        let response = read_response(&mut stream).await;
        assert!(response.ends_with(expected), "{response}");
        assert_eq!(header(&response, "connection"), None);
        proxy.reloader.reload();
    }
}
