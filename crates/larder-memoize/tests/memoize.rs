//! Memoized values through the engine: collapsing, errors, staleness, groups and names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::Cache;
use larder_memoize::{ValueError, Values as _};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore, ManualClock};
use tokio::sync::Notify;

#[derive(Clone)]
struct Setting {
    cache: Cache,
    clock: ManualClock,
    store: FaultyStore,
    loads: Arc<AtomicUsize>,
}

fn setting() -> Setting {
    let (clock, store) = (ManualClock::at(1_700_000_000), FaultyStore::new(Arc::new(MemoryStore::default())));
    let cache = Cache::builder(Arc::new(store.clone())).clock(Arc::new(clock.clone())).build();
    Setting { cache, clock, store, loads: Arc::default() }
}

impl Setting {
    /// Returns the number of the load that produced the value.
    async fn load_number(&self, name: &str) -> usize {
        let loads = Arc::clone(&self.loads);
        let value =
            self.cache.value(name).groups(["numbers"]).stale_while_revalidate(Duration::from_secs(30));
        let load = move || {
            let load = loads.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, String>(load) }
        };
        value.get_or_try_insert_with(load).await.expect("a value")
    }

    async fn failing_load(&self, name: &str) -> Result<usize, ValueError<&'static str>> {
        let value = self.cache.value(name).stale_if_error(Duration::from_secs(60));
        value.get_or_try_insert_with(|| async { Err::<usize, _>("the database is down") }).await
    }
}

#[tokio::test]
async fn a_value_is_stored_for_its_ttl_and_removed_by_name_and_group() {
    let it = setting();
    assert_eq!((it.load_number("a").await, it.load_number("a").await, it.load_number("b").await), (1, 1, 2));
    it.cache.remove_value("a").await.expect("removal");
    assert_eq!((it.load_number("a").await, it.load_number("b").await), (3, 2));
    it.cache.remove_value_group("numbers").await.expect("removal");
    assert_eq!((it.load_number("a").await, it.load_number("b").await), (4, 5));
    it.clock.advance(Duration::from_secs(91));
    assert_eq!(it.load_number("a").await, 6);
}

#[tokio::test]
async fn a_hundred_concurrent_calls_load_once() {
    let it = setting();
    let gate = Arc::new(Notify::new());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (it, gate) = (it.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let loads = Arc::clone(&it.loads);
                let load = move || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.notified().await;
                        Ok::<_, String>("slow".to_owned())
                    }
                };
                it.cache.value("slow").get_or_try_insert_with(load).await
            })
        })
        .collect();
    while it.loads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("a value"), "slow");
    }
    assert_eq!(it.loads.load(Ordering::SeqCst), 1);
}

/// Regression test: with a stale value stored, the second call waited for the refresh that the
/// first had started.
#[tokio::test]
async fn a_stale_value_is_returned_while_a_new_one_is_loaded() {
    let it = setting();
    assert_eq!(it.load_number("a").await, 1);
    it.clock.advance(Duration::from_secs(61));
    assert_eq!((it.load_number("a").await, it.load_number("a").await), (1, 1));
    it.cache.drain(Duration::from_secs(5)).await;
    assert_eq!(it.load_number("a").await, 2);
}

#[tokio::test]
async fn a_failed_load_returns_its_error_and_is_not_cached() {
    let it = setting();
    let failed = it.failing_load("a").await;
    assert!(matches!(&failed, Err(ValueError::Load("the database is down"))), "{failed:?}");
    assert_eq!(format!("{failed:?}"), r#"Err(the value could not be loaded: "the database is down")"#);
    assert_eq!(it.load_number("a").await, 1, "the next call loads");
    assert_eq!(it.failing_load("a").await.expect("a stored value"), 1);
    it.clock.advance(Duration::from_secs(100));
    let failed = it.failing_load("a").await;
    assert!(failed.is_err(), "the value was stored without stale_if_error: {failed:?}");
    // This value is stored with `stale_if_error`.
    let value = || it.cache.value("b").stale_if_error(Duration::from_secs(60));
    value().get_or_try_insert_with(|| async { Ok::<_, String>(7) }).await.expect("a value");
    it.clock.advance(Duration::from_secs(100));
    assert_eq!(it.failing_load("b").await.expect("the stale value"), 7);
}

/// A failed load is cached only with `negative_ttl`, for that time, and never instead of a stale
/// value that `stale_if_error` allows.
#[tokio::test]
async fn a_failed_load_is_cached_for_its_negative_ttl() {
    let it = setting();
    let get = |name: &'static str, fails: bool| {
        let (it, loads) = (it.clone(), Arc::clone(&it.loads));
        async move {
            let value = it
                .cache
                .value(name)
                .negative_ttl(Duration::from_secs(5))
                .stale_if_error(Duration::from_secs(60));
            let load = move || {
                let load = loads.fetch_add(1, Ordering::SeqCst) + 1;
                async move { if fails { Err("down") } else { Ok(load) } }
            };
            value.ttl(Duration::from_secs(10)).get_or_try_insert_with(load).await
        }
    };
    assert!(matches!(get("a", true).await, Err(ValueError::Load("down"))));
    for _ in 0..3 {
        assert!(matches!(get("a", false).await, Err(ValueError::NegativelyCached)), "the failure is cached");
    }
    it.clock.advance(Duration::from_secs(6));
    assert_eq!(get("a", false).await.expect("a new load"), 2);
    it.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        assert_eq!(get("a", true).await.expect("the stale value"), 2);
    }
    it.cache.remove_value("a").await.expect("removal");
    assert!(matches!(get("a", true).await, Err(ValueError::Load("down"))));
    it.cache.remove_value("a").await.expect("removal of the cached failure");
    assert_eq!(get("a", false).await.expect("a new load"), 6);
}

#[tokio::test]
async fn a_value_of_another_type_is_loaded_again() {
    let it = setting();
    let old =
        it.cache.value("row").get_or_try_insert_with(|| async { Ok::<_, String>("text".to_owned()) }).await;
    assert_eq!(old.expect("a value"), "text");
    let new = || it.cache.value("row").get_or_try_insert_with(|| async { Ok::<_, String>(vec![1, 2]) });
    assert_eq!(new().await.expect("a value"), [1, 2]);
}

#[tokio::test]
async fn any_string_is_a_distinct_name() {
    let it = setting();
    let long = "x".repeat(100_000);
    let names = [&*long, "", "a", "A", "a/../b", "b", "%61", "ü", "a b", "a&b=c", "..", "a?b#c"];
    for (index, name) in names.iter().enumerate() {
        assert_eq!(it.load_number(name).await, index + 1, "{name}");
    }
    for (index, name) in names.iter().enumerate() {
        assert_eq!(it.load_number(name).await, index + 1, "{name}");
    }
}

#[tokio::test]
async fn an_unavailable_store_is_a_miss() {
    let it = setting();
    it.store.set(Fault::Down);
    assert_eq!((it.load_number("a").await, it.load_number("a").await), (1, 2));
}
