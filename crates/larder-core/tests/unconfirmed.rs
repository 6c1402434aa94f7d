//! Tests removals that the store does not confirm: nothing that they concern is served meanwhile,
//! and they are repeated until the store confirms them.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use larder_core::{
    Cache, CacheGroup, CacheKey, CacheStore, Candidates, Limits, OriginErrorKind, Scope, StoreError,
    adapter::PurgePrefix,
};
use larder_testkit::{DelegatingStore, Fault, FaultyStore, StoreDelegate};
use setting::{Setting, read, request, setting, settle, with};
use tokio::sync::Notify;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=6000"), ("cache-groups", "\"news\"")];

/// Returns what a request for `path` gets, while the origin has "new".
async fn get(it: &mut Setting, path: &str) -> Vec<u8> {
    let fetch = it.get(path, &[]);
    settle().await;
    if fetch.is_finished() {
        return read(fetch).await.1;
    }
    it.requests.next().await.respond(200, FRESH, b"new");
    read(fetch).await.1
}

/// Waits until the store has confirmed everything.
async fn confirmed(it: &Setting) {
    assert!(it.cache.drain(Duration::from_secs(60)).await, "the store works again");
    assert_eq!(it.cache.unconfirmed_removals(), 0);
}

/// Redis was away while a `PUT` changed a page. The `PUT` was answered; afterwards the page was a
/// hit with the old content until it expired.
#[tokio::test(start_paused = true)]
async fn an_unsafe_request_invalidates_also_while_the_store_is_down() {
    for fault in [Fault::Down, Fault::Hangs] {
        let mut it = setting();
        it.fetch_and_store("/a", FRESH, b"old").await;
        it.fetch_and_store("/b", FRESH, b"other").await;
        it.fault(fault);
        let put = it.send(request("PUT", "/a", &[]));
        it.requests.next().await.respond(204, &[], b"");
        assert_eq!(read(put).await.1, b"");
        assert_eq!(it.cache.unconfirmed_removals(), 1);

        it.fault(Fault::FailsAtRemoval);
        assert_eq!(get(&mut it, "/a").await, b"new", "also before the removal is confirmed");
        assert_eq!(it.get_stored("/b").await.1, b"other", "other pages stay");
        it.fault(Fault::None);
        confirmed(&it).await;
        assert_eq!(get(&mut it, "/a").await, b"new");
        assert_eq!(it.get_stored("/a").await.1, b"new", "and it is stored again");
    }
}

/// A purge failed, and a soft purge of the same page succeeded: the page was stale and not removed.
#[tokio::test(start_paused = true)]
async fn a_soft_purge_does_not_replace_an_unconfirmed_purge() {
    let (key, group) = (key("/a"), CacheGroup::new("http://example.com", "news"));
    for scope in [Scope::Key(&key), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All] {
        let mut it = setting();
        it.fetch_and_store("/a", FRESH, b"old").await;
        it.fault(Fault::Down);
        it.cache.purge(scope).await.expect_err("the store is down");
        it.fault(Fault::None);
        it.cache.soft_purge(scope).await.expect("the store works");
        assert_eq!(it.stored("/a").await.len(), 0, "{scope:?}");
        confirmed(&it).await;
    }
}

/// An operator's purge got an error, and the page was served as before.
#[tokio::test(start_paused = true)]
async fn a_purge_that_failed_is_repeated() {
    let (key, group) = (key("/a"), CacheGroup::new("http://example.com", "news"));
    for scope in [Scope::Key(&key), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All] {
        let mut it = setting();
        it.fetch_and_store("/a", FRESH, b"old").await;
        it.fault(Fault::Down);
        let error = it.cache.purge(scope).await.expect_err("the store is down").to_string();
        assert!(error.contains("repeated"), "{error}");
        it.fault(Fault::FailsAtRemoval);
        assert_eq!(get(&mut it, "/a").await, b"new", "{scope}");
        it.fault(Fault::None);
        confirmed(&it).await;
        assert!(it.stored("/a").await.is_empty() || it.get_stored("/a").await.1 == b"new", "{scope}");
    }
}

/// A purge of a directory has several scopes. After the first of them had failed, the others were
/// forgotten: pages below the directory were served again once the store was back.
#[tokio::test(start_paused = true)]
async fn all_scopes_of_a_purge_that_failed_are_repeated() {
    for is_dropped in [false, true] {
        let mut it = setting();
        it.fetch_and_store("/dir/a", FRESH, b"old").await;
        let below = PurgePrefix::parse("http://example.com/dir").expect("a prefix");
        if is_dropped {
            it.fault(Fault::Hangs);
            let purging = tokio::time::timeout(Duration::from_millis(1), below.purge(&it.cache));
            purging.await.expect_err("the store hangs");
        } else {
            it.fault(Fault::Down);
            below.purge(&it.cache).await.expect_err("the store is down");
        }
        it.fault(Fault::FailsAtRemoval);
        assert_eq!(get(&mut it, "/dir/a").await, b"new", "dropped: {is_dropped}");
        it.fault(Fault::None);
        confirmed(&it).await;
    }
}

/// The client of a `PUT` closed its connection while the first of several removals was in progress.
#[tokio::test(start_paused = true)]
async fn all_removals_of_an_unsafe_request_are_completed_without_its_client() {
    let mut it = setting();
    it.fetch_and_store("/a", FRESH, b"old").await;
    it.fault(Fault::Hangs);
    let put = it.send(request("PUT", "/b", &[]));
    it.requests.next().await.respond(204, &[("cache-group-invalidation", "\"news\"")], b"");
    settle().await;
    put.abort();
    let _ = put.await;
    it.fault(Fault::FailsAtRemoval);
    assert_eq!(get(&mut it, "/a").await, b"new");
    it.fault(Fault::None);
    confirmed(&it).await;
}

/// Returns what a lookup has found only when the test permits it.
#[derive(Debug)]
struct Late {
    inner: FaultyStore,
    is_late: AtomicBool,
    has_found: Notify,
    may_return: Notify,
}

#[async_trait]
impl StoreDelegate for Late {
    fn inner(&self) -> &dyn CacheStore {
        &self.inner
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let found = self.inner.lookup(key).await;
        if self.is_late.swap(false, Ordering::SeqCst) {
            self.has_found.notify_one();
            self.may_return.notified().await;
        }
        found
    }
}

/// A purge had failed and was repeated while a request looked the page up. The lookup had found the
/// page before the removal, and looked for unconfirmed removals after it.
#[tokio::test(start_paused = true)]
async fn a_removal_that_is_confirmed_during_a_lookup_counts() {
    let (key, group) = (key("/a"), CacheGroup::new("http://example.com", "news"));
    for scope in [Scope::Key(&key), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All] {
        let mut it = setting();
        let late = DelegatingStore::new(Late {
            inner: it.store.clone(),
            is_late: AtomicBool::new(false),
            has_found: Notify::new(),
            may_return: Notify::new(),
        });
        it.cache = Cache::builder(Arc::new(late.clone())).clock(Arc::new(it.clock.clone())).build();
        it.fetch_and_store("/a", FRESH, b"old").await;
        it.fault(Fault::FailsAtRemoval);
        it.cache.purge(scope).await.expect_err("the store is down");
        late.is_late.store(true, Ordering::SeqCst);
        let fetch = it.get("/a", &[]);
        if matches!(scope, Scope::Group(_)) {
            late.has_found.notified().await;
        }
        it.fault(Fault::None);
        confirmed(&it).await;
        late.may_return.notify_one();
        settle().await;
        assert!(!fetch.is_finished(), "{scope}: the removed page is served");
        it.requests.next().await.respond(200, FRESH, b"new");
        assert_eq!(read(fetch).await.1, b"new", "{scope}");
    }
}

/// The same for a soft purge: the page is validated.
#[tokio::test(start_paused = true)]
async fn a_soft_purge_that_failed_is_repeated() {
    let (key, group) = (key("/a"), CacheGroup::new("http://example.com", "news"));
    for scope in [Scope::Key(&key), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All] {
        let mut it = setting();
        let fields = [FRESH, &[("etag", "\"1\"")]].concat();
        it.fetch_and_store("/a", &fields, b"old").await;
        it.advance(1);
        it.fault(Fault::Down);
        it.cache.soft_purge(scope).await.expect_err("the store is down");
        it.fault(Fault::FailsAtRemoval);
        let fetch = it.get("/a", &[]);
        let received = it.requests.next().await;
        assert_eq!(received.request.headers()["if-none-match"], "\"1\"", "{scope}");
        received.respond(304, FRESH, b"");
        assert_eq!(read(fetch).await.1, b"old");
        it.fault(Fault::None);
        confirmed(&it).await;
    }
}

/// The client of a `PUT` closed its connection while the removal was in progress.
#[tokio::test(start_paused = true)]
async fn a_removal_is_completed_without_its_client() {
    let mut it = setting();
    it.fetch_and_store("/a", FRESH, b"old").await;
    it.fault(Fault::Hangs);
    let put = it.send(request("PUT", "/a", &[]));
    it.requests.next().await.respond(204, &[], b"");
    settle().await;
    put.abort();
    let _ = put.await;
    it.fault(Fault::FailsAtRemoval);
    assert_eq!(get(&mut it, "/a").await, b"new");
    it.fault(Fault::None);
    confirmed(&it).await;
}

/// The client of a `PUT` closed its connection before the origin's response, or the origin's
/// connection broke: the origin may have carried it out.
#[tokio::test(start_paused = true)]
async fn an_unsafe_request_without_response_invalidates() {
    for is_aborted in [true, false] {
        let mut it = setting();
        it.fetch_and_store("/a", FRESH, b"old").await;
        let put = it.send(request("PUT", "/a", &[]));
        let received = it.requests.next().await;
        if is_aborted {
            put.abort();
            let _ = put.await;
        } else {
            received.fail(OriginErrorKind::Protocol);
            assert!(put.await.expect("no panic").is_err());
        }
        settle().await;
        assert_eq!(get(&mut it, "/a").await, b"new", "aborted: {is_aborted}");
        confirmed(&it).await;
    }
}

/// It was not sent: nothing has changed.
#[tokio::test(start_paused = true)]
async fn an_unsafe_request_that_was_not_sent_invalidates_nothing() {
    for kind in [OriginErrorKind::Connect, OriginErrorKind::Busy] {
        let mut it = setting();
        it.fetch_and_store("/a", FRESH, b"old").await;
        let put = it.send(request("PUT", "/a", &[]));
        it.requests.next().await.fail(kind);
        assert!(put.await.expect("no panic").is_err());
        assert_eq!(it.get_stored("/a").await.1, b"old");
    }
}

/// The table is bounded: beyond its limit, everything is removed.
#[tokio::test(start_paused = true)]
async fn many_removals_become_one_of_everything() {
    let mut it = with(Limits::default().with_store_timeout(Duration::from_millis(1)));
    it.fetch_and_store("/a", FRESH, b"old").await;
    it.fault(Fault::Down);
    for n in 0..5000 {
        it.cache.purge(Scope::Key(&key(&format!("/{n}")))).await.expect_err("the store is down");
    }
    assert!(it.cache.unconfirmed_removals() <= 4096);
    it.fault(Fault::FailsAtRemoval);
    assert_eq!(get(&mut it, "/a").await, b"new");
    it.fault(Fault::None);
    confirmed(&it).await;
}

/// The removals of a store that never returns end with their cache.
#[tokio::test(start_paused = true)]
async fn a_dropped_cache_repeats_nothing() {
    let it = setting();
    it.fault(Fault::Down);
    it.cache.purge(Scope::All).await.expect_err("the store is down");
    assert!(!it.cache.drain(Duration::from_secs(1)).await);
    let store = it.store.clone();
    drop(it);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = store.calls();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.calls(), calls);
}

/// Returns the key of a page.
fn key(path: &str) -> CacheKey {
    CacheKey::from_parts("http", "example.com", path).expect("a key")
}
