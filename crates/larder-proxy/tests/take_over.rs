//! A server takes over the address of another one under load: over HTTP/2 and over TLS. For
//! HTTP/1.1 between two processes, see `larder-cli`.
#![cfg(all(feature = "tls", target_os = "linux"))]

mod setting;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_proxy::ListenerOptions;
use larder_testkit::FnOrigin;
use setting::{Protocol, Proxy, Setup, client::Trust, read_to_end, status, storable};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const RESTARTS: usize = 5;

/// Starts a server that listens on this address beside others.
fn start(address: SocketAddr, trust: Option<&Trust>) -> Proxy {
    let mut listener = ListenerOptions::tcp(address).with_take_over(true);
    listener.certificates = trust.map(Trust::certificates);
    Setup::new(Protocol::Http1)
        .server(|options| options.with_workers(2).with_shutdown_timeout(Duration::from_secs(3600)))
        .listener(listener)
        .with(FnOrigin::new(|_, _| Ok(storable("a page"))))
}

/// Replaces servers while `client` sends requests: it returns after one request, and keeps its
/// connection in the argument.
async fn restart_under_load<C, F>(trust: Option<Arc<Trust>>, client: F)
where
    C: Send + 'static,
    F: AsyncFn(SocketAddr, Option<C>) -> Option<C> + Clone + 'static,
{
    let mut current = start(([127, 0, 0, 1], 0).into(), trust.as_deref());
    let address = current.address_of(1);
    let (done, completed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let local = tokio::task::LocalSet::new();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (done, completed, client) = (Arc::clone(&done), Arc::clone(&completed), client.clone());
            local.spawn_local(async move {
                let mut connection = None;
                while !done.load(Ordering::SeqCst) {
                    connection = client(address, connection.take()).await;
                    completed.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let progress = async |load: &[tokio::task::JoinHandle<()>]| {
        let goal = completed.load(Ordering::SeqCst) + 40;
        while completed.load(Ordering::SeqCst) < goal && !load.iter().any(|task| task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    local
        .run_until(async {
            for _ in 0..RESTARTS {
                progress(&load).await;
                let next = start(address, trust.as_deref());
                progress(&load).await;
                current.handle.shutdown();
                let mut previous = std::mem::replace(&mut current, next);
                tokio::task::spawn_blocking(move || previous.join()).await.expect("it ends");
            }
            progress(&load).await;
            done.store(true, Ordering::SeqCst);
            for task in load {
                task.await.expect("no request has failed");
            }
        })
        .await;
}

/// Sends a request over HTTP/2. Opens a connection if the last one has got a GOAWAY.
async fn http_2(
    address: SocketAddr,
    connection: Option<SendRequest<Empty<bytes::Bytes>>>,
) -> Option<SendRequest<Empty<bytes::Bytes>>> {
    let mut connection = connection;
    loop {
        let mut kept = connection.take();
        let is_usable = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept.filter(|_| is_usable) {
            Some(sender) => sender,
            None => {
                let tcp = TcpStream::connect(address).await.expect("a server listens");
                let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await;
                let (sender, driver) = handshake.expect("a handshake");
                tokio::spawn(driver);
                sender
            }
        };
        let request = Request::get("http://site.test/").version(Version::HTTP_2).body(Empty::new());
        match sender.try_send_request(request.expect("a request")).await {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                let content = response.into_body().collect().await.expect("the whole content").to_bytes();
                assert_eq!(content, "a page");
                return Some(sender);
            }
            // The GOAWAY was there before the request: it was not sent.
            Err(error) => assert!(error.message().is_some() || error.error().is_canceled(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn http_2_over_one_connection_fails_no_request() {
    restart_under_load(None, http_2).await;
}

#[tokio::test]
async fn http_2_over_new_connections_fails_no_request() {
    restart_under_load(None, async |address: SocketAddr, _: Option<()>| {
        http_2(address, None).await;
        None
    })
    .await;
}

#[tokio::test]
async fn new_connections_over_tls_fail_no_request() {
    let trust = Arc::new(Trust::new(&["site.test"]));
    let for_clients = Arc::clone(&trust);
    restart_under_load(Some(trust), async move |address: SocketAddr, _: Option<()>| {
        let tcp = TcpStream::connect(address).await.expect("a server listens");
        let mut stream = for_clients.connect(tcp, "site.test").await.expect("a handshake");
        let request = b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it reads");
        assert_eq!(status(&read_to_end(&mut stream).await), 200);
        None
    })
    .await;
}
