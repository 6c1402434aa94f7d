//! Lets the file system fail: full, read-only, or removed. Requests are answered by the origin,
//! failures are counted, and the store works again when the fault has ended. The file systems are
//! real and mounted for the test.

mod setting;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore as _, Origin, Scope};
use larder_disk::DiskStore;
use larder_testkit::{FnOrigin, ManualClock};
use setting::{
    TestDir, content, find, is_intact, key,
    mounted::{Mounted, run},
    put,
};

/// Creates a cache on a store, and an origin that returns the body of the entry with the requested
/// number.
fn cache(store: &DiskStore) -> (Cache, Arc<FnOrigin>) {
    let origin = FnOrigin::new(|_, request| {
        let n: u64 = request.uri().path().trim_start_matches('/').parse().expect("a number");
        Ok(Response::builder()
            .header("cache-control", "max-age=3600")
            .body(Body::from(content(n, 20_000)))
            .expect("a response"))
    });
    (Cache::builder(Arc::new(store.clone())).build(), origin)
}

/// Fetches entry `n` through the cache and asserts that the body is right.
async fn fetch(cache: &Cache, origin: &Arc<FnOrigin>, n: u64) {
    let request = Request::get(format!("http://example.com/{n}")).body(Body::empty()).expect("a request");
    let response = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await.expect("fetch succeeds");
    let whole = response.into_body().into_bytes(usize::MAX).await.expect("the body is whole");
    assert!(whole == content(n, 20_000), "the body of request {n} is wrong");
}

/// Returns the number of failed operations.
async fn failures(store: &DiskStore) -> u64 {
    store.stats().await.expect("stats succeeds").failed
}

/// Other files fill the disk, so that less space is left than the store may use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() {
    let mounted = Mounted::tmpfs("8m");
    let store = mounted.store(64 << 20);
    let (cache, origin) = cache(&store);
    let ballast = mounted.at.join("ballast");
    std::fs::write(&ballast, vec![0; 5 << 20]).expect("the disk has room");
    for n in 0..600 {
        fetch(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    assert!(failed_writes(&store).await, "nothing failed, so the disk was not full");
    for n in 0..600 {
        is_intact(&store, n).await;
    }
    std::fs::remove_file(&ballast).expect("it exists");
    for n in 1000..1010 {
        put(&store, n, 1000).await.expect("the disk has room again");
        assert!(is_intact(&store, n).await);
    }
}

/// Returns whether a fill fails. Failed fills are not counted in the statistics, so one is tried
/// here.
async fn failed_writes(store: &DiskStore) -> bool {
    put(store, 999_999, 3 << 20).await.is_err()
}

/// The kernel makes a file system read-only when it finds an error in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_became_read_only() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    let (cache, origin) = cache(&store);
    for n in 0..50 {
        fetch(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    run("mount", &["-o", "remount,abort", &mounted.at.display().to_string()]);
    let before = origin.count();
    for n in 0..100 {
        fetch(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    assert!(origin.count() <= before + 60, "stored entries are still found");
    store.remove(Scope::Key(&setting::key(1))).await.expect_err("a removal that is not possible fails");
    assert!(failures(&store).await > 0);
}

/// `rm -rf ~/.cache` while the program runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_removed() {
    let dir = TestDir::new();
    let store = dir.open();
    let (cache, origin) = cache(&store);
    for n in 0..50 {
        fetch(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    std::fs::remove_dir_all(dir.path()).expect("it exists");
    for n in 0..100 {
        fetch(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    // The store creates the directory again and uses it.
    for _ in 0..1000 {
        if dir.files_named("state").len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for n in 200..210 {
        let mut stored = false;
        for _ in 0..200 {
            if put(&store, n, 1000).await.is_ok() && find(&store, n).await.is_some() {
                stored = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stored, "the store works again");
    }
    assert!(!dir.files_named("s-").is_empty());
}

/// Jumps of the engine's clock do not affect the store, since only the engine decides on freshness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_jumps() {
    let dir = TestDir::new();
    let store = dir.open();
    let clock = ManualClock::at(1_700_000_000);
    let (_, origin) = cache(&store);
    let cache = Cache::builder(Arc::new(store.clone())).clock(Arc::new(clock.clone())).build();
    fetch(&cache, &origin, 1).await;
    assert!(cache.drain(Duration::from_secs(10)).await);
    fetch(&cache, &origin, 1).await;
    assert_eq!(origin.count(), 1);
    clock.set_back(Duration::from_secs(86_400));
    fetch(&cache, &origin, 1).await;
    assert_eq!(origin.count(), 2, "a day back: the age is unknown");
    fetch(&cache, &origin, 2).await;
    clock.advance(Duration::from_secs(366 * 86_400));
    fetch(&cache, &origin, 1).await;
    fetch(&cache, &origin, 2).await;
    assert_eq!(origin.count(), 5, "a year later: both are stale");
    assert!(cache.drain(Duration::from_secs(10)).await);
    drop(store);
    assert!(is_intact(&dir.open(), 1).await);
}

/// A `PUT` was answered with 204 on a full disk, and the replaced page was a hit afterwards: the
/// tombstone of its removal needed a block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_on_a_full_disk() {
    // The short entries are all in the segment that is being written.
    for (count, length) in [(200, 20_000), (20, 1000)] {
        let mounted = Mounted::tmpfs("16m");
        let (store, other) = (mounted.store(64 << 20), mounted.store(64 << 20));
        for n in 0..count {
            put(&store, n, length).await.expect("put succeeds");
        }
        let group = larder_core::CacheGroup::new("http://example.com", "news");
        let ballast = std::fs::File::create(mounted.at.join("ballast")).expect("a file");
        let block = vec![0; 4096];
        while std::io::Write::write_all(&mut &ballast, &block).is_ok() {}
        for n in count / 2..count / 2 + 10 {
            store.remove(Scope::Key(&key(n))).await.expect("entries make room for the removal");
        }
        store.remove(Scope::Group(&group)).await.expect("entries make room for the removal");
        for store in [&store, &other] {
            for n in count / 2..count / 2 + 10 {
                assert!(find(store, n).await.is_none(), "entry {n} was removed");
            }
        }
    }
}

/// On a disk that can no longer be written, a removal fails. The process that tried it does
/// not find the entry any more; it finds what it stores after the disk works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_removed_is_not_found() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    for n in 0..50 {
        put(&store, n, 1000).await.expect("put succeeds");
    }
    let remount =
        |how: &str| run("mount", &["-o", &format!("remount,{how}"), &mounted.at.display().to_string()]);
    let late = store.reserve(&key(1)).await.expect("reserve succeeds");
    // The files that are open for writing keep the file system from being remounted read-only, so
    // the lock is taken, as by a process that is stopped.
    let lock = std::fs::File::open(lock_file(&mounted)).expect("a file");
    lock.lock().expect("lock succeeds");
    store.remove(Scope::Key(&key(1))).await.expect_err("the directory is locked");
    store.remove(Scope::Prefix("http://example.com/2")).await.expect_err("the directory is locked");
    assert!(find(&store, 1).await.is_none() && find(&store, 20).await.is_none());
    assert!(find(&store, 3).await.is_some());
    drop(lock);
    // What was requested before the removal is not stored after it.
    let head = setting::head();
    let writer = late.begin(Arc::clone(&head), None, head.keep_until()).await.expect("begin succeeds");
    let refused = writer.commit().await.expect_err("it was reserved before the removal");
    assert_eq!(refused.kind(), larder_core::StoreErrorKind::Gone);
    put(&store, 1, 1000).await.expect("put succeeds");
    assert!(is_intact(&store, 1).await && find(&store, 20).await.is_none());
    let other = mounted.store(32 << 20);
    assert!(find(&other, 20).await.is_none(), "the removal was carried out");
    // A file system with an error.
    remount("abort");
    store.remove(Scope::Key(&key(3))).await.expect_err("the disk cannot be written");
    assert!(find(&store, 3).await.is_none() && find(&store, 4).await.is_some());
    store.remove(Scope::All).await.expect_err("the disk cannot be written");
    assert!(find(&store, 4).await.is_none());
}

/// Returns the path of the lock file.
fn lock_file(mounted: &Mounted) -> std::path::PathBuf {
    let folders = std::fs::read_dir(mounted.at.join("cache")).expect("a directory").flatten();
    let folder = folders.map(|entry| entry.path()).find(|path| path.is_dir()).expect("a folder");
    folder.join("lock")
}
