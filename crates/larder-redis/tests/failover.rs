//! Tests removals during a failover by Sentinels, in which some processes use the old master and
//! some the new one.

mod setting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{CacheStore, Scope, StoredHead};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::{head, key};
use setting::{Monitored, options};

fn fresh() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-control", "max-age=3600")], &[]))
}

/// Stores a page. Returns whether it is stored.
async fn put(store: &RedisStore, path: &str) -> bool {
    let written = async {
        let reserved = store.reserve(&key(path)).await?;
        let mut writer = reserved.begin(fresh(), None, fresh().keep_until()).await?;
        writer.write(Bytes::from_static(b"page")).await?;
        writer.commit().await
    };
    written.await.is_ok()
}

/// Returns whether a process would serve the page without validation.
async fn serves(store: &RedisStore, path: &str) -> bool {
    let Ok(found) = store.lookup(&key(path)).await else { return false };
    found.first().is_some_and(|one| !one.head.freshness.must_revalidate)
}

/// A master that answers its clients, but not its Sentinels. Its replica takes over, and clients
/// learn of it one after the other. `before` is connected to the old master, the other store to the
/// new one.
async fn split(options: &RedisOptions) -> (Monitored, RedisStore, RedisStore) {
    let it = Monitored::start().await;
    let before = RedisStore::connect(&it.url(), options.clone()).await.expect("it connects");
    // The Sentinels take it for down, and do not make it a replica as long as they do.
    it.master.cli(&["acl", "setuser", "default", "-ping"]);
    it.wait_for_failover().await;
    for _ in 0..1200 {
        if let Ok(after) = RedisStore::connect(&it.url(), options.clone()).await
            && put(&after, "/probe").await
            && it.replica.cli(&["keys", "*/probe"]).contains("/probe")
        {
            return (it, before, after);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no client uses the new master");
}

/// A purge was confirmed by the old master, while other processes used the new one already: they
/// served the purged page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_master_confirms_no_removal() {
    let options = options();
    let (_it, before, after) = split(&options).await;
    for n in 0..20 {
        let path = format!("/{n}");
        while !put(&after, &path).await {}
        if before.remove(Scope::Key(&key(&path))).await.is_ok() {
            assert!(!serves(&after, &path).await, "{path} is served after its removal");
        }
    }
}

/// A purge was confirmed by the new master, while other processes still used the old one: they
/// served the purged page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_master_confirms_a_removal_once_no_process_uses_the_old_one() {
    let options = options();
    let (_it, before, after) = split(&options).await;
    // Stored on the old master if the process still uses it.
    let _ = put(&before, "/page").await;
    let mut confirmed = 0;
    while confirmed < 3 {
        let removed = after.remove(Scope::Key(&key("/page"))).await;
        assert!(removed.is_err() || !serves(&before, "/page").await, "the page is served");
        confirmed += usize::from(removed.is_ok());
    }
}
