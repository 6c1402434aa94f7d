//! Several processes that share a directory fetch a page once.
//!
//! A test starts its own executable as the other processes.

mod setting;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore as _, Claim, Leases as _, Origin, Scope};
use larder_disk::{DiskOptions, DiskStore};
use larder_testkit::{FnOrigin, ManualOrigin};
use rustix::process::{Pid, Signal, kill_process};
use setting::{TestDir, key};

const DIRECTORY: &str = "LARDER_LEASE_DIRECTORY";

/// A process that claims the lease of entry 1 and holds it. Does nothing unless the environment
/// variable is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = DiskStore::open(directory, DiskOptions::default()).expect("open succeeds");
    let Ok(Claim::Granted(_lease)) = store.claim(&key(1)).await else { panic!("the lease is free") };
    println!("\nclaimed");
    std::future::pending().await
}

/// Starts a process that holds the lease of entry 1.
fn start_holder(dir: &TestDir) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["holder", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the process starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.expect("it runs") == "claimed"));
    child
}

/// Claims the lease of an entry, and waits for those that hold it.
async fn claim_in_the_end(store: &DiskStore, n: u64) -> Box<dyn larder_core::Lease> {
    loop {
        match store.claim(&key(n)).await.expect("claim succeeds") {
            Claim::Granted(lease) => return lease,
            Claim::Held(held) => {
                let released = tokio::time::timeout(Duration::from_secs(60), held.released());
                released.await.expect("the lease is released");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_killed_process_is_free() {
    let dir = TestDir::new();
    let store = dir.open();
    let mut holder = start_holder(&dir);
    assert!(matches!(store.claim(&key(1)).await, Ok(Claim::Held(_))));
    let Ok(Claim::Held(held)) = store.claim(&key(1)).await else { panic!("it is held") };
    holder.kill().expect("kill succeeds");
    holder.wait().expect("it ends");
    // Both who waits and who claims for the first time.
    held.released().await;
    assert!(matches!(store.claim(&key(1)).await, Ok(Claim::Granted(_))));
}

/// A process was stopped while it fetched a page. The other ones waited for as long as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_loses_its_lease() {
    let dir = TestDir::new();
    let store = dir.open();
    let mut holder = start_holder(&dir);
    let pid = Pid::from_raw(i32::try_from(holder.id()).expect("a process")).expect("a process");
    kill_process(pid, Signal::STOP).expect("the process runs");
    drop(claim_in_the_end(&store, 1).await);
    kill_process(pid, Signal::CONT).expect("the process exists");
    holder.kill().expect("kill succeeds");
    holder.wait().expect("it ends");
}

/// Each miss was counted twice, since the engine looks up again after it has claimed the lease.
#[tokio::test]
async fn a_repeated_lookup_is_not_counted() {
    let dir = TestDir::new();
    let store = dir.open();
    let cache = Cache::builder(Arc::new(store.clone())).build();
    let origin = FnOrigin::fixed(&[("cache-control", "max-age=60")], b"page");
    for _ in 0..2 {
        let request = Request::get("http://example.com/page").body(Body::empty()).expect("a request");
        cache.fetch(request, Arc::clone(&origin) as Arc<dyn Origin>).await.expect("a response");
        assert!(cache.drain(Duration::from_secs(60)).await);
    }
    let stats = store.stats().await.expect("stats succeeds");
    assert_eq!((stats.hits, stats.misses), (1, 1));
}

#[tokio::test]
async fn leases_leave_no_file_for_each_key() {
    let dir = TestDir::new();
    let store = dir.open();
    let mut leases = Vec::new();
    for n in 0..3000 {
        if let Ok(Claim::Granted(lease)) = store.claim(&key(n)).await {
            leases.push(lease);
        }
    }
    assert!(leases.len() > 2900, "{} leases", leases.len());
    assert!(dir.files().len() < 10, "{} files", dir.files().len());
    drop(leases);
    for n in 0..3000 {
        assert!(matches!(store.claim(&key(n)).await, Ok(Claim::Granted(_))), "lease {n} is free");
    }
    drop(store);
    assert!(dir.files_named("h-").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_takes_the_lease_of_an_older_fetch() {
    let dir = TestDir::new();
    let (first, second) = (dir.open(), dir.open());
    let Ok(Claim::Granted(old)) = first.claim(&key(1)).await else { panic!("the lease is free") };
    let Ok(Claim::Held(waiting)) = second.claim(&key(1)).await else { panic!("it is held") };
    second.remove(Scope::Key(&key(1))).await.expect("remove succeeds");
    waiting.released().await;
    let Ok(Claim::Granted(_new)) = second.claim(&key(1)).await else { panic!("the older one is of no use") };
    drop(old);
    assert!(matches!(first.claim(&key(1)).await, Ok(Claim::Held(_))), "the newer one is kept");
}

/// Two proxies on one directory each fetched a page that neither had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_on_one_directory_fetch_a_cold_page_once() {
    let dir = TestDir::new();
    let caches: Vec<Cache> = (0..4).map(|_| Cache::builder(Arc::new(dir.open())).build()).collect();
    let origin = FnOrigin::new(|_, _| {
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok(response.body(Body::from(vec![b'x'; 300_000])).expect("a response"))
    });
    for n in 0..20 {
        let fetches: Vec<_> = (0..16)
            .map(|client| {
                let (cache, origin) = (caches[client % 4].clone(), Arc::clone(&origin) as Arc<dyn Origin>);
                let request = Request::get(format!("http://example.com/{n}")).body(Body::empty());
                tokio::spawn(async move { cache.fetch(request.expect("a request"), origin).await })
            })
            .collect();
        for fetch in fetches {
            let response = fetch.await.expect("no panic").expect("a response");
            let bytes = response.into_body().into_bytes(usize::MAX).await.expect("the body is whole");
            assert_eq!(bytes.len(), 300_000);
        }
        assert_eq!(origin.count(), n + 1, "page {n}");
    }
}

/// A page was being fetched in one process when an operator purged it through another. Who
/// requested it from the first one after the purge had returned got the purged page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_the_fetches_of_other_processes() {
    let dir = TestDir::new();
    let (origin, mut requests) = ManualOrigin::new();
    let [fetching, purging] = [0, 1].map(|_| Cache::builder(Arc::new(dir.open())).build());
    let get = |cache: &Cache| {
        let (cache, origin) = (cache.clone(), Arc::clone(&origin) as Arc<dyn Origin>);
        let request = Request::get("http://example.com/page").body(Body::empty()).expect("a request");
        tokio::spawn(async move {
            let response = cache.fetch(request, origin).await.expect("a response");
            response.into_body().into_bytes(usize::MAX).await.expect("the body is whole")
        })
    };
    let old = get(&fetching);
    let first = requests.next().await;
    purging.purge(Scope::Prefix("http://example.com/")).await.expect("the purge succeeds");
    let new = [get(&fetching), get(&purging)];
    let second = requests.next().await;
    first.respond(200, &[("cache-control", "max-age=60")], b"purged");
    assert_eq!(&*old.await.expect("no panic"), b"purged");
    second.respond(200, &[("cache-control", "max-age=60")], b"new");
    for fetch in new {
        assert_eq!(&*fetch.await.expect("no panic"), b"new");
    }
    assert!(requests.is_empty(), "the two share one fetch");
}
