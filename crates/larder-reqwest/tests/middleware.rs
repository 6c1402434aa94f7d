//! The cache as a middleware of reqwest-middleware.
#![cfg(feature = "middleware")]

mod origin;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::{Cache, Rules};
use larder_memory::MemoryStore;
use larder_reqwest::{
    CacheMode, CachingMiddleware, ErrorKind,
    reqwest::{Client, Request, Response, redirect::Policy},
};
use origin::{GatedOrigin, count, origin};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};

/// Counts the requests that reach it. The hundredth fails.
struct Counting(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Middleware for Counting {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 99 {
            return Err(reqwest_middleware::Error::middleware(std::io::Error::other("the hundredth")));
        }
        next.run(request, extensions).await
    }
}

fn stack(http: Client) -> (ClientWithMiddleware, Arc<AtomicUsize>) {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
    let count = Arc::new(AtomicUsize::new(0));
    let client =
        ClientBuilder::new(http).with(CachingMiddleware::new(cache)).with(Counting(Arc::clone(&count)));
    (client.build(), count)
}

fn http(policy: Policy) -> Client {
    Client::builder().no_proxy().redirect(policy).build().expect("a client")
}

fn cache_status(response: &Response) -> &str {
    response.headers()["cache-status"].to_str().expect("text")
}

#[tokio::test]
async fn the_rest_of_the_stack_is_the_origin() {
    let origin = origin(&[("/a", "200 OK\r\ncache-control: max-age=60\r\netag: \"a\"", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    let url = format!("{}/a", origin.url());
    let first = client.get(&url).send().await.expect("a response");
    assert_eq!(cache_status(&first), "larder; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(first.text().await.expect("a complete body"), "hello");
    let second = client.get(&url).send().await.expect("a response");
    assert!(cache_status(&second).starts_with("larder; hit"), "{}", cache_status(&second));
    assert_eq!((second.url().as_str(), behind.load(Ordering::SeqCst)), (&*url, 1));
    let forced = client.get(&url).with_extension(CacheMode::Reload).send().await.expect("a response");
    assert!(cache_status(&forced).starts_with("larder; fwd=request"), "{}", cache_status(&forced));
}

/// The last response of a redirect chain must not be stored under the first URL.
#[tokio::test]
async fn a_response_that_reqwest_was_redirected_to_is_not_stored() {
    let origin = origin(&[
        ("/old", "302 Found\r\nlocation: /new", ""),
        ("/new", "200 OK\r\ncache-control: max-age=60", "new"),
    ]);
    let (client, _) = stack(http(Policy::default()));
    for _ in 0..2 {
        let response = client.get(format!("{}/old", origin.url())).send().await.expect("a response");
        assert_eq!(response.url().path(), "/new");
        assert_eq!(cache_status(&response), "larder; fwd=uri-miss; fwd-status=200; detail=no-store");
        assert_eq!(response.text().await.expect("a complete body"), "new");
    }
    assert_eq!(count(&origin, "/old"), 2);
}

#[tokio::test]
async fn an_error_of_the_stack_is_returned_unchanged() {
    let origin = origin(&[("/a", "200 OK", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    behind.store(99, Ordering::SeqCst);
    let error = client.get(format!("{}/a", origin.url())).send().await.expect_err("an error");
    assert!(format!("{error:?}").contains("the hundredth"), "{error:?}");
}

#[tokio::test]
async fn an_error_of_reqwest_is_returned_unchanged() {
    let (client, _) = stack(http(Policy::none()));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let error = client.get(format!("http://{closed}/")).send().await.expect_err("an error");
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn concurrent_requests_are_collapsed() {
    let origin = origin(&[("/a", "200 OK\r\ncache-control: max-age=60", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    let url = format!("{}/a", origin.url());
    let requests = (0..50).map(|_| async { client.get(&url).send().await?.text().await.map_err(Into::into) });
    let all: Vec<reqwest_middleware::Result<String>> = futures_util::future::join_all(requests).await;
    assert!(all.iter().all(|text| text.as_ref().is_ok_and(|text| text == "hello")), "{all:?}");
    assert_eq!(behind.load(Ordering::SeqCst), 1);
}

/// Returns the kind of the cache's own error.
fn kind(error: &reqwest_middleware::Error) -> Option<ErrorKind> {
    match error {
        reqwest_middleware::Error::Middleware(error) => {
            error.downcast_ref::<larder_reqwest::Error>().map(larder_reqwest::Error::kind)
        }
        reqwest_middleware::Error::Reqwest(_) => None,
    }
}

/// Two callers shared a fetch, and the first had a limit of 50 ms. It travelled with the request to
/// the origin: the second caller, which had no limit, also got a timeout error.
#[tokio::test]
async fn a_limit_before_the_head_ends_only_its_callers_wait() {
    let origin = GatedOrigin::start("");
    let (client, _) = stack(http(Policy::none()));
    let url = origin.url();
    let limited = async {
        let result = client.get(&url).timeout(Duration::from_millis(50)).send().await;
        origin.open();
        result
    };
    let unlimited = async { client.get(&url).send().await?.text().await.map_err(Into::into) };
    let (limited, unlimited): (_, reqwest_middleware::Result<String>) = tokio::join!(limited, unlimited);
    let error = limited.expect_err("a timeout");
    assert_eq!(kind(&error), Some(ErrorKind::Timeout), "{error:?}");
    assert_eq!(unlimited.expect("a response"), "hello");
    assert!(count(&origin.server, "/") <= 2);
}

/// The limit of the first caller passed within the body. The transfer failed for the second caller
/// as well, and nothing was stored.
#[tokio::test]
async fn a_limit_within_the_body_ends_only_its_callers_wait() {
    let origin = GatedOrigin::start("hel");
    let (client, _) = stack(http(Policy::none()));
    let url = origin.url();
    let mut limited = client.get(&url).timeout(Duration::from_secs(2)).send().await.expect("a head");
    assert_eq!(limited.chunk().await.expect("no error").expect("a chunk"), "hel");
    let mut unlimited = client.get(&url).send().await.expect("a head");
    assert_eq!(unlimited.chunk().await.expect("no error").expect("a chunk"), "hel");
    let error = limited.chunk().await.expect_err("a timeout");
    assert!(error.is_timeout(), "{error:?}");
    origin.open();
    assert_eq!(unlimited.text().await.expect("the rest of the body"), "lo");
    assert_eq!(client.get(&url).send().await.expect("a response").text().await.expect("a body"), "hello");
    assert_eq!(count(&origin.server, "/"), 1);
}
