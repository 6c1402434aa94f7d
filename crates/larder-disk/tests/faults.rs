//! Lets the file system fail: full, read-only, or removed. Requests are answered by the origin,
//! failures are counted, and the store works again when the fault has ended. The file systems are
//! real and mounted for the test.

mod setting;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore as _, Origin, Scope};
use larder_disk::{DiskOptions, DiskStore};
use larder_testkit::{FnOrigin, ManualClock};
use setting::{TestDir, content, find, is_intact, put};

/// Runs a command and panics if it fails.
fn run(command: &str, arguments: &[&str]) {
    let hint = "this test mounts a file system: run it as root, with `mount` and `mkfs.ext4` \
                (apt-get install mount e2fsprogs)";
    let output = Command::new(command)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}; {hint}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {errors}; {hint}");
}

/// A mounted file system. It is unmounted when this is dropped.
struct Mounted {
    dir: TestDir,
    at: PathBuf,
}

impl Mounted {
    fn new(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = TestDir::new();
        let at = dir.path().join("mounted");
        std::fs::create_dir_all(&at).expect("create a directory");
        let mut arguments = arguments(&dir.path());
        arguments.push(at.display().to_string());
        run("mount", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Self { dir, at }
    }

    fn tmpfs(size: &str) -> Self {
        Self::new(|_| {
            vec![
                "-t".to_owned(),
                "tmpfs".to_owned(),
                "-o".to_owned(),
                format!("size={size}"),
                "larder".to_owned(),
            ]
        })
    }

    fn ext4(megabytes: u64) -> Self {
        Self::new(|dir| {
            let image = dir.join("image");
            let file = std::fs::File::create(&image).expect("a file");
            file.set_len(megabytes << 20).expect("set_len succeeds");
            run("mkfs.ext4", &["-q", "-m", "0", &image.display().to_string()]);
            vec!["-o".to_owned(), "loop".to_owned(), image.display().to_string()]
        })
    }

    fn store(&self, max_bytes: u64) -> DiskStore {
        DiskStore::open(self.at.join("cache"), DiskOptions::default().with_max_bytes(max_bytes))
            .expect("open succeeds")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        let _ = &self.dir;
    }
}

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
