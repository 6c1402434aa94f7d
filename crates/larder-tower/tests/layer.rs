//! The layer on a server (axum, over sockets) and in a client (hyper-util's).

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    routing::{get, put},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use larder_core::{Body, Cache, FetchOptions, OverrideFn, Overrides};
use larder_memory::MemoryStore;
use larder_testkit::ManualClock;
use larder_tower::{CacheLayer, CacheService};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, timeout::TimeoutLayer};

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60, stale-while-revalidate=60")];

fn cache(clock: &ManualClock) -> Cache {
    Cache::builder(Arc::new(MemoryStore::default())).clock(Arc::new(clock.clone())).build()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a listening socket");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn send(method: &str, url: String) -> (u16, String, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().method(method).uri(url).body(Full::<bytes::Bytes>::default());
    let response = client.request(request.expect("a request")).await.expect("a response");
    let cache_status =
        response.headers().get("cache-status").map_or("", |value| value.to_str().expect("text")).to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a complete body").to_bytes();
    (status, cache_status, String::from_utf8(body.into()).expect("text"))
}

/// Axum's path extraction works behind the layer. Concurrent requests are collapsed, stale
/// responses are revalidated in the background, and a PUT invalidates.
#[tokio::test]
async fn axum_routes_extract_collapse_and_invalidate() {
    let clock = ManualClock::at(1_700_000_000);
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let handler = move |Path(name): Path<String>| {
        let count = counting.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            (FRESH, format!("{name} {count}"))
        }
    };
    let router = Router::new()
        .route("/users/{name}", get(handler).merge(put(async |_: Path<String>| "kept")))
        .layer(CacheLayer::new(cache(&clock)));
    let url = serve(router).await + "/users/alice";
    let requests: Vec<_> = (0..30).map(|_| tokio::spawn(send("GET", url.clone()))).collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic").2, "alice 0");
    }
    assert_eq!(send("GET", url.clone()).await, (200, "larder; hit; ttl=60".into(), "alice 0".into()));
    assert_eq!(send("HEAD", url.clone()).await, (200, "larder; hit; ttl=60".into(), String::new()));
    clock.advance(Duration::from_secs(61));
    assert_eq!(send("GET", url.clone()).await.2, "alice 0", "stale while it is revalidated");
    while send("GET", url.clone()).await.2 != "alice 1" {}
    assert_eq!(send("PUT", url.clone()).await.2, "kept");
    assert_eq!(send("GET", url.clone()).await.2, "alice 2", "the PUT invalidated it (RFC 9111 §4.4)");
    assert_eq!(send("GET", url.replace("alice", "bob")).await.2, "bob 3");
}

/// From the second request on, requests for a `no-store` response bypass the engine. The first
/// storable response still does; the one after it is stored.
#[tokio::test]
async fn a_no_store_response_bypasses_until_it_becomes_storable() {
    let count = Arc::new(AtomicUsize::new(0));
    let handler = move |path: http::Uri| {
        let count = count.fetch_add(1, Ordering::SeqCst);
        assert_eq!(path, "/", "the URI keeps the form in which the client sent it");
        async move { ([("cache-control", if count < 3 { "no-store" } else { "max-age=60" })], count.to_string()) }
    };
    let router = Router::new().route("/", get(handler)).layer(CacheLayer::new(cache(&ManualClock::at(0))));
    let url = serve(router).await;
    for (body, cache_status) in [
        ("0", "fwd=uri-miss; fwd-status=200; detail=no-store"),
        ("1", "fwd=uri-miss; fwd-status=200; detail=no-store"),
        ("2", "fwd=uri-miss; fwd-status=200; detail=no-store"),
        ("3", "fwd=uri-miss; fwd-status=200"),
        ("4", "fwd=uri-miss; fwd-status=200; stored"),
        ("4", "hit; ttl=60"),
    ] {
        assert_eq!(send("GET", url.clone()).await, (200, format!("larder; {cache_status}"), body.to_owned()));
    }
}

#[tokio::test]
async fn an_upgrade_passes_through_unchanged() {
    let switch = async |request: Request<axum::body::Body>| {
        // The request still contains hyper's upgrade extension and the `Upgrade` header.
        assert!(request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some());
        let upgrade = request.headers()["upgrade"].clone();
        let headers = [("connection", http::HeaderValue::from_static("upgrade")), ("upgrade", upgrade)];
        (http::StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    let router =
        Router::new().route("/socket", get(switch)).layer(CacheLayer::new(cache(&ManualClock::at(0))));
    let url = serve(router).await;
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("a connection");
    let head = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).await.expect("a response");
    assert_eq!(&status_line, b"HTTP/1.1 101");
}

#[tokio::test]
async fn two_hosts_do_not_share_responses() {
    let router = Router::new()
        .route(
            "/",
            get(async |headers: http::HeaderMap| (FRESH, headers["host"].to_str().unwrap().to_owned())),
        )
        .layer(CacheLayer::new(cache(&ManualClock::at(0))));
    for host in ["a.example", "b.example", "a.example"] {
        let request = Request::get("/").header("host", host).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let body = response.into_body().collect().await.expect("a complete body").to_bytes();
        assert_eq!(body, host);
    }
}

#[tokio::test]
async fn a_client_with_a_default_freshness() {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let origin = serve(Router::new().route(
        "/",
        get(move || {
            counting.fetch_add(1, Ordering::SeqCst);
            async { "no freshness information" }
        }),
    ))
    .await;
    let overrides = Overrides::default().with_default_freshness(Duration::from_secs(60));
    let options = FetchOptions::default().with_overrides(OverrideFn::always(overrides));
    let client = ServiceBuilder::new()
        .layer(CacheLayer::new(cache(&ManualClock::at(0))).options(options))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    for _ in 0..3 {
        let request = Request::get(&origin).body(Body::empty()).expect("a request");
        client.clone().oneshot(request).await.expect("a response");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_error_of_the_service_is_returned_unchanged() {
    #[derive(Debug, PartialEq)]
    struct ServiceError;
    impl std::fmt::Display for ServiceError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the service failed")
        }
    }
    let service = ServiceBuilder::new()
        .layer(CacheLayer::new(cache(&ManualClock::at(0))))
        .service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(ServiceError));
    let request = Request::get("http://example.com/").body(Body::empty()).expect("a request");
    assert_eq!(service.oneshot(request).await.expect_err("an error"), ServiceError);
}

/// gRPC needs the `TE` header and its trailers.
#[tokio::test]
async fn grpc_passes_through_unchanged() {
    let service = ServiceBuilder::new().layer(CacheLayer::new(cache(&ManualClock::at(0)))).service_fn(
        async |request: Request<Body>| {
            assert_eq!(request.headers()["te"], "trailers");
            let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
            let body = Full::<bytes::Bytes>::from("x").with_trailers(async move { Some(Ok(trailers)) });
            Ok::<_, Infallible>(Response::new(body))
        },
    );
    let request = Request::post("http://example.com/").header("te", "trailers");
    let request = request.header("content-type", "application/grpc").body(Body::empty()).expect("a request");
    let collected = service
        .oneshot(request)
        .await
        .expect("a response")
        .into_body()
        .collect()
        .await
        .expect("a complete body");
    assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
}

/// A client with a cache, and a server that sends the rest of its response once `gate` is open.
/// `before` is the part of the body that it sends at once, and `count` the number of its requests.
struct Gated {
    client: CacheService<Client<HttpConnector, Body>>,
    url: String,
    gate: watch::Sender<bool>,
    count: Arc<AtomicUsize>,
}

impl Gated {
    async fn start(before: &'static str) -> Self {
        let (gate, opened) = watch::channel(false);
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        let handler = move || {
            counting.fetch_add(1, Ordering::SeqCst);
            let mut opened = opened.clone();
            async move {
                let mut gate = async move || opened.wait_for(|open| *open).await.map(drop);
                if before.is_empty() {
                    gate().await.expect("the test holds the gate");
                }
                let first = futures_util::stream::iter([Ok(before)]);
                let rest =
                    futures_util::stream::once(
                        async move { gate().await.map(|()| &"hello"[before.len()..]) },
                    );
                (FRESH, axum::body::Body::from_stream(futures_util::StreamExt::chain(first, rest)))
            }
        };
        let url = serve(Router::new().route("/", get(handler))).await;
        let client = ServiceBuilder::new()
            .layer(CacheLayer::new(cache(&ManualClock::at(0))))
            .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
        Self { client, url, gate, count }
    }

    fn request(&self) -> Request<Body> {
        Request::get(&self.url).body(Body::empty()).expect("a request")
    }
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a complete body").to_bytes();
    String::from_utf8(body.into()).expect("text")
}

/// A caller's limit is a layer around the cache. When it passes, the requests that wait for the
/// caller's fetch still get a response.
#[tokio::test]
async fn a_limit_before_the_head_ends_only_its_callers_wait() {
    let it = Gated::start("").await;
    let limited = async {
        let timeout = TimeoutLayer::new(Duration::from_millis(50)).layer(it.client.clone());
        let result = timeout.oneshot(it.request()).await;
        it.gate.send_replace(true);
        result.expect_err("a timeout")
    };
    let unlimited = async { text(it.client.clone().oneshot(it.request()).await.expect("a response")).await };
    let (limited, unlimited) = tokio::join!(limited, unlimited);
    assert!(limited.is::<tower::timeout::error::Elapsed>(), "{limited}");
    assert_eq!(unlimited, "hello");
    assert!(it.count.load(Ordering::SeqCst) <= 2);
}

/// A caller that stops reading does not end the transfer for the others, and the response is
/// stored.
#[tokio::test]
async fn a_limit_within_the_body_ends_only_its_callers_wait() {
    let it = Gated::start("hel").await;
    let mut limited = it.client.clone().oneshot(it.request()).await.expect("a head").into_body();
    assert_eq!(limited.chunk().await.expect("a chunk").expect("no error"), "hel");
    let unlimited = it.client.clone().oneshot(it.request()).await.expect("a head");
    let rest = tokio::time::timeout(Duration::from_millis(50), limited.chunk()).await;
    assert!(rest.is_err(), "the gate is closed");
    drop(limited);
    it.gate.send_replace(true);
    assert_eq!(text(unlimited).await, "hello");
    let again = it.client.clone().oneshot(it.request()).await.expect("a response");
    assert_eq!((text(again).await, it.count.load(Ordering::SeqCst)), ("hello".to_owned(), 1));
}
