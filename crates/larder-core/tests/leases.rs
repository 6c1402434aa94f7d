//! Tests that several processes that share a store fetch a key once, if the store has leases.
//!
//! The tests run on one thread, so that after `settle` every task waits for the test.

mod setting;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use larder_core::{
    Cache, CacheGroup, CacheKey, CacheStore, Candidates, Claim, HeldLease, Lease, Leases, Origin, Purged,
    RemovalToken, Removals, Scope, StoreError, TargetUri,
};
use larder_memory::MemoryStore;
use larder_testkit::{DelegatingStore, ManualOrigin, StoreDelegate};
use setting::{FetchTask, read, request, settle};
use tokio::sync::{Mutex, OwnedMutexGuard};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

/// A memory store with leases, shared by two caches that represent two processes.
#[derive(Debug, Default)]
struct Leasing {
    inner: MemoryStore,
    held: parking_lot::Mutex<HashMap<CacheKey, Arc<Mutex<()>>>>,
}

#[derive(Debug)]
struct Held(#[allow(dead_code, reason = "held until dropped")] OwnedMutexGuard<()>);
impl Lease for Held {}

#[derive(Debug)]
struct Waiting(Arc<Mutex<()>>);

#[async_trait]
impl HeldLease for Waiting {
    async fn released(self: Box<Self>) {
        drop(self.0.lock().await);
    }
}

#[async_trait]
impl Leases for Leasing {
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError> {
        let of_key = Arc::clone(self.held.lock().entry(key.clone()).or_default());
        Ok(match Arc::clone(&of_key).try_lock_owned() {
            Ok(guard) => Claim::Granted(Box::new(Held(guard))),
            Err(_) => Claim::Held(Box::new(Waiting(of_key))),
        })
    }

    fn precede_lookups(&self) -> bool {
        false
    }
}

impl StoreDelegate for Leasing {
    fn inner(&self) -> &dyn CacheStore {
        &self.inner
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }
}

larder_testkit::store_suite!(leasing, async { DelegatingStore::<Leasing>::default() });

#[test]
fn the_leases_of_a_store_are_reached_through_pointers() {
    let shared: Arc<dyn CacheStore> = Arc::new(DelegatingStore::<Leasing>::default());
    let boxed: Box<dyn CacheStore> = Box::new(Arc::clone(&shared));
    assert!(CacheStore::leases(&shared).is_some() && CacheStore::leases(&boxed).is_some());
}

/// Sends a request in a new task, to this process of several.
fn get_from(cache: &Cache, origin: &Arc<ManualOrigin>) -> FetchTask {
    let (cache, origin) = (cache.clone(), Arc::clone(origin) as Arc<dyn Origin>);
    tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin).await })
}

#[tokio::test]
async fn two_processes_fetch_a_cold_key_once() {
    let store = DelegatingStore::<Leasing>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let caches = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let get = |cache: &Cache| get_from(cache, &origin);
    let fetches: Vec<_> = (0..20).map(|n| get(&caches[n % 2])).collect();
    let first = requests.next().await;
    settle().await;
    assert!(requests.is_empty(), "both processes fetched");
    first.respond(200, FRESH, b"once");
    for fetch in fetches {
        assert_eq!(read(fetch).await.1, b"once");
    }
    assert!(requests.is_empty());
}

#[tokio::test]
async fn another_process_takes_over_when_the_lease_holder_dies() {
    let store = DelegatingStore::<Leasing>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let caches = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let get = |cache: &Cache| get_from(cache, &origin);
    let dies = get(&caches[0]);
    let _lost = requests.next().await;
    let waits = get(&caches[1]);
    settle().await;
    dies.abort();
    requests.next().await.respond(200, FRESH, b"taken over");
    assert_eq!(read(waits).await.1, b"taken over");
}

/// A memory store with removal tokens, shared by two caches that represent two processes.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    removals: AtomicU64,
    is_down: AtomicBool,
    /// Number of lookups to come that find nothing.
    blind: AtomicU64,
    /// While it is locked, no token is read.
    reading: tokio::sync::Mutex<()>,
}

impl Counting {
    fn on_read(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::new(larder_core::StoreErrorKind::Unavailable, "counting", "it is down"));
        }
        Ok(())
    }
}

#[async_trait]
impl Removals for Counting {
    async fn token(&self, _: &CacheKey) -> Result<RemovalToken, StoreError> {
        self.on_read()?;
        let _reading = self.reading.lock().await;
        Ok(RemovalToken(self.removals.load(Ordering::SeqCst)))
    }
}

#[async_trait]
impl StoreDelegate for Counting {
    fn inner(&self) -> &dyn CacheStore {
        &self.inner
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        self.on_read()?;
        let is_blind = |left: u64| left.checked_sub(1);
        match self.blind.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_blind) {
            Ok(_) => Ok(Candidates::none()),
            Err(_) => self.inner.lookup(key).await,
        }
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        self.removals.fetch_add(1, Ordering::SeqCst);
        self.inner.remove(scope).await
    }

    fn removals(&self) -> Option<&dyn Removals> {
        Some(self)
    }
}

larder_testkit::store_suite!(counting, async { DelegatingStore::<Counting>::default() });

/// A page was being fetched in one process when an operator purged it through another. Who
/// requested it from the first one after the purge had returned got the purged page.
#[tokio::test]
async fn a_request_after_a_purge_by_another_process_joins_no_fetch_from_before_it() {
    let key = CacheKey::new(&TargetUri::parse("http://example.com/").expect("a target"));
    let news = CacheGroup::new("http://example.com", "news");
    for scope in [Scope::Key(&key), Scope::Group(&news), Scope::Prefix("http://example.com/"), Scope::All] {
        let store = DelegatingStore::<Counting>::default();
        let (origin, mut requests) = ManualOrigin::new();
        let [fetching, purging] = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
        let get = || {
            let (cache, origin) = (fetching.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
            tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin).await })
        };
        let (leader, follower) = (get(), get());
        let first = requests.next().await;
        settle().await;
        purging.purge(scope).await.expect("the purge succeeds");
        let (later, latest) = (get(), get());
        let second = requests.next().await;
        settle().await;
        assert!(requests.is_empty(), "the requests after the purge share a fetch");
        first.respond(200, FRESH, b"purged");
        second.respond(200, FRESH, b"new");
        for fetch in [leader, follower] {
            assert_eq!(read(fetch).await.1, b"purged", "they were made before the purge");
        }
        for fetch in [later, latest, get()] {
            assert_eq!(read(fetch).await.1, b"new", "{scope}");
        }
    }
}

/// A leader looks a page up again, which another process has just stored. The page is purged before
/// the leader reads the token of removals, so that the token does not show the purge.
#[tokio::test]
async fn a_request_after_a_purge_does_not_get_what_a_leader_found_before_it() {
    let store = DelegatingStore::<Counting>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let [fetching, other] = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let first = get_from(&other, &origin);
    requests.next().await.respond(200, FRESH, b"purged");
    read(first).await;
    assert!(other.drain(std::time::Duration::from_secs(60)).await);

    let reading = store.reading.lock().await;
    // The page is stored between the first lookup of the leader and the second one.
    store.blind.store(1, Ordering::SeqCst);
    let leader = get_from(&fetching, &origin);
    settle().await;
    other.purge(Scope::All).await.expect("the purge succeeds");
    let follower = get_from(&fetching, &origin);
    settle().await;
    drop(reading);
    let second = requests.next().await;
    settle().await;
    assert!(requests.is_empty(), "they share a fetch");
    second.respond(200, FRESH, b"new");
    assert_eq!(read(follower).await.1, b"new");
    assert_eq!(read(leader).await.1, b"new");
}

/// A stale page was being revalidated in the background when it was purged.
#[tokio::test]
async fn a_request_after_a_purge_joins_no_revalidation_from_before_it() {
    const STALE: &[(&str, &str)] =
        &[("cache-control", "max-age=0, stale-while-revalidate=60"), ("etag", "\"a\"")];
    let store = DelegatingStore::<Counting>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let [fetching, purging] = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let get = || {
        let (cache, origin) = (fetching.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin).await })
    };
    let first = get();
    requests.next().await.respond(200, STALE, b"purged");
    read(first).await;
    assert_eq!(read(get()).await.1, b"purged", "stale while it is revalidated");
    let revalidation = requests.next().await;
    purging.purge(Scope::All).await.expect("the purge succeeds");
    let later = get();
    let second = requests.next().await;
    revalidation.respond(304, STALE, b"");
    second.respond(200, FRESH, b"new");
    assert_eq!(read(later).await.1, b"new");
}

/// The store was down for one process only. Another one purged a page that the first one was
/// fetching; requests that came to the first one after that got the purged page.
///
/// Nor is the origin flooded: those who have waited for the end of the fetch share the next one.
#[tokio::test]
async fn a_request_joins_no_earlier_fetch_while_the_store_is_down() {
    for is_down_before in [true, false] {
        let store = DelegatingStore::<Counting>::default();
        let (origin, mut requests) = ManualOrigin::new();
        let cache = Cache::builder(Arc::new(store.clone())).build();
        store.is_down.store(is_down_before, Ordering::SeqCst);
        let before = get_from(&cache, &origin);
        let first = requests.next().await;
        store.is_down.store(true, Ordering::SeqCst);
        let fetches: Vec<_> = (0..20).map(|_| get_from(&cache, &origin)).collect();
        settle().await;
        assert!(requests.is_empty(), "one at a time");
        first.respond(200, &[("cache-control", "max-age=60")], b"purged");
        let second = requests.next().await;
        settle().await;
        assert!(requests.is_empty(), "the origin is flooded");
        second.respond(200, FRESH, b"new");
        assert_eq!(read(before).await.1, b"purged");
        for fetch in fetches {
            assert_eq!(read(fetch).await.1, b"new", "down before: {is_down_before}");
        }
    }
}

/// Four processes with one Redis revalidated a page four times a second, where once was due.
#[tokio::test]
async fn processes_revalidate_a_stale_page_once() {
    const STALE: &[(&str, &str)] =
        &[("cache-control", "max-age=0, stale-while-revalidate=60"), ("etag", "\"a\"")];
    let store = DelegatingStore::<Leasing>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let caches = [0, 1, 2, 3].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let get = |cache: &Cache| get_from(cache, &origin);
    let first = get(&caches[0]);
    requests.next().await.respond(200, STALE, b"page");
    assert_eq!(read(first).await.1, b"page");
    settle().await;
    for cache in &caches {
        assert_eq!(read(get(cache)).await.1, b"page");
    }
    let revalidation = requests.next().await;
    settle().await;
    assert!(requests.is_empty(), "several processes revalidate");
    revalidation.respond(304, FRESH, b"");
    settle().await;
    assert_eq!(read(get(&caches[3])).await.0, "hit; ttl=60");
}

/// `larder get URL... | less` held the leases of what it had begun to fetch while its user did not
/// scroll. Other processes waited 30 s for each page.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_no_lease() {
    let store = DelegatingStore::<Leasing>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let caches = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let mut stalled =
        Box::pin(caches[0].fetch(request("GET", "/", &[]), Arc::clone(&origin) as Arc<dyn Origin>));
    let received = tokio::select! {
        _ = &mut stalled => panic!("the origin has not responded"),
        received = requests.next() => received,
    };
    // From now on, it is not polled.
    received.respond(200, FRESH, b"page");
    let started = tokio::time::Instant::now();
    assert_eq!(read(get_from(&caches[1], &origin)).await.1, b"page");
    assert!(requests.is_empty() && started.elapsed().as_secs() == 0, "{:?}", started.elapsed());
    assert!(stalled.await.is_ok());
}
