//! What stays: over a reopening, between stores on one directory, through scans, within the limit.

mod setting;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use larder_core::{CacheGroup, CacheStore as _};
use larder_disk::{DiskOptions, DiskStore};
use setting::{Place, content, find, head, is_right, key, put, read};

const LENGTHS: [usize; 6] = [0, 1, 1000, 64 << 10, 200 << 10, 3 << 20];

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    for (n, length) in (0..).zip(LENGTHS) {
        put(&store, n, length).await.expect("it stores");
    }
    drop(store);
    let store = place.open();
    for (n, length) in (0..).zip(LENGTHS) {
        let found = find(&store, n).await.expect("it is there");
        assert!(read(&found.body, None).await.expect("it reads") == content(n, length), "{length} bytes");
    }
    let stats = store.stats().await.expect("statistics");
    assert_eq!((stats.entries, stats.stored), (6, 6));
}

/// Two programs shared a cache, and one of them got "database is locked".
#[tokio::test]
async fn two_stores_on_one_directory_see_the_same_at_once() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    for (n, length) in (0..).zip(LENGTHS) {
        put(&one, n, length).await.expect("it stores");
        assert!(is_right(&other, n).await);
        put(&other, n, length + 1).await.expect("it replaces");
        let found = find(&one, n).await.expect("it is there");
        assert_eq!(found.body.content_length(), Some(length as u64 + 1));
        one.remove(&key(n)).await.expect("it removes");
        assert!(find(&other, n).await.is_none());
    }
    put(&one, 1, 10).await.expect("it stores");
    other.clear().await.expect("it clears");
    assert!(find(&one, 1).await.is_none());
    put(&one, 1, 10).await.expect("it stores after the clear");
    assert!(is_right(&other, 1).await);
}

#[tokio::test]
async fn a_group_removed_by_one_is_removed_for_the_other() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    let group = CacheGroup::new("http://example.com", "news");
    let grouped = std::sync::Arc::new(larder_testkit::head(&[("cache-groups", "\"news\"")], &[]));
    let late = other
        .reserve(&key(2))
        .await
        .expect("it reserves")
        .begin(std::sync::Arc::clone(&grouped), None)
        .await
        .expect("it begins");
    let writer =
        one.reserve(&key(1)).await.expect("it reserves").begin(grouped, None).await.expect("it begins");
    writer.commit().await.expect("it commits");
    assert!(find(&other, 1).await.is_some());
    one.invalidate_group(&group).await.expect("it removes");
    assert!(find(&other, 1).await.is_none());
    let refused = late.commit().await.expect_err("begun before the removal");
    assert_eq!(refused.kind(), larder_core::StoreErrorKind::Gone);
}

/// Fills, reads and removals of the same few keys by four stores at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_tear_nothing() {
    let place = Place::new();
    let tasks: Vec<_> = (0..4u64)
        .map(|who| {
            let store = place.sized(32 << 20);
            tokio::spawn(async move {
                for round in 0..300u64 {
                    let n = (round * 7 + who) % 10;
                    match round % 4 {
                        0 => drop(put(&store, n, LENGTHS[(round % 5) as usize]).await),
                        1 if round % 20 == 1 => store.remove(&key(n)).await.expect("it removes"),
                        _ => drop(is_right(&store, n).await),
                    }
                }
                store.stats().await.expect("statistics").corrupt
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), 0);
    }
}

#[tokio::test]
async fn urls_are_removed_by_their_beginning() {
    let place = Place::new();
    let store = place.open();
    for n in [1, 10, 11, 2] {
        put(&store, n, if n == 11 { 300_000 } else { 10 }).await.expect("it stores");
    }
    assert_eq!(store.remove_prefix("http://example.com/1").await.expect("it removes"), 3);
    assert!(find(&store, 10).await.is_none() && find(&store, 2).await.is_some());
    assert!(place.files_named("b-").is_empty());
}

/// A page of counters that was read while another thread wrote it was taken for a damaged one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_fill_fails_because_others_fill() {
    let place = Place::new();
    let store = place.open();
    let tasks: Vec<_> = (0..8u64)
        .map(|who| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..2000 {
                    put(&store, who * 10_000 + n, 10).await.expect("it stores");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no fill failed");
    }
    let stats = store.stats().await.expect("statistics");
    assert_eq!(stats.stored, 16_000);
    // A full bucket of the index pushes its coldest out before it is split: one in a thousand at the most.
    assert!((15_984..=16_000).contains(&stats.entries), "{} entries", stats.entries);
}

/// "The directory grew without bound."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds_under_sustained_writes() {
    const LIMIT: u64 = 16 << 20;
    let place = Place::new();
    let store = place.sized(LIMIT);
    let mut refused = 0;
    for n in 0..6000 {
        let length = [100, 1000, 20_000, 150_000][(n % 4) as usize];
        refused += u32::from(put(&store, n, length).await.is_err());
        if n % 250 == 0 {
            let used = place.used();
            assert!(used <= LIMIT + LIMIT / 50, "{used} bytes after {n}");
        }
    }
    assert_eq!(refused, 0);
    let used = place.used();
    assert!(used > LIMIT * 8 / 10, "only {used} bytes are used");
    let stats = store.stats().await.expect("statistics");
    assert!(stats.bytes.abs_diff(used) < LIMIT / 50, "{} are counted, {used} used", stats.bytes);
    let mut there = 0;
    for n in 0..6000 {
        there += u32::from(is_right(&store, n).await);
    }
    assert!(there > 200, "{there} are there");
}

/// A scan of ten times the limit, while a tenth of what fits is used now and then.
#[tokio::test]
async fn a_scan_does_not_take_what_is_used() {
    const LIMIT: u64 = 8 << 20;
    const HOT: u64 = 400; // with some 2 KiB each: a tenth
    let place = Place::new();
    let store = place.sized(LIMIT);
    for n in 0..HOT {
        put(&store, n, 1500).await.expect("it stores");
    }
    let scanned = LIMIT * 10 / 2048;
    for n in 0..scanned {
        put(&store, 1_000_000 + n, 1500).await.expect("it stores");
        // Each of them once in a turn of the whole.
        if n % 8 == 0 {
            find(&store, (n / 8) % HOT).await;
        }
    }
    let mut left = 0;
    for n in 0..HOT {
        left += u64::from(is_right(&store, n).await);
    }
    assert!(left * 10 >= HOT * 9, "{left} of {HOT} are left");
}

/// What a dead process has left is cleaned up, and its space counted.
#[tokio::test]
async fn an_abandoned_body_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    let mut writer =
        store.reserve(&key(1)).await.expect("it reserves").begin(head(), None).await.expect("it begins");
    for chunk in content(1, 3 << 20).chunks(64 << 10) {
        writer.write(bytes::Bytes::copy_from_slice(chunk)).await.expect("it writes");
    }
    assert_eq!(place.files_named("p-").len(), 1);
    drop(writer);
    assert!(place.files_named("p-").is_empty());
    // As one that was killed would leave them.
    let folder = place.files()[0].parent().expect("a folder").to_owned();
    std::fs::write(folder.join("p-0000000000000001"), vec![0; 1 << 20]).expect("a file");
    std::fs::write(folder.join("b-0000000000000001-0000000000000001"), vec![0; 1 << 20]).expect("a file");
    drop(store);
    let store = place.open();
    for _ in 0..500 {
        if place.files_named("p-").is_empty() && place.files_named("b-").is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(place.files_named("p-").is_empty() && place.files_named("b-").is_empty());
    drop(store);
}

/// A long body was being written while another process opened the directory and cleaned up: its file had just been made and was not
/// locked yet, so it was taken for what a dead process had left, and the fill failed at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_cleans_up_takes_nothing_that_has_just_begun() {
    let place = Place::new();
    let store = place.open();
    let done = Arc::new(AtomicBool::new(false));
    let opening: Vec<_> = (0..3)
        .map(|_| {
            let (path, done) = (place.path(), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let store = DiskStore::open(&path, DiskOptions::default()).expect("it opens");
                    // It cleans up on a thread of its own, if it is there for long enough.
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
    opening.into_iter().for_each(|thread| thread.join().expect("it opens each time"));
}
