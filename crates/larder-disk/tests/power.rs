//! Lets the power fail: what was removed stays removed, and what a commit has waited for is there.
//!
//! The power of a file system fails by copying its image, in which everything is missing that has
//! not been synced.

mod setting;

use std::process::Command;

use larder_core::{CacheGroup, CacheStore as _, Scope, Timestamp};
use larder_disk::{DiskOptions, DiskStore, Durability};
use setting::{
    find, is_intact, key,
    mounted::{Mounted, run},
    put,
};

/// Stores an entry of a group.
async fn put_grouped(store: &DiskStore, n: u64) {
    let head = std::sync::Arc::new(larder_testkit::head(&[("cache-groups", "\"news\"")], &[]));
    let reservation = store.reserve(&key(n)).await.expect("reserve succeeds");
    let keep_until = head.keep_until();
    let writer = reservation.begin(head, None, keep_until).await.expect("begin succeeds");
    writer.commit().await.expect("commit succeeds");
}

/// Waits until everything written so far is on the disk.
fn sync(mounted: &Mounted) {
    run("sync", &["-f", &mounted.at.display().to_string()]);
}

/// An operator purged a page that had to go. The power failed a second later, and the page was
/// served again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_returned_is_not_undone() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    for n in 0..30 {
        put(&store, n, if n % 2 == 0 { 1000 } else { 300_000 }).await.expect("put succeeds");
    }
    put_grouped(&store, 100).await;
    sync(&mounted);
    store.remove(Scope::Key(&key(1))).await.expect("remove succeeds");
    store.remove(Scope::Key(&key(2))).await.expect("remove succeeds");
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    assert!(find(&restarted, 1).await.is_none() && find(&restarted, 2).await.is_none());
    assert!(is_intact(&restarted, 3).await && is_intact(&restarted, 4).await);
    drop((restarted, after));

    let news = CacheGroup::new("http://example.com", "news");
    store.remove(Scope::Group(&news)).await.expect("remove succeeds");
    store.remove(Scope::Prefix("http://example.com/2")).await.expect("remove succeeds");
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    for n in [1, 2, 20, 21, 100] {
        assert!(find(&restarted, n).await.is_none(), "entry {n}");
    }
    assert!(is_intact(&restarted, 3).await);
    // The numbers of entries and removals go on from where they were.
    put_grouped(&restarted, 101).await;
    assert!(find(&restarted, 101).await.is_some());
    restarted.remove(Scope::Group(&news)).await.expect("remove succeeds");
    assert!(find(&restarted, 101).await.is_none());
    drop((restarted, after));

    store.remove(Scope::All).await.expect("remove succeeds");
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    for n in 0..30 {
        assert!(find(&restarted, n).await.is_none(), "entry {n}");
    }
}

/// The state file was older than the entries after a power failure. A removal got a number that an
/// entry had already, and did not remove it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_does_not_keep_entries_from_being_removed() {
    let mounted = Mounted::ext4(64);
    let options = DiskOptions::default().with_max_bytes(32 << 20);
    let store = DiskStore::open(mounted.at.join("cache"), options).expect("open succeeds");
    sync(&mounted);
    let folders = std::fs::read_dir(mounted.at.join("cache")).expect("a directory").flatten();
    let state = folders.map(|entry| entry.path()).find(|path| path.is_dir()).expect("a folder").join("state");
    let before = std::fs::read(&state).expect("a file");
    for n in 0..20 {
        put_grouped(&store, n).await;
    }
    drop(store);
    std::fs::write(&state, before).expect("a file");
    let store = mounted.store(32 << 20);
    assert!(find(&store, 19).await.is_some());
    store
        .remove(Scope::Group(&CacheGroup::new("http://example.com", "news")))
        .await
        .expect("remove succeeds");
    for n in 0..20 {
        assert!(find(&store, n).await.is_none(), "entry {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_purge_that_returned_is_not_undone() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    put(&store, 1, 1000).await.expect("put succeeds");
    put_grouped(&store, 2).await;
    sync(&mounted);
    let at: Timestamp = setting::head().freshness.response_time;
    store.mark_stale(Scope::Key(&key(1)), at).await.expect("mark_stale succeeds");
    let news = CacheGroup::new("http://example.com", "news");
    store.mark_stale(Scope::Group(&news), at).await.expect("mark_stale succeeds");
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    for n in [1, 2] {
        if let Some(found) = find(&restarted, n).await {
            assert!(found.head.marked_stale(at).is_none(), "entry {n} is fresh again");
        }
    }
}

/// With the option for it, 20 of 100 entries were there after a power failure: only bodies had been
/// synced, and neither the index nor the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waited_for_the_disk_is_there() {
    let mounted = Mounted::ext4(64);
    let options = DiskOptions::default().with_max_bytes(32 << 20).with_durability(Durability::PowerFailure);
    let store = DiskStore::open(mounted.at.join("cache"), options).expect("open succeeds");
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in task * 10..task * 10 + 10 {
                    put(&store, n, if n % 3 == 0 { 300_000 } else { 20_000 }).await.expect("put succeeds");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let found = find(&store, 1).await.expect("it exists");
    let head = setting::head();
    let keep_until = head.keep_until();
    store.freshen(&key(1), found.id, head, keep_until).await.expect("freshen succeeds");
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    for n in 0..40 {
        assert!(is_intact(&restarted, n).await, "entry {n}");
    }
}

/// Without the option, entries may be missing, but those that are found are whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_did_not_wait_is_whole_or_absent() {
    let mounted = Mounted::ext4(64);
    let store = mounted.store(32 << 20);
    for n in 0..40 {
        put(&store, n, if n % 3 == 0 { 300_000 } else { 20_000 }).await.expect("put succeeds");
        if n == 20 {
            assert!(Command::new("sync").arg("-f").arg(&mounted.at).status().expect("sync runs").success());
        }
    }
    let after = mounted.after_power_failure();
    let restarted = after.store(32 << 20);
    let mut intact = 0;
    for n in 0..40 {
        intact += u32::from(is_intact(&restarted, n).await);
    }
    assert!(intact >= 21, "{intact} entries");
    for n in 0..40 {
        put(&restarted, n, 1000).await.expect("put succeeds");
        assert!(is_intact(&restarted, n).await);
    }
}
