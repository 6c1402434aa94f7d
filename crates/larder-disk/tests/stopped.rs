//! Counts the threads of a process while another one, which is stopped, holds the lock of the
//! directory. The test has its own file because it counts the threads of the whole process.

mod setting;

use larder_core::{CacheStore as _, Scope, StoreErrorKind};
use setting::{TestDir, find, is_intact, key, put};

/// Returns the number of threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("a directory").count()
}

/// A process was stopped while it held the lock. Those that shared the directory with it grew to
/// 519 threads and 200 MiB more memory, and a `PUT` took ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_in_one_bounded_queue() {
    let dir = TestDir::new();
    let store = dir.open();
    put(&store, 1, 1000).await.expect("put succeeds");
    let before = threads();
    let lock = std::fs::File::open(dir.files_named("lock").remove(0)).expect("a file");
    lock.lock().expect("lock succeeds");
    let writers: Vec<_> = (0..6000u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                if n % 10 == 0 {
                    store.remove(Scope::Key(&key(n))).await.map(drop)
                } else {
                    put(&store, 10 + n, 20_000).await.map(drop)
                }
            })
        })
        .collect();
    let mut most = 0;
    for writer in writers {
        let error = writer.await.expect("no panic").expect_err("the directory is locked");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        most = most.max(threads());
    }
    assert!(most <= before + 10, "{most} threads, {before} before");
    // Lookups need no lock.
    assert!(is_intact(&store, 1).await);
    drop(lock);
    put(&store, 2, 1000).await.expect("put succeeds");
    assert!(is_intact(&store, 2).await);
    assert!(find(&store, 10).await.is_none());
}
