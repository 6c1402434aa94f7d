//! The file system fails: full, read-only, taken away. Requests go on from the origin, the counter says so, and the
//! store is well again when the fault is gone. The file systems are real ones, mounted for the test.

mod setting;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore as _, Origin};
use larder_disk::{DiskOptions, DiskStore};
use larder_testkit::{FnOrigin, ManualClock};
use setting::{Place, content, find, is_right, put};

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

/// A file system of its own, for as long as this lives.
struct Mounted {
    place: Place,
    at: PathBuf,
}

impl Mounted {
    fn new(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let place = Place::new();
        let at = place.path().join("mounted");
        std::fs::create_dir_all(&at).expect("a directory");
        let mut arguments = arguments(&place.path());
        arguments.push(at.display().to_string());
        run("mount", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Self { place, at }
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
        Self::new(|place| {
            let image = place.join("image");
            let file = std::fs::File::create(&image).expect("a file");
            file.set_len(megabytes << 20).expect("it grows");
            run("mkfs.ext4", &["-q", "-m", "0", &image.display().to_string()]);
            vec!["-o".to_owned(), "loop".to_owned(), image.display().to_string()]
        })
    }

    fn store(&self, max_bytes: u64) -> DiskStore {
        DiskStore::open(self.at.join("cache"), DiskOptions::with_max_bytes(max_bytes)).expect("it opens")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        let _ = &self.place;
    }
}

/// A cache over a store, and an origin whose answers tell what they are to.
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

async fn ask(cache: &Cache, origin: &Arc<FnOrigin>, n: u64) {
    let request = Request::get(format!("http://example.com/{n}")).body(Body::empty()).expect("a request");
    let answer = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await.expect("an answer");
    let mut body = answer.into_body();
    let mut whole = Vec::new();
    while let Some(chunk) = body.chunk().await {
        whole.extend_from_slice(&chunk.expect("the body is whole"));
    }
    assert!(whole == content(n, 20_000), "request {n} got something else");
}

async fn failures(store: &DiskStore) -> u64 {
    store.stats().await.expect("statistics").failed
}

/// Somebody else fills the disk: there is less than the store may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() {
    let mounted = Mounted::tmpfs("8m");
    let store = mounted.store(64 << 20);
    let (cache, origin) = cache(&store);
    let ballast = mounted.at.join("ballast");
    std::fs::write(&ballast, vec![0; 5 << 20]).expect("there is room");
    for n in 0..600 {
        ask(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    assert!(failed_writes(&store).await, "nothing failed, so the disk was not full");
    for n in 0..600 {
        is_right(&store, n).await;
    }
    std::fs::remove_file(&ballast).expect("it is there");
    for n in 1000..1010 {
        put(&store, n, 1000).await.expect("there is room again");
        assert!(is_right(&store, n).await);
    }
}

/// A fill that fails is the writer's to tell, so it is asked for.
async fn failed_writes(store: &DiskStore) -> bool {
    put(store, 999_999, 3 << 20).await.is_err()
}

/// The kernel makes a file system read-only when it has found an error in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_became_read_only() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    let (cache, origin) = cache(&store);
    for n in 0..50 {
        ask(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    run("mount", &["-o", "remount,abort", &mounted.at.display().to_string()]);
    let before = origin.count();
    for n in 0..100 {
        ask(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    assert!(origin.count() <= before + 60, "what was stored is still read");
    store.remove(&setting::key(1)).await.expect_err("what can't be removed is not said to be");
    assert!(failures(&store).await > 0);
}

/// `rm -rf ~/.cache` while the program runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_removed() {
    let place = Place::new();
    let store = place.open();
    let (cache, origin) = cache(&store);
    for n in 0..50 {
        ask(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    std::fs::remove_dir_all(place.path()).expect("it is there");
    for n in 0..100 {
        ask(&cache, &origin, n).await;
    }
    assert!(cache.drain(Duration::from_secs(10)).await);
    // It is made anew, and used.
    for _ in 0..1000 {
        if place.files_named("state").len() == 1 {
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
        assert!(stored, "it is well again");
    }
    assert!(!place.files_named("s-").is_empty());
}

/// Freshness is the engine's, and its clock may jump: nothing of it is in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_jumps() {
    let place = Place::new();
    let store = place.open();
    let clock = ManualClock::at(1_700_000_000);
    let (_, origin) = cache(&store);
    let cache = Cache::builder(Arc::new(store.clone())).clock(Arc::new(clock.clone())).build();
    ask(&cache, &origin, 1).await;
    assert!(cache.drain(Duration::from_secs(10)).await);
    ask(&cache, &origin, 1).await;
    assert_eq!(origin.count(), 1);
    clock.set_back(Duration::from_secs(86_400));
    ask(&cache, &origin, 1).await;
    assert_eq!(origin.count(), 2, "a day back: nobody can tell how old it is");
    ask(&cache, &origin, 2).await;
    clock.advance(Duration::from_secs(366 * 86_400));
    ask(&cache, &origin, 1).await;
    ask(&cache, &origin, 2).await;
    assert_eq!(origin.count(), 5, "a year on: both are stale");
    assert!(cache.drain(Duration::from_secs(10)).await);
    drop(store);
    assert!(is_right(&place.open(), 1).await);
}
