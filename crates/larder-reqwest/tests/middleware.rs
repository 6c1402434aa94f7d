//! The cache in a stack of reqwest-middleware.
#![cfg(feature = "middleware")]

mod origin;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use larder_core::{Cache, Rules};
use larder_memory::MemoryStore;
use larder_reqwest::{
    CacheMode, CachingMiddleware,
    reqwest::{Client, Request, Response, redirect::Policy},
};
use origin::{count, origin};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};

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

fn how(response: &Response) -> &str {
    response.headers()["cache-status"].to_str().expect("text")
}

#[tokio::test]
async fn what_stands_behind_it_is_its_origin() {
    let origin = origin(&[("/a", "200 OK\r\ncache-control: max-age=60\r\netag: \"a\"", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    let url = format!("{}/a", origin.url());
    let first = client.get(&url).send().await.expect("an answer");
    assert_eq!(how(&first), "larder; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(first.text().await.expect("whole"), "hello");
    let second = client.get(&url).send().await.expect("an answer");
    assert!(how(&second).starts_with("larder; hit"), "{}", how(&second));
    assert_eq!((second.url().as_str(), behind.load(Ordering::SeqCst)), (&*url, 1));
    let forced = client.get(&url).with_extension(CacheMode::Reload).send().await.expect("an answer");
    assert!(how(&forced).starts_with("larder; fwd=request"), "{}", how(&forced));
}

/// What comes at the end of a chain is not what stands at its beginning.
#[tokio::test]
async fn what_reqwest_followed_by_itself_is_not_stored() {
    let origin = origin(&[
        ("/old", "302 Found\r\nlocation: /new", ""),
        ("/new", "200 OK\r\ncache-control: max-age=60", "new"),
    ]);
    let (client, _) = stack(http(Policy::default()));
    for _ in 0..2 {
        let response = client.get(format!("{}/old", origin.url())).send().await.expect("an answer");
        assert_eq!(response.url().path(), "/new");
        assert_eq!(how(&response), "larder; fwd=uri-miss; fwd-status=200; detail=no-store");
        assert_eq!(response.text().await.expect("whole"), "new");
    }
    assert_eq!(count(&origin, "/old"), 2);
}

#[tokio::test]
async fn an_error_of_the_stack_comes_through_as_it_was() {
    let origin = origin(&[("/a", "200 OK", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    behind.store(99, Ordering::SeqCst);
    let error = client.get(format!("{}/a", origin.url())).send().await.expect_err("it fails");
    assert!(format!("{error:?}").contains("the hundredth"), "{error:?}");
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let origin = origin(&[("/a", "200 OK\r\ncache-control: max-age=60", "hello")]);
    let (client, behind) = stack(http(Policy::none()));
    let url = format!("{}/a", origin.url());
    let asking = (0..50).map(|_| async { client.get(&url).send().await?.text().await.map_err(Into::into) });
    let all: Vec<reqwest_middleware::Result<String>> = futures_util::future::join_all(asking).await;
    assert!(all.iter().all(|text| text.as_ref().is_ok_and(|text| text == "hello")), "{all:?}");
    assert_eq!(behind.load(Ordering::SeqCst), 1);
}
