//! Tests persistence across restarts, sharing between stores, eviction, the size limit, and
//! cleanup.

mod setting;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use larder_core::{CacheGroup, CacheStore as _, Scope};
use larder_disk::{DiskOptions, DiskStore};
use setting::{TestDir, content, find, head, is_intact, key, put, read};

const LENGTHS: [usize; 6] = [0, 1, 1000, 64 << 10, 200 << 10, 3 << 20];

#[tokio::test]
async fn entries_survive_a_restart() {
    let dir = TestDir::new();
    let store = dir.open();
    for (n, length) in (0..).zip(LENGTHS) {
        put(&store, n, length).await.expect("put succeeds");
    }
    drop(store);
    let store = dir.open();
    for (n, length) in (0..).zip(LENGTHS) {
        let found = find(&store, n).await.expect("it exists");
        assert!(
            read(&found.body, None).await.expect("read succeeds") == content(n, length),
            "{length} bytes"
        );
    }
    let stats = store.stats().await.expect("stats succeeds");
    assert_eq!((stats.entries, stats.stored), (6, 6));
}

/// Two programs shared a cache, and one of them failed with "database is locked".
#[tokio::test]
async fn two_stores_on_one_directory_see_each_others_changes_at_once() {
    let dir = TestDir::new();
    let (first, second) = (dir.open(), dir.open());
    for (n, length) in (0..).zip(LENGTHS) {
        put(&first, n, length).await.expect("put succeeds");
        assert!(is_intact(&second, n).await);
        put(&second, n, length + 1).await.expect("replace succeeds");
        let found = find(&first, n).await.expect("it exists");
        assert_eq!(found.body.content_length(), Some(length as u64 + 1));
        first.remove(Scope::Key(&key(n))).await.expect("remove succeeds");
        assert!(find(&second, n).await.is_none());
    }
    put(&first, 1, 10).await.expect("put succeeds");
    second.remove(Scope::All).await.expect("clear succeeds");
    assert!(find(&first, 1).await.is_none());
    put(&first, 1, 10).await.expect("put succeeds after the clear");
    assert!(is_intact(&second, 1).await);
}

#[tokio::test]
async fn a_group_removed_by_one_store_is_removed_for_the_other() {
    let dir = TestDir::new();
    let (first, second) = (dir.open(), dir.open());
    let group = CacheGroup::new("http://example.com", "news");
    let grouped = std::sync::Arc::new(larder_testkit::head(&[("cache-groups", "\"news\"")], &[]));
    let late = second
        .reserve(&key(2))
        .await
        .expect("reserve succeeds")
        .begin(std::sync::Arc::clone(&grouped), None, grouped.keep_until())
        .await
        .expect("begin succeeds");
    let writer = first
        .reserve(&key(1))
        .await
        .expect("reserve succeeds")
        .begin(std::sync::Arc::clone(&grouped), None, grouped.keep_until())
        .await
        .expect("begin succeeds");
    writer.commit().await.expect("commit succeeds");
    assert!(find(&second, 1).await.is_some());
    first.remove(Scope::Group(&group)).await.expect("remove succeeds");
    assert!(find(&second, 1).await.is_none());
    let error = late.commit().await.expect_err("begun before the removal");
    assert_eq!(error.kind(), larder_core::StoreErrorKind::Gone);
}

/// Four stores fill, read and remove the same few keys concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_stores_never_read_torn_entries() {
    let dir = TestDir::new();
    let tasks: Vec<_> = (0..4u64)
        .map(|task| {
            let store = dir.sized(32 << 20);
            tokio::spawn(async move {
                for round in 0..300u64 {
                    let n = (round * 7 + task) % 10;
                    match round % 4 {
                        0 => drop(put(&store, n, LENGTHS[(round % 5) as usize]).await),
                        1 if round % 20 == 1 => {
                            store.remove(Scope::Key(&key(n))).await.expect("remove succeeds");
                        }
                        _ => drop(is_intact(&store, n).await),
                    }
                }
                store.stats().await.expect("stats succeeds").corrupt
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), 0);
    }
}

#[tokio::test]
async fn entries_are_removed_by_url_prefix() {
    let dir = TestDir::new();
    let store = dir.open();
    for n in [1, 10, 11, 2] {
        put(&store, n, if n == 11 { 300_000 } else { 10 }).await.expect("put succeeds");
    }
    assert_eq!(
        store.remove(Scope::Prefix("http://example.com/1")).await.expect("remove succeeds"),
        larder_core::Purged::from(3)
    );
    assert!(find(&store, 10).await.is_none() && find(&store, 2).await.is_some());
    assert!(dir.files_named("b-").is_empty());
}

/// The state file was read while another thread was writing it, and was treated as damaged.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_fills_do_not_make_each_other_fail() {
    let dir = TestDir::new();
    let store = dir.open();
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..2000 {
                    put(&store, task * 10_000 + n, 10).await.expect("put succeeds");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no fill fails");
    }
    let stats = store.stats().await.expect("stats succeeds");
    assert_eq!(stats.stored, 16_000);
    // A full bucket of the index evicts a slot if it has not been split yet: at most one entry in a
    // thousand.
    assert!((15_984..=16_000).contains(&stats.entries), "{} entries", stats.entries);
}

/// A cache directory grew without bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds_under_sustained_writes() {
    const LIMIT: u64 = 16 << 20;
    let dir = TestDir::new();
    let store = dir.sized(LIMIT);
    let mut failed = 0;
    for n in 0..6000 {
        let length = [100, 1000, 20_000, 150_000][(n % 4) as usize];
        failed += u32::from(put(&store, n, length).await.is_err());
        if n % 250 == 0 {
            let used = dir.used();
            assert!(used <= LIMIT + LIMIT / 50, "{used} bytes after {n}");
        }
    }
    assert_eq!(failed, 0);
    let used = dir.used();
    assert!(used > LIMIT * 8 / 10, "only {used} bytes are used");
    let stats = store.stats().await.expect("stats succeeds");
    assert!(stats.bytes.abs_diff(used) < LIMIT / 50, "{} bytes are reported, {used} are used", stats.bytes);
    let mut intact = 0;
    for n in 0..6000 {
        intact += u32::from(is_intact(&store, n).await);
    }
    assert!(intact > 200, "{intact} entries are intact");
}

/// Scans ten times the limit, while entries that occupy a tenth of it are looked up now and then.
#[tokio::test]
async fn a_scan_does_not_evict_entries_in_use() {
    const LIMIT: u64 = 8 << 20;
    const USED: u64 = 400; // about 2 KiB each: a tenth of the limit
    let dir = TestDir::new();
    let store = dir.sized(LIMIT);
    for n in 0..USED {
        put(&store, n, 1500).await.expect("put succeeds");
    }
    let scanned = LIMIT * 10 / 2048;
    for n in 0..scanned {
        put(&store, 1_000_000 + n, 1500).await.expect("put succeeds");
        // Looks up each used entry about once while the scan writes the whole limit.
        if n % 8 == 0 {
            find(&store, (n / 8) % USED).await;
        }
    }
    let mut intact = 0;
    for n in 0..USED {
        intact += u64::from(is_intact(&store, n).await);
    }
    assert!(intact * 10 >= USED * 9, "{intact} of {USED} entries are left");
}

/// Bodies of dropped writers and of killed processes are removed.
#[tokio::test]
async fn abandoned_bodies_are_removed() {
    let dir = TestDir::new();
    let store = dir.open();
    let mut writer = store
        .reserve(&key(1))
        .await
        .expect("reserve succeeds")
        .begin(head(), None, head().keep_until())
        .await
        .expect("begin succeeds");
    for chunk in content(1, 3 << 20).chunks(64 << 10) {
        writer.write(bytes::Bytes::copy_from_slice(chunk)).await.expect("write succeeds");
    }
    assert_eq!(dir.files_named("p-").len(), 1);
    drop(writer);
    assert!(dir.files_named("p-").is_empty());
    // Files as a killed process would leave them.
    let folder = dir.files()[0].parent().expect("a folder").to_owned();
    std::fs::write(folder.join("p-0000000000000001"), vec![0; 1 << 20]).expect("a file");
    std::fs::write(folder.join("b-0000000000000001-0000000000000001"), vec![0; 1 << 20]).expect("a file");
    drop(store);
    let store = dir.open();
    for _ in 0..500 {
        if dir.files_named("p-").is_empty() && dir.files_named("b-").is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(dir.files_named("p-").is_empty() && dir.files_named("b-").is_empty());
    drop(store);
}

/// A long body was being written while another process opened the directory and reclaimed
/// leftovers. The body's file had just been created and was not locked yet, so it was removed as a
/// leftover, and the fill failed at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cleanup_does_not_remove_files_that_were_just_created() {
    let dir = TestDir::new();
    let store = dir.open();
    let done = Arc::new(AtomicBool::new(false));
    let opening: Vec<_> = (0..3)
        .map(|_| {
            let (path, done) = (dir.path(), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let store = DiskStore::open(&path, DiskOptions::default()).expect("open succeeds");
                    // The maintenance thread needs some time to reclaim leftovers.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    drop(store);
                }
            })
        })
        .collect();
    for n in 0..1500 {
        if let Err(error) = put(&store, n % 8, 300_000).await {
            done.store(true, Ordering::Release);
            panic!("fill {n}: {error:?}");
        }
    }
    done.store(true, Ordering::Release);
    opening.into_iter().for_each(|thread| thread.join().expect("each open succeeds"));
}
