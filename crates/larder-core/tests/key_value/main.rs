//! Tests `KeyValueStore`: the contract on several backends, and what a backend that fails, loses
//! values or outlives the process must not cause.

mod backends;

use std::{future::poll_fn, sync::Arc, time::Duration};

use backends::{Directory, Map};
use bytes::Bytes;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, KeyValueStore, Scope, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, StoredHead, Timestamp,
};
use larder_testkit::{ManualClock, durable_contract, head, key};

larder_testkit::store_suite!(on_a_map, async { KeyValueStore::new(Map::default()) });

/// The promises to other processes about writes in progress are not among those of this store, so
/// it does not pass `two_handles_share_one_store`.
mod on_a_directory {
    use super::*;

    fn check<F: Future<Output = ()>>(promise: impl FnOnce(Box<dyn Fn() -> Arc<dyn CacheStore>>) -> F) {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let open = move || -> Arc<dyn CacheStore> { Arc::new(KeyValueStore::new(Directory::new(&path))) };
        runtime.block_on(promise(Box::new(open)));
    }

    #[test]
    fn a_committed_entry_survives_reopening() {
        check(durable_contract::a_committed_entry_survives_reopening);
    }

    #[test]
    fn an_uncommitted_entry_does_not_survive_reopening() {
        check(durable_contract::an_uncommitted_entry_does_not_survive_reopening);
    }

    #[test]
    fn a_removal_survives_reopening() {
        check(durable_contract::a_removal_survives_reopening);
    }
}

fn group(name: &str) -> CacheGroup {
    CacheGroup::new("http://example.com", name)
}

fn grouped() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-groups", "\"news\"")], &[]))
}

/// Returns a body of `length` bytes, all of them `tag`.
fn body(tag: u8, length: usize) -> Vec<u8> {
    vec![tag; length]
}

/// Reserves and begins an entry that is kept for two days.
async fn begin(store: &KeyValueStore, key: &CacheKey) -> Result<Box<dyn StoreWriter>, StoreError> {
    let head = grouped();
    let keep_until = head.freshness.response_time.saturating_add(Duration::from_secs(48 * 3600));
    store.reserve(key).await?.begin(head, None, keep_until).await
}

async fn write(
    store: &KeyValueStore,
    key: &CacheKey,
    body: &[u8],
) -> Result<Box<dyn StoreWriter>, StoreError> {
    let mut writer = begin(store, key).await?;
    for chunk in body.chunks(300_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(writer)
}

async fn put(store: &KeyValueStore, key: &CacheKey, body: &[u8]) -> Result<(), StoreError> {
    write(store, key, body).await?.commit().await.map(drop)
}

/// Reads the bodies of all entries of a key.
async fn bodies(store: &KeyValueStore, key: &CacheKey) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut bodies = Vec::new();
    for candidate in store.lookup(key).await?.iter() {
        bodies.push(match &candidate.body {
            StoredBody::Whole(bytes) => bytes.to_vec(),
            StoredBody::Source(source) => {
                let (mut stream, mut read) = (source.stream(None).await?, Vec::new());
                while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    read.extend_from_slice(&chunk?);
                }
                read
            }
        });
    }
    Ok(bodies)
}

/// Waits until the names with a prefix are gone: a dropped writer deletes them in a task.
async fn until_gone(map: &Map, prefix: &str) {
    while !map.names(prefix).is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Lengths of bodies of two and of three pieces.
const TWO_PIECES: usize = 1_100_000;
const LONG: usize = 2_500_000;

/// The network of a backend loses requests and replies: a client never gets a wrong body or a part
/// of one, and never a page that a purge has removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_fails_never_causes_a_wrong_body_or_undoes_a_purge() {
    for seed in 1..50_u64 {
        let map = Map::default();
        let store = KeyValueStore::new(map.clone());
        map.fail(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let page = key("/a");
        let mut least = 0;
        for round in 1..30_u8 {
            let length = [0, 1, 70_000, TWO_PIECES][usize::from(round) % 4];
            let _ = put(&store, &page, &body(round, length)).await;
            if round.is_multiple_of(3) {
                let news = group("news");
                let all = key("/").target();
                let scopes = [Scope::Key(&page), Scope::Group(&news), Scope::Prefix(&all), Scope::All];
                if store.remove(scopes[usize::from(round / 3) % 4]).await.is_ok() {
                    least = round + 1;
                }
            }
            for candidate in store.lookup(&page).await.iter().flat_map(|found| found.iter()) {
                let stale = Arc::new((*candidate.head).clone());
                let _ = store.freshen(&page, candidate.id, Arc::clone(&stale), stale.keep_until()).await;
            }
            for found in bodies(&store, &page).await.into_iter().flatten() {
                let tag = found.first().copied();
                let expected: &[usize] = if tag.is_some() { &[1, 70_000, TWO_PIECES] } else { &[0] };
                assert!(expected.contains(&found.len()), "seed {seed}: {} bytes of {tag:?}", found.len());
                assert!(found.iter().all(|byte| Some(*byte) == tag), "seed {seed}: two bodies are mixed");
                assert!(
                    tag.is_none_or(|tag| tag >= least),
                    "seed {seed}: {tag:?} was removed before {least}"
                );
            }
        }
        map.fail(0);
        put(&store, &page, &body(99, TWO_PIECES)).await.expect("the backend has recovered");
        assert!(bodies(&store, &page).await.expect("it reads") == [body(99, TWO_PIECES)]);
    }
}

/// A piece of a body was evicted, cut or damaged. The client gets an error or a miss, never a part.
#[tokio::test]
async fn a_lost_or_damaged_piece_is_an_error() {
    let changes: [fn(&Map, &str); 3] = [
        |map, name| map.evict(name),
        |map, name| map.damage(name, |bytes| bytes.truncate(1000)),
        |map, name| map.damage(name, |bytes| bytes[123] ^= 1),
    ];
    for (change, piece) in changes.iter().flat_map(|change| [(change, 0), (change, 1), (change, 2)]) {
        let map = Map::default();
        let store = KeyValueStore::new(map.clone());
        put(&store, &key("/a"), &body(7, LONG)).await.expect("it stores");
        let pieces = map.names("b");
        assert_eq!(pieces.len(), 3);
        change(&map, &pieces[piece]);
        let error = bodies(&store, &key("/a")).await.expect_err("a part of the body is lost");
        if error.kind() == StoreErrorKind::Corrupt {
            assert!(bodies(&store, &key("/a")).await.expect("it looks up").is_empty(), "it was removed");
            assert!(map.names("b").is_empty());
        }
    }
}

#[tokio::test]
async fn a_damaged_head_is_a_miss_and_is_removed() {
    let map = Map::default();
    let store = KeyValueStore::new(map.clone());
    put(&store, &key("/a"), b"short").await.expect("it stores");
    let name = map.names("e").remove(0);
    let length = store.lookup(&key("/a")).await.expect("it looks up").len();
    assert_eq!(length, 1);
    map.damage(&name, |bytes| bytes[50] ^= 1);
    assert!(store.lookup(&key("/a")).await.expect("it looks up").is_empty());
    assert!(map.names("e").is_empty());
}

/// A damaged record may be that of a removal: the entries of its group must not reappear.
#[tokio::test]
async fn a_damaged_record_of_a_group_hides_its_entries() {
    let map = Map::default();
    let store = KeyValueStore::new(map.clone());
    store.remove(Scope::Group(&group("news"))).await.expect("it removes");
    put(&store, &key("/a"), b"new").await.expect("it stores");
    map.damage(&map.names("g")[0], |bytes| bytes[6] ^= 1);
    assert!(bodies(&store, &key("/a")).await.expect("it looks up").is_empty());
    put(&store, &key("/a"), b"newer").await.expect("it stores");
    assert!(bodies(&store, &key("/a")).await.expect("it looks up") == [b"newer"]);
}

/// A purge returned while the head of the purged page was on its way to the backend.
#[tokio::test]
async fn a_removal_waits_for_a_head_that_is_on_its_way() {
    for scope in 0..3 {
        let map = Map::default();
        let store = KeyValueStore::new(map.clone());
        let page = key("/a");
        let writer = write(&store, &page, b"old").await.expect("it writes");
        map.close_gate();
        // The client disconnects: the commit goes on without its caller.
        let commit = tokio::spawn(writer.commit());
        map.arrival().await;
        commit.abort();
        let removal = tokio::spawn({
            let (store, page) = (store.clone(), page.clone());
            async move {
                let all = key("/").target();
                store.remove([Scope::Key(&page), Scope::Prefix(&all), Scope::All][scope]).await
            }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!removal.is_finished(), "a removal returned before the head arrived");
        map.open_gate();
        removal.await.expect("it ends").expect("it removes");
        assert!(bodies(&store, &page).await.expect("it looks up").is_empty());
    }
}

#[tokio::test]
async fn a_dropped_writer_and_a_replaced_entry_leave_no_pieces() {
    let map = Map::default();
    let store = KeyValueStore::new(map.clone());
    let writer = write(&store, &key("/a"), &body(1, LONG)).await.expect("it writes");
    assert_eq!(map.names("b").len(), 2);
    drop(writer);
    until_gone(&map, "b").await;
    put(&store, &key("/a"), &body(2, LONG)).await.expect("it stores");
    put(&store, &key("/a"), &body(3, LONG)).await.expect("it stores");
    assert_eq!(map.names("b").len(), 3);
    let removed = store.remove(Scope::All).await.expect("it removes");
    assert_eq!((removed, map.names("")), (larder_core::Purged::from(1), Vec::new()));
}

/// A process was killed in the middle of a body. Only a sweep deletes what it has left.
#[tokio::test]
async fn a_sweep_deletes_what_a_dead_process_left_and_nothing_else() {
    let clock = ManualClock::at(1_700_000_000);
    let map = Map::default();
    let open = || KeyValueStore::new(map.clone()).with_clock(Arc::new(clock.clone()));
    let store = open();
    std::mem::forget(write(&store, &key("/dead"), &body(1, LONG)).await.expect("it writes"));
    put(&store, &key("/kept"), &body(2, LONG)).await.expect("it stores");
    assert_eq!((store.sweep().await.expect("it sweeps"), map.names("b").len()), (0, 5), "it may be alive");

    clock.advance(Duration::from_secs(24 * 3600 + 1));
    let kept = store.lookup(&key("/kept")).await.expect("it looks up")[0].clone();
    let until = kept.head.freshness.response_time.saturating_add(Duration::from_secs(3600));
    store.freshen(&key("/kept"), kept.id, Arc::clone(&kept.head), until).await.expect("it is stored");
    let store = open();
    assert_eq!((store.sweep().await.expect("it sweeps"), map.names("b").len()), (2, 3));
    assert!(bodies(&store, &key("/kept")).await.expect("it reads") == [body(2, LONG)]);

    clock.advance(Duration::from_secs(3601));
    assert!(bodies(&store, &key("/kept")).await.expect("it looks up").is_empty(), "its time has passed");
    store.sweep().await.expect("it sweeps");
    assert_eq!(map.names(""), [""; 0]);
}

/// A group was removed, and marked stale, before the process was restarted.
#[tokio::test]
async fn removals_and_marks_of_groups_hold_in_other_processes() {
    let map = Map::default();
    let (one, other) = (KeyValueStore::new(map.clone()), KeyValueStore::new(map.clone()));
    put(&one, &key("/a"), &body(1, LONG)).await.expect("it stores");
    let at = grouped().freshness.response_time;
    other.mark_stale(Scope::Group(&group("news")), at).await.expect("it marks");
    other.mark_stale(Scope::Group(&group("news")), Timestamp::from_secs(1)).await.expect("it marks");
    let found = one.lookup(&key("/a")).await.expect("it looks up");
    assert_eq!(found[0].head.freshness.lifetime.lifetime, Duration::ZERO);
    other.remove(Scope::Group(&group("news"))).await.expect("it removes");
    assert!(bodies(&one, &key("/a")).await.expect("it looks up").is_empty());
    assert!(bodies(&KeyValueStore::new(map), &key("/a")).await.expect("it looks up").is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let store = KeyValueStore::new(Map::default()).with_max_object(1000);
    let error = write(&store, &key("/a"), &body(1, 1001)).await.expect_err("it is too long");
    assert_eq!(error.kind(), StoreErrorKind::Full);
    let head = grouped();
    let reserved = store.reserve(&key("/a")).await.expect("it reserves");
    let begun = reserved.begin(Arc::clone(&head), Some(1001), head.keep_until()).await;
    assert_eq!(begun.expect_err("it is too long").kind(), StoreErrorKind::Full);
}
