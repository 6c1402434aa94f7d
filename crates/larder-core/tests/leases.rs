//! Tests that several processes that share a store fetch a key once, if the store has leases.
//!
//! The tests run on one thread, so that after `settle` every task waits for the test.

mod setting;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use larder_core::{Cache, CacheKey, CacheStore, Claim, HeldLease, Lease, Leases, Origin, StoreError};
use larder_memory::MemoryStore;
use larder_testkit::{DelegatingStore, ManualOrigin, StoreDelegate};
use setting::{read, request, settle};
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

#[tokio::test]
async fn two_processes_fetch_a_cold_key_once() {
    let store = DelegatingStore::<Leasing>::default();
    let (origin, mut requests) = ManualOrigin::new();
    let caches = [0, 1].map(|_| Cache::builder(Arc::new(store.clone())).build());
    let get = |cache: &Cache| {
        let (cache, origin) = (cache.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin).await })
    };
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
    let get = |cache: &Cache| {
        let (cache, origin) = (cache.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        tokio::spawn(async move { cache.fetch(request("GET", "/", &[]), origin).await })
    };
    let dies = get(&caches[0]);
    let _lost = requests.next().await;
    let waits = get(&caches[1]);
    settle().await;
    dies.abort();
    requests.next().await.respond(200, FRESH, b"taken over");
    assert_eq!(read(waits).await.1, b"taken over");
}
