//! Values through the engine: one load, errors, staleness, groups, names.

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
    /// The number of the load that it came from.
    async fn number(&self, name: &str) -> usize {
        let loads = Arc::clone(&self.loads);
        let value =
            self.cache.value(name).groups(["numbers"]).stale_while_revalidate(Duration::from_secs(30));
        let load = move || {
            let load = loads.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, String>(load) }
        };
        value.get_or_try_insert_with(load).await.expect("a value")
    }

    async fn fails(&self, name: &str) -> Result<usize, ValueError<&'static str>> {
        let value = self.cache.value(name).stale_if_error(Duration::from_secs(60));
        value.get_or_try_insert_with(|| async { Err::<usize, _>("the database is down") }).await
    }
}

#[tokio::test]
async fn kept_for_its_time_and_removed_by_name_and_group() {
    let it = setting();
    assert_eq!((it.number("a").await, it.number("a").await, it.number("b").await), (1, 1, 2));
    it.cache.remove_value("a").await.expect("it is gone");
    assert_eq!((it.number("a").await, it.number("b").await), (3, 2));
    it.cache.remove_value_group("numbers").await.expect("they are gone");
    assert_eq!((it.number("a").await, it.number("b").await), (4, 5));
    it.clock.advance(Duration::from_secs(91));
    assert_eq!(it.number("a").await, 6);
}

#[tokio::test]
async fn a_hundred_at_once_load_once() {
    let it = setting();
    let gate = Arc::new(Notify::new());
    let asking: Vec<_> = (0..100)
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
    for asked in asking {
        assert_eq!(asked.await.expect("no panic").expect("a value"), "slow");
    }
    assert_eq!(it.loads.load(Ordering::SeqCst), 1);
}

/// With a stale value at hand, the second request still waited for the refresh of the first.
#[tokio::test]
async fn a_stale_value_is_given_while_a_new_one_is_loaded() {
    let it = setting();
    assert_eq!(it.number("a").await, 1);
    it.clock.advance(Duration::from_secs(61));
    assert_eq!((it.number("a").await, it.number("a").await), (1, 1));
    it.cache.drain(Duration::from_secs(5)).await;
    assert_eq!(it.number("a").await, 2);
}

#[tokio::test]
async fn a_failed_load_is_its_callers_and_nothing_is_kept_of_it() {
    let it = setting();
    let failed = it.fails("a").await;
    assert!(matches!(&failed, Err(ValueError::Load("the database is down"))), "{failed:?}");
    assert_eq!(it.number("a").await, 1, "the next one loads");
    assert_eq!(it.fails("a").await.expect("it is there"), 1);
    it.clock.advance(Duration::from_secs(100));
    let failed = it.fails("a").await;
    assert!(failed.is_err(), "what was kept did not allow it: {failed:?}");
    // One that does.
    let value = || it.cache.value("b").stale_if_error(Duration::from_secs(60));
    value().get_or_try_insert_with(|| async { Ok::<_, String>(7) }).await.expect("a value");
    it.clock.advance(Duration::from_secs(100));
    assert_eq!(it.fails("b").await.expect("the old one stands in"), 7);
}

/// Negative caching: only where it is asked for, for its own time, and never in the place of an old value that may be given.
#[tokio::test]
async fn a_failure_is_remembered_where_that_is_asked_for() {
    let it = setting();
    let ask = |name: &'static str, fails: bool| {
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
    assert!(matches!(ask("a", true).await, Err(ValueError::Load("down"))));
    for _ in 0..3 {
        assert!(
            matches!(ask("a", false).await, Err(ValueError::NegativelyCached)),
            "nothing is loaded meanwhile"
        );
    }
    it.clock.advance(Duration::from_secs(6));
    assert_eq!(ask("a", false).await.expect("it is loaded again"), 2);
    it.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        assert_eq!(ask("a", true).await.expect("the old value stands in"), 2);
    }
    it.cache.remove_value("a").await.expect("it is gone");
    assert!(matches!(ask("a", true).await, Err(ValueError::Load("down"))));
    it.cache.remove_value("a").await.expect("also what is remembered is gone");
    assert_eq!(ask("a", false).await.expect("it is loaded"), 6);
}

#[tokio::test]
async fn another_shape_is_loaded_anew() {
    let it = setting();
    let old =
        it.cache.value("row").get_or_try_insert_with(|| async { Ok::<_, String>("text".to_owned()) }).await;
    assert_eq!(old.expect("a value"), "text");
    let new = || it.cache.value("row").get_or_try_insert_with(|| async { Ok::<_, String>(vec![1, 2]) });
    assert_eq!(new().await.expect("a value"), [1, 2]);
}

#[tokio::test]
async fn names_are_taken_as_they_are() {
    let it = setting();
    let long = "x".repeat(100_000);
    let names = [&*long, "", "a", "A", "a/../b", "b", "%61", "ü", "a b", "a&b=c", "..", "a?b#c"];
    for (index, name) in names.iter().enumerate() {
        assert_eq!(it.number(name).await, index + 1, "{name}");
    }
    for (index, name) in names.iter().enumerate() {
        assert_eq!(it.number(name).await, index + 1, "{name}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_a_miss() {
    let it = setting();
    it.store.set(Fault::Down);
    assert_eq!((it.number("a").await, it.number("a").await), (1, 2));
}
