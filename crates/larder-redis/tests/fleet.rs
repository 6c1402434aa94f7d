//! A fleet: several nodes, each with memory near and one Redis far.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore, Origin, OriginError, TargetUri};
use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};
use larder_tiered::TieredStore;
use setting::Server;
use tokio::time::Instant;

/// Answers after a while with how many have asked. What it says depends on the language.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicUsize,
    takes: Duration,
}

#[async_trait]
impl Origin for Slow {
    async fn fetch(&self, _: Request<Body>) -> Result<Response<Body>, OriginError> {
        let count = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(self.takes).await;
        let response = Response::builder().header("cache-control", "max-age=3600").header("etag", "\"v\"");
        let response = response.header("vary", "accept-language");
        Ok(response.body(Body::from(format!("answer {count}"))).expect("a response"))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}

async fn node(url: &str, options: RedisOptions) -> Cache {
    let far = Arc::new(RedisStore::connect(url, options).await.expect("it connects"));
    let store: Arc<dyn CacheStore> = Arc::new(TieredStore::new(Arc::new(MemoryStore::default()), far));
    Cache::builder(store).build()
}

async fn ask(cache: &Cache, origin: &Arc<Slow>) -> String {
    ask_with(cache, origin, "en", "").await
}

async fn ask_with(cache: &Cache, origin: &Arc<Slow>, language: &str, directive: &str) -> String {
    let request = Request::get("http://example.com/page").header("accept-language", language);
    let request = request.header("cache-control", directive).body(Body::empty()).expect("a request");
    let answer = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await.expect("an answer");
    let body = answer.into_body().try_into_bytes();
    let bytes = match body {
        Ok(bytes) => bytes.to_vec(),
        Err(mut body) => {
            let mut all = Vec::new();
            while let Some(chunk) = body.chunk().await {
                all.extend_from_slice(&chunk.expect("it is whole"));
            }
            all
        }
    };
    String::from_utf8(bytes).expect("text")
}

fn target() -> TargetUri {
    TargetUri::parse("http://example.com/page").expect("a URL")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_page_is_fetched_once_for_all_nodes() {
    let options = setting::options();
    let origin = Arc::new(Slow { takes: Duration::from_millis(200), ..Slow::default() });
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(setting::shared(), options.clone()).await);
    }
    let mut asking = Vec::new();
    for n in 0..400 {
        let (cache, origin) = (nodes[n % 4].clone(), Arc::clone(&origin));
        asking.push(tokio::spawn(async move { ask(&cache, &origin).await }));
    }
    for answer in asking {
        assert_eq!(answer.await.expect("no panic"), "answer 1");
    }
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
}

/// After a purge that has returned, no node serves what was purged for longer than it takes to hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_on_one_node_is_seen_by_all() {
    let options = setting::options();
    let origin = Arc::new(Slow::default());
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(setting::shared(), options.clone()).await);
    }
    for round in 1..20 {
        let now = format!("answer {round}");
        for cache in &nodes {
            // Until each has it near.
            for _ in 0..2 {
                assert_eq!(ask(cache, &origin).await, now);
            }
        }
        nodes[round % 4].purge(&target()).await.expect("it purges");
        let begun = Instant::now();
        // The node that purged, at once.
        assert_eq!(ask(&nodes[round % 4], &origin).await, format!("answer {}", round + 1));
        for cache in &nodes {
            while ask(cache, &origin).await == now {
                assert!(begun.elapsed() < Duration::from_secs(10), "a node never hears of it");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The connection that tells of purges is lost, and a purge is missed: nothing near is served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_was_missed_is_not_missed() {
    let server = Server::start(&[]);
    let options = setting::options();
    let origin = Arc::new(Slow::default());
    let (one, other) = (node(&server.url(), options.clone()).await, node(&server.url(), options).await);
    for cache in [&one, &other, &one, &other] {
        assert_eq!(ask(cache, &origin).await, "answer 1");
    }
    server.cli(&["client", "kill", "type", "pubsub"]);
    one.purge(&target()).await.expect("it purges");
    let begun = Instant::now();
    while ask(&other, &origin).await == "answer 1" {
        assert!(begun.elapsed() < Duration::from_secs(5), "it serves what was purged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&other, &origin).await, "answer 2");
}

/// A page that varies, as most that can be compressed do, was read from Redis by every node each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_variants_are_near_on_every_node() {
    let server = Server::start(&[]);
    let origin = Arc::new(Slow::default());
    let options = setting::options();
    let (one, other) = (node(&server.url(), options.clone()).await, node(&server.url(), options).await);
    for (count, language) in ["de", "en", "fr"].into_iter().enumerate() {
        let answer = format!("answer {}", count + 1);
        assert_eq!(ask_with(&one, &origin, language, "").await, answer);
        let begun = Instant::now();
        // Until it has heard that its near copies are not all any more.
        while ask_with(&other, &origin, language, "only-if-cached").await != answer {
            assert!(begun.elapsed() < Duration::from_secs(5), "it never sees the {language} page");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for cache in [&one, &other] {
        ask_with(cache, &origin, "de", "").await;
    }
    let lookups = || {
        let info = server.cli(&["info", "commandstats"]);
        info.lines().find(|line| line.starts_with("cmdstat_hgetall")).map(|line| line.to_owned())
    };
    let before = lookups();
    for language in ["de", "en", "fr"] {
        ask_with(&one, &origin, language, "").await;
        ask_with(&other, &origin, language, "").await;
    }
    assert_eq!(lookups(), before, "what is near is not looked up far");
    assert_eq!(origin.asked.load(Ordering::SeqCst), 3);
}
