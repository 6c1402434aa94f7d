//! Runs the contract tests of all stores against the memory store, and tests its limits.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{CacheStore, StoreErrorKind, StoredBody};
use larder_memory::{MemoryOptions, MemoryStore};
use larder_testkit::{head, key, store_suite};

store_suite!(memory, async { MemoryStore::default() });

/// Stores a response with this body.
async fn put(store: &MemoryStore, path: &str, body: Bytes) -> Result<(), larder_core::StoreError> {
    let mut writer = store
        .reserve(&key(path))
        .await?
        .begin(Arc::new(head(&[], &[])), Some(body.len() as u64), head(&[], &[]).keep_until())
        .await?;
    writer.write(body).await?;
    writer.commit().await?;
    Ok(())
}

/// Two other caches are known to exceed their limit in bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_exceeded_by_at_most_five_percent() {
    let capacity = 16 * 1024 * 1024;
    let store = MemoryStore::with_capacity(capacity);
    let mut tasks = Vec::new();
    for task in 0..4 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..2000_usize {
                let length = [100, 1000, 60_000, 500_000][n % 4];
                match put(&store, &format!("/{task}/{n}"), vec![0; length].into()).await {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Full, "{error}"),
                }
                assert!(
                    store.bytes_in_use() <= capacity + capacity / 20,
                    "{} of {capacity} bytes",
                    store.bytes_in_use()
                );
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert!(store.bytes_in_use() > capacity / 2, "it uses its capacity: {}", store.bytes_in_use());
}

#[tokio::test]
async fn bodies_that_are_being_written_count() {
    let store = MemoryStore::with_capacity(8 * 1024 * 1024);
    let mut writers = Vec::new();
    let error = 'full: {
        for n in 0..100 {
            let path = format!("/{n}");
            let mut writer = store
                .reserve(&key(&path))
                .await
                .expect("reserve succeeds")
                .begin(Arc::new(head(&[], &[])), None, head(&[], &[]).keep_until())
                .await
                .expect("begin succeeds");
            if let Err(error) = writer.write(vec![0; 100_000].into()).await {
                break 'full error;
            }
            writers.push(writer);
        }
        panic!("a hundred concurrent fills were not limited");
    };
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(store.bytes_in_use() <= 1024 * 1024, "bodies being written may use an eighth");
    drop(writers);
    assert_eq!(store.bytes_in_use(), 0, "dropped writers release their bytes");
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected_before_it_is_read() {
    let store = MemoryStore::new(MemoryOptions::default().with_capacity(80 * 1024 * 1024));
    let error = store
        .reserve(&key("/a"))
        .await
        .expect("reserve succeeds")
        .begin(Arc::new(head(&[], &[])), Some(1 << 30), head(&[], &[]).keep_until())
        .await
        .expect_err("too long");
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(error.to_string().contains("max_object"), "the message names the option to change: {error}");
    let mut writer = store
        .reserve(&key("/a"))
        .await
        .expect("reserve succeeds")
        .begin(Arc::new(head(&[], &[])), None, head(&[], &[]).keep_until())
        .await
        .expect("the length is unknown");
    let mut written = 0_u64;
    while writer.write(vec![0; 65_536].into()).await.is_ok() {
        written += 65_536;
    }
    assert!(written <= 8 * 1024 * 1024, "{written} bytes of a body of unknown length were in memory");
}

/// A stored body was a small slice of a large read buffer, which it kept in memory.
#[tokio::test]
async fn a_stored_body_does_not_keep_its_read_buffer_alive() {
    let store = MemoryStore::default();
    let buffer = Bytes::from(vec![7; 1024 * 1024]);
    put(&store, "/a", buffer.slice(10..20)).await.expect("put succeeds");
    let found = store.lookup(&key("/a")).await.expect("lookup succeeds");
    let StoredBody::Whole(body) = &found[0].body else { panic!("the body is short") };
    assert!(!buffer.as_ptr_range().contains(&body.as_ptr()), "the body is still in the read buffer");
}

/// Ten thousand different query strings per second must not evict the entries that are read often.
#[tokio::test]
async fn the_hot_set_survives_a_scan() {
    let store = MemoryStore::with_capacity(4 * 1024 * 1024);
    let hot = |n: usize| format!("/hot/{n}");
    for n in 0..100 {
        put(&store, &hot(n), vec![0; 10_000].into()).await.expect("put succeeds");
    }
    for scanned in 0..5000 {
        for n in [scanned % 100, (scanned * 7) % 100] {
            let _ = store.lookup(&key(&hot(n))).await;
        }
        put(&store, &format!("/scan?{scanned}"), vec![0; 10_000].into()).await.expect("put succeeds");
    }
    let mut kept = 0;
    for n in 0..100 {
        kept += usize::from(!store.lookup(&key(&hot(n))).await.expect("lookup succeeds").is_empty());
    }
    assert!(kept >= 90, "{kept} of 100 hot entries survived");
}
