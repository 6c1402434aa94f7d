//! A server that is far away: the round trips of a miss, and the timeout of a command.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use larder_core::{Body, Cache, Origin};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::FnOrigin;
use setting::{Server, options, relay::distant_relay};

/// A cache on a server that is far away.
struct Distant {
    cache: Cache,
    /// Round trips so far.
    trips: Arc<AtomicU64>,
    /// Round trips so far when the origin received its last request.
    at_origin: Arc<AtomicU64>,
    origin: Arc<FnOrigin>,
    _server: Server,
}

impl Distant {
    /// Connects to a server at this distance, one way.
    async fn start(distance: Duration, options: RedisOptions) -> Self {
        let (server, trips) = (Server::start(&[]), Arc::new(AtomicU64::new(0)));
        let port = distant_relay(server.port, distance, Arc::clone(&trips)).await;
        let url = format!("redis://127.0.0.1:{port}/0");
        let store = RedisStore::connect(&url, options).await.expect("it connects");
        let at_origin = Arc::new(AtomicU64::new(0));
        let (now, seen) = (Arc::clone(&trips), Arc::clone(&at_origin));
        let origin = FnOrigin::new(move |number, _| {
            seen.store(now.load(Ordering::SeqCst), Ordering::SeqCst);
            let response =
                Response::builder().header("cache-control", "max-age=60, stale-while-revalidate=60");
            Ok(response.body(Body::from(format!("response {number}"))).expect("a response"))
        });
        Self { cache: Cache::builder(Arc::new(store)).build(), trips, at_origin, origin, _server: server }
    }

    /// Requests a page. Returns its status in the cache once it has been read and stored.
    async fn get(&self, path: &str) -> String {
        let request =
            Request::get(format!("http://example.com{path}")).body(Body::empty()).expect("a request");
        let origin = Arc::clone(&self.origin) as Arc<dyn Origin>;
        let response = self.cache.fetch(request, origin).await.expect("a response");
        let status = response.cache_status().to_string();
        response.into_body().into_bytes(usize::MAX).await.expect("whole");
        assert!(self.cache.drain(Duration::from_secs(60)).await);
        status
    }

    /// Returns the round trips so far, once there have been none for a while: the release of a
    /// lease is not awaited.
    async fn settled(&self) -> u64 {
        loop {
            let before = self.trips.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.trips.load(Ordering::SeqCst) == before {
                return before;
            }
        }
    }
}

/// A miss made five round trips, one after the other, before it requested the page from the origin.
#[tokio::test]
async fn a_miss_has_two_round_trips_before_the_origin() {
    let it = Distant::start(Duration::from_millis(30), options()).await;
    // So that the server has all scripts.
    assert!(it.get("/warm").await.contains("fwd=uri-miss"));
    for path in ["/a", "/b", "/c"] {
        let before = it.settled().await;
        assert!(it.get(path).await.contains("fwd=uri-miss"));
        assert_eq!(it.at_origin.load(Ordering::SeqCst) - before, 2, "{path}");
        let before = it.settled().await;
        assert!(it.get(path).await.contains("hit"));
        assert_eq!(it.settled().await - before, 1, "a hit");
    }
}

/// Each lookup took longer than the timeout of a command, which was 50 ms at any distance.
#[tokio::test]
async fn hits_are_found_at_any_distance() {
    let options = RedisOptions::default().with_connect_timeout(Duration::from_secs(2));
    let it = Distant::start(Duration::from_millis(60), options).await;
    assert!(it.get("/a").await.contains("fwd=uri-miss"));
    for _ in 0..5 {
        assert!(it.get("/a").await.contains("hit"));
    }
    assert_eq!(it.origin.count(), 1);
}
