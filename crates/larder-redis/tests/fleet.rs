//! Tests a fleet: several nodes, each with its own near tier in memory, over one far tier on Redis.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response};
use larder_core::{Body, Cache, CacheKey, CacheStore, Claim, Origin, OriginError, Scope, TargetUri};
use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};
use larder_tiered::TieredStore;
use setting::{
    Server,
    relay::{forgetful_relay, switched_relay},
};
use tokio::time::Instant;

/// Responds after a delay, with the number of requests so far. The response varies by language.
#[derive(Debug, Default)]
struct SlowOrigin {
    requests: AtomicUsize,
    delay: Duration,
}

#[async_trait]
impl Origin for SlowOrigin {
    async fn fetch(&self, _: Request<Body>) -> Result<Response<Body>, OriginError> {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(self.delay).await;
        let response = Response::builder().header("cache-control", "max-age=3600").header("etag", "\"v\"");
        let response = response.header("vary", "accept-language");
        Ok(response.body(Body::from(format!("response {count}"))).expect("a response"))
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

async fn get(cache: &Cache, origin: &Arc<SlowOrigin>) -> String {
    get_with(cache, origin, "en", "").await
}

async fn get_with(cache: &Cache, origin: &Arc<SlowOrigin>, language: &str, directive: &str) -> String {
    let request = Request::get("http://example.com/page").header("accept-language", language);
    let request = request.header("cache-control", directive).body(Body::empty()).expect("a request");
    let response = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await.expect("a response");
    let bytes = response.into_body().into_bytes(usize::MAX).await.expect("the body is complete");
    String::from_utf8(bytes.into()).expect("text")
}

fn target() -> TargetUri {
    TargetUri::parse("http://example.com/page").expect("a URL")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_page_is_fetched_once_for_all_nodes() {
    let options = setting::options();
    let origin = Arc::new(SlowOrigin { delay: Duration::from_millis(200), ..SlowOrigin::default() });
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(setting::shared(), options.clone()).await);
    }
    let mut requests = Vec::new();
    for n in 0..400 {
        let (cache, origin) = (nodes[n % 4].clone(), Arc::clone(&origin));
        requests.push(tokio::spawn(async move { get(&cache, &origin).await }));
    }
    for response in requests {
        assert_eq!(response.await.expect("no panic"), "response 1");
    }
    assert_eq!(origin.requests.load(Ordering::SeqCst), 1);
}

/// After a purge has returned, no node serves the purged response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_returns_once_no_node_serves_the_response() {
    let options = setting::options();
    let origin = Arc::new(SlowOrigin::default());
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(setting::shared(), options.clone()).await);
    }
    for round in 1..100 {
        let now = format!("response {round}");
        for cache in &nodes {
            // Twice, so that each node has a near copy.
            for _ in 0..2 {
                assert_eq!(get(cache, &origin).await, now);
            }
        }
        let page = CacheKey::new(&target());
        let scope = match round % 3 {
            0 => Scope::Key(&page),
            1 => Scope::Prefix("http://example.com/"),
            _ => Scope::All,
        };
        let purged = nodes[round % 4].purge(scope).await.expect("it purges");
        if round > 10 {
            assert_eq!((purged.acknowledged, purged.unacknowledged), (4, 0), "{purged}");
        }
        for at in 1..=4 {
            let body = get(&nodes[(round + at) % 4], &origin).await;
            assert_eq!(body, format!("response {}", round + 1), "{scope}");
        }
    }
}

/// The network forgot the connections of a node: nothing arrived there, and nothing was closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_receives_nothing_serves_no_near_copies_after_a_purge() {
    let server = Server::start(&[]);
    let generation = Arc::new(AtomicU64::new(0));
    let port = forgetful_relay(server.port, Arc::clone(&generation)).await;
    let options = setting::options();
    let origin = Arc::new(SlowOrigin::default());
    let purging = node(&server.url(), options.clone()).await;
    let silent = node(&format!("redis://127.0.0.1:{port}/0"), options).await;
    let both_are_registered = || server.cli(&["hlen", &server.cli(&["keys", "*n:{nodes}"])]) == "2";
    let start = Instant::now();
    while !both_are_registered() {
        assert!(start.elapsed() < Duration::from_secs(20), "the nodes do not register");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in 1..=3 {
        for cache in [&purging, &silent, &silent] {
            assert_eq!(get(cache, &origin).await, format!("response {round}"));
        }
        generation.fetch_add(1, Ordering::SeqCst);
        let purged = purging.purge(Scope::Key(&CacheKey::new(&target()))).await.expect("it purges");
        // Later, the node may not have connected again yet. Then it has no near copies either.
        assert!(purged.unacknowledged > 0 || round > 1, "{purged}");
        assert_eq!(get(&silent, &origin).await, format!("response {}", round + 1));
        // Until the store of the node has replaced its connection, what it fetches is not stored.
        let start = Instant::now();
        while get(&purging, &origin).await != get(&silent, &origin).await {
            assert!(start.elapsed() < Duration::from_secs(20), "the node does not recover");
        }
        purging.purge(Scope::All).await.expect("it purges");
        origin.requests.store(round, Ordering::SeqCst);
    }
}

/// Servers failed over while a node subscribed: its subscription was on the old master, which had
/// become a replica and then lost its link. The replica answered each `PING`, so that the node
/// served purged pages for seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_not_on_the_master_keeps_no_near_copies_alive() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    while !replica.cli(&["info", "replication"]).contains("master_link_status:up") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (options, origin) = (setting::options(), Arc::new(SlowOrigin::default()));
    let to = Arc::new(AtomicU16::new(master.port));
    let url = format!("redis://127.0.0.1:{}/0", switched_relay(Arc::clone(&to)).await);
    let far = Arc::new(RedisStore::connect(&url, options.clone()).await.expect("it connects"));
    // Further connections, so that of the subscription, are to the replica.
    to.store(replica.port, Ordering::SeqCst);
    let store: Arc<dyn CacheStore> = Arc::new(TieredStore::new(Arc::new(MemoryStore::default()), far));
    let misled = Cache::builder(store).build();
    let purging = node(&master.url(), options).await;
    let start = Instant::now();
    while master.cli(&["hlen", &master.cli(&["keys", "*n:{nodes}"])]) != "2" {
        assert!(start.elapsed() < Duration::from_secs(20), "the nodes do not register");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in 1..=3 {
        for _ in 0..20 {
            assert_eq!(get(&misled, &origin).await, format!("response {round}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        master.cli(&["acl", "setuser", "default", "-psync", "-sync"]);
        master.cli(&["client", "kill", "type", "replica"]);
        let purged = purging.purge(Scope::Key(&CacheKey::new(&target()))).await.expect("it purges");
        assert!(purged.unacknowledged > 0 || round > 1, "{purged}");
        assert_eq!(get(&misled, &origin).await, format!("response {}", round + 1));
    }
}

/// A node loses the connection for invalidations and misses a purge: it must not serve near copies
/// until it is connected again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_during_a_lost_connection_reaches_near_copies() {
    let server = Server::start(&[]);
    let options = setting::options();
    let origin = Arc::new(SlowOrigin::default());
    let (one, other) = (node(&server.url(), options.clone()).await, node(&server.url(), options).await);
    for cache in [&one, &other, &one, &other] {
        assert_eq!(get(cache, &origin).await, "response 1");
    }
    server.cli(&["client", "kill", "type", "pubsub"]);
    one.purge(Scope::Key(&CacheKey::new(&target()))).await.expect("it purges");
    let start = Instant::now();
    while get(&other, &origin).await == "response 1" {
        assert!(start.elapsed() < Duration::from_secs(5), "the purged response is served");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(get(&other, &origin).await, "response 2");
}

/// Every node read a page that varies, as most compressible pages do, from Redis at each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_variants_are_near_on_every_node() {
    let server = Server::start(&[]);
    let origin = Arc::new(SlowOrigin::default());
    let options = setting::options();
    let (one, other) = (node(&server.url(), options.clone()).await, node(&server.url(), options).await);
    for (count, language) in ["de", "en", "fr"].into_iter().enumerate() {
        let expected = format!("response {}", count + 1);
        assert_eq!(get_with(&one, &origin, language, "").await, expected);
        let start = Instant::now();
        // Until the node has received the invalidation of its incomplete near copies.
        while get_with(&other, &origin, language, "only-if-cached").await != expected {
            assert!(start.elapsed() < Duration::from_secs(5), "the {language} page never arrives");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for cache in [&one, &other] {
        get_with(cache, &origin, "de", "").await;
    }
    let lookups = || {
        let info = server.cli(&["info", "commandstats"]);
        info.lines().find(|line| line.starts_with("cmdstat_hgetall")).map(|line| line.to_owned())
    };
    let before = lookups();
    for language in ["de", "en", "fr"] {
        get_with(&one, &origin, language, "").await;
        get_with(&other, &origin, language, "").await;
    }
    assert_eq!(lookups(), before, "near copies need no lookup in Redis");
    assert_eq!(origin.requests.load(Ordering::SeqCst), 3);
}

/// A page was being fetched in one process when another one purged it. Requests that came after the
/// purge waited for the old fetch, and got the purged page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_after_a_purge_in_another_process_shares_no_earlier_fetch() {
    let options = setting::options();
    let origin = Arc::new(SlowOrigin { delay: Duration::from_secs(1), ..SlowOrigin::default() });
    let fetching = node(setting::shared(), options.clone()).await;
    let purging = node(setting::shared(), options).await;
    let (cache, slow) = (fetching.clone(), Arc::clone(&origin));
    let early = tokio::spawn(async move { get(&cache, &slow).await });
    while origin.requests.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    purging.purge(Scope::Key(&CacheKey::new(&target()))).await.expect("it purges");
    assert_eq!(get(&fetching, &origin).await, "response 2");
    assert_eq!(early.await.expect("no panic"), "response 1");
    assert_eq!(get(&fetching, &origin).await, "response 2");
}

/// The server paused for a moment, so that a process got no reply to its claim, and fetched without
/// the lease. All others waited for a lease that no process held, until it expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_which_the_claim_has_timed_out_is_released() {
    let server = Server::start(&[]);
    let options = setting::options().with_lease_duration(Duration::from_secs(600));
    let hasty = options.clone().with_command_timeout(Duration::from_millis(50));
    let late = RedisStore::connect(&server.url(), hasty).await.expect("it connects");
    let other = RedisStore::connect(&server.url(), options).await.expect("it connects");
    let page = CacheKey::new(&target());
    for is_dropped in [false, true] {
        server.signal("STOP");
        let claiming = late.leases().expect("it has leases").claim(&page);
        if is_dropped {
            tokio::time::timeout(Duration::from_millis(10), claiming).await.expect_err("no reply");
        } else {
            claiming.await.expect_err("no reply");
        }
        server.signal("CONT");
        let start = Instant::now();
        loop {
            let claim = other.leases().expect("it has leases").claim(&page).await.expect("it replies");
            if matches!(claim, Claim::Granted(_)) {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the lease is not released");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Until the claim above is released.
        while !server.cli(&["keys", "*l"]).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
