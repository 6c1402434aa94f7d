//! Tests promotion, one tier without the other, and invalidations by other processes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    CacheGroup, CacheStore, Invalidation, InvalidationFeed, InvalidationStream, Scope, StoredBody, StoredHead,
};
use larder_memory::MemoryStore;
use larder_testkit::{DelegatingStore, Fault, FaultyStore, StoreDelegate, head, key};
use larder_tiered::TieredStore;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// A far store with a feed that reports the invalidations of the test.
#[derive(Debug)]
struct FeedStore {
    inner: FaultyStore,
    listeners: Mutex<Vec<mpsc::UnboundedSender<Invalidation>>>,
}

#[derive(Debug)]
struct Listener(mpsc::UnboundedReceiver<Invalidation>);

#[async_trait]
impl InvalidationStream for Listener {
    async fn next(&mut self) -> Invalidation {
        self.0.recv().await.unwrap_or(Invalidation::Disconnected)
    }
}

impl InvalidationFeed for FeedStore {
    fn listen(&self) -> Box<dyn InvalidationStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().push(sender);
        Box::new(Listener(receiver))
    }
}

impl StoreDelegate for FeedStore {
    fn inner(&self) -> &dyn CacheStore {
        &self.inner
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        Some(self)
    }
}

struct Setting {
    near: FaultyStore,
    far: DelegatingStore<FeedStore>,
    tiers: TieredStore,
}

impl Setting {
    async fn new() -> Self {
        let near = FaultyStore::new(Arc::new(MemoryStore::default()));
        let inner = FaultyStore::new(Arc::new(MemoryStore::default()));
        let far = DelegatingStore::new(FeedStore { inner, listeners: Mutex::default() });
        let tiers = TieredStore::new(Arc::new(near.clone()), Arc::new(far.clone()));
        let it = Self { near, far, tiers };
        it.announce(Invalidation::Connected).await;
        it
    }

    /// Reports an invalidation and lets the store's task apply it.
    async fn announce(&self, invalidation: Invalidation) {
        self.far.listeners.lock().iter().for_each(|listener| drop(listener.send(invalidation.clone())));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    async fn content(&self) -> Option<Bytes> {
        content(&self.tiers).await
    }
}

#[test]
fn the_feed_of_a_store_is_reached_through_pointers() {
    let inner = FaultyStore::new(Arc::new(MemoryStore::default()));
    let shared: Arc<dyn CacheStore> =
        Arc::new(DelegatingStore::new(FeedStore { inner, listeners: Mutex::default() }));
    let boxed: Box<dyn CacheStore> = Box::new(Arc::clone(&shared));
    assert!(CacheStore::invalidations(&shared).is_some() && CacheStore::invalidations(&boxed).is_some());
}

async fn content(store: &dyn CacheStore) -> Option<Bytes> {
    match &store.lookup(&key("/a")).await.ok()?.first()?.body {
        StoredBody::Whole(bytes) => Some(bytes.clone()),
        StoredBody::Source(_) => panic!("a short body"),
    }
}

async fn put(store: &dyn CacheStore, body: &'static [u8]) {
    let mut writer = store
        .reserve(&key("/a"))
        .await
        .expect("it reserves")
        .begin(plain(), None, plain().keep_until())
        .await
        .expect("it begins");
    writer.write(Bytes::from_static(body)).await.expect("it writes");
    writer.commit().await.expect("it commits");
}

fn plain() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-groups", "\"g\"")], &[]))
}

#[tokio::test]
async fn what_is_found_far_is_near_the_next_time() {
    let it = Setting::new().await;
    put(&it.far, b"far").await;
    assert_eq!(it.content().await.as_deref(), Some(&b"far"[..]));
    it.far.inner.set(Fault::Down);
    assert_eq!(it.content().await.as_deref(), Some(&b"far"[..]), "from near");
}

#[tokio::test]
async fn what_is_written_is_in_both() {
    let it = Setting::new().await;
    put(&it.tiers, b"both").await;
    assert_eq!(content(&it.near).await.as_deref(), Some(&b"both"[..]));
    assert_eq!(content(&it.far).await.as_deref(), Some(&b"both"[..]));
    it.tiers.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    assert!(content(&it.near).await.is_none() && content(&it.far).await.is_none());
}

#[tokio::test]
async fn a_purge_counts_the_entries_of_each_store() {
    let it = Setting::new().await;
    put(&it.far, b"far only").await;
    let purged = it.tiers.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    assert_eq!((purged.entries, purged.near, purged.far), (Some(1), Some(0), Some(1)));
    put(&it.near, b"near only").await;
    let purged = it.tiers.remove(Scope::Prefix("")).await.expect("it removes");
    assert_eq!((purged.entries, purged.near, purged.far), (Some(1), Some(1), Some(0)));
    put(&it.tiers, b"both").await;
    let at = plain().freshness.response_time.saturating_add(Duration::from_secs(1));
    let marked = it.tiers.mark_stale(Scope::Key(&key("/a")), at).await.expect("it marks");
    assert_eq!((marked.entries, marked.near, marked.far), (Some(1), Some(1), Some(1)));
    let group = CacheGroup::new("http://example.com", "g");
    let removed = it.tiers.remove(Scope::Group(&group)).await.expect("it removes");
    assert_eq!(removed, larder_core::Purged::UNKNOWN, "stores do not count the entries of a group");
}

#[tokio::test]
async fn one_tier_that_is_down_does_not_keep_the_other_from_working() {
    let it = Setting::new().await;
    it.far.inner.set(Fault::Down);
    put(&it.tiers, b"near").await;
    assert_eq!(it.content().await.as_deref(), Some(&b"near"[..]));
    it.tiers
        .remove(Scope::Key(&key("/a")))
        .await
        .expect_err("it is unknown whether the far entry was removed");
    assert!(content(&it.near).await.is_none(), "it is removed near");
    it.far.inner.set(Fault::None);
    it.near.set(Fault::Down);
    put(&it.tiers, b"far").await;
    assert_eq!(it.content().await.as_deref(), Some(&b"far"[..]));
}

#[tokio::test]
async fn what_others_remove_is_removed_near() {
    for invalidation in [
        Invalidation::Key(key("/a")),
        Invalidation::Group(CacheGroup::new("http://example.com", "g")),
        Invalidation::Everything,
    ] {
        let it = Setting::new().await;
        put(&it.tiers, b"old").await;
        it.far.inner.remove(Scope::Key(&key("/a"))).await.expect("another process removes it");
        it.announce(invalidation.clone()).await;
        assert_eq!(it.content().await, None, "{invalidation:?}");
    }
}

/// A node with a lost connection served entries that other nodes had removed.
#[tokio::test]
async fn near_copies_are_not_served_while_disconnected() {
    let it = Setting::new().await;
    put(&it.tiers, b"old").await;
    it.announce(Invalidation::Disconnected).await;
    it.far.inner.remove(Scope::Key(&key("/a"))).await.expect("another process removes it");
    assert_eq!(it.content().await, None);
    put(&it.far, b"new").await;
    assert_eq!(it.content().await.as_deref(), Some(&b"new"[..]));
    it.announce(Invalidation::Connected).await;
    assert_eq!(it.content().await.as_deref(), Some(&b"new"[..]), "the old near copies are removed");
    it.far.inner.set(Fault::Down);
    assert_eq!(it.content().await.as_deref(), Some(&b"new"[..]), "near copies are served again");
}

/// A removal during a write was followed by the removed response in the near store.
#[tokio::test]
async fn a_write_that_a_removal_has_overtaken_is_not_near() {
    let it = Setting::new().await;
    let mut writer = it
        .tiers
        .reserve(&key("/a"))
        .await
        .expect("it reserves")
        .begin(plain(), None, plain().keep_until())
        .await
        .expect("it begins");
    writer.write(Bytes::from_static(b"old")).await.expect("it writes");
    it.announce(Invalidation::Key(key("/a"))).await;
    let _ = writer.commit().await;
    assert!(content(&it.near).await.is_none());
}

async fn put_variant(store: &dyn CacheStore, language: &str) {
    let head = Arc::new(head(&[("vary", "accept-language")], &[("accept-language", language)]));
    let reserved = store.reserve(&key("/v")).await.expect("it reserves");
    reserved
        .begin(head, None, plain().keep_until())
        .await
        .expect("it begins")
        .commit()
        .await
        .expect("it commits");
}

/// A page that varies, as most compressible pages do, was read from Redis at each request.
#[tokio::test]
async fn all_variants_are_near_or_none() {
    let it = Setting::new().await;
    let found = async || it.tiers.lookup(&key("/v")).await.map_or(0, |found| found.len());
    put_variant(&it.tiers, "de").await;
    put_variant(&it.far, "en").await;
    assert_eq!(found().await, 2, "including the one of another process");
    it.far.inner.set(Fault::Down);
    assert_eq!(found().await, 2, "from near");
    it.far.inner.set(Fault::None);
    put_variant(&it.far, "fr").await;
    it.announce(Invalidation::Key(key("/v"))).await;
    assert_eq!(found().await, 3, "another process has stored another variant");
    put_variant(&it.tiers, "it").await;
    assert_eq!(found().await, 4, "and so has this process");
    it.far.inner.set(Fault::Down);
    assert_eq!(found().await, 4, "from near");
}

#[tokio::test]
async fn freshening_reaches_both() {
    let it = Setting::new().await;
    put(&it.tiers, b"body").await;
    let found = it.tiers.lookup(&key("/a")).await.expect("it looks up");
    let freshened = Arc::new(head(&[("x-freshened", "yes")], &[]));
    it.tiers
        .freshen(&key("/a"), found[0].id, Arc::clone(&freshened), freshened.keep_until())
        .await
        .expect("it freshens");
    for store in [&it.near as &dyn CacheStore, &it.far] {
        let found = store.lookup(&key("/a")).await.expect("it looks up");
        assert_eq!(found[0].head.fields, freshened.fields);
    }
}
