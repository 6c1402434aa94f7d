//! The `CacheStore` contract: one function for each promise, which panics if the store breaks it.
//!
//! [`store_suite!`](crate::store_suite) runs all of them. `prefixes` has the promises about URL
//! prefixes and about marking a key stale, `counts` those about the numbers that removals return,
//! `evictions` those about the eviction of one entry, `races` those about removals during
//! concurrent writes, `sharing` those of stores that several processes share. Promises of stores
//! that persist entries are in `durable`.
#![allow(clippy::missing_panics_doc, reason = "a contract function panics if the store breaks it")]

mod counts;
mod evictions;
mod prefixes;
mod races;
mod sharing;

use std::{collections::VecDeque, future::poll_fn, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    ByteStream, CacheGroup, CacheKey, CacheStore, Candidate, Scope, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, StoredHead,
};

pub use counts::*;
pub use evictions::*;
pub use prefixes::*;
pub use races::*;
pub use sharing::*;

use crate::{head, key};

type Store = Arc<dyn CacheStore>;

/// Returns a head without `Vary` and without groups.
fn plain() -> Arc<StoredHead> {
    Arc::new(head(&[], &[]))
}

/// Returns the head of a variant with this language.
fn variant(language: &str) -> Arc<StoredHead> {
    Arc::new(head(&[("vary", "accept-language")], &[("accept-language", language)]))
}

/// Returns a head in this group.
fn grouped(name: &str) -> Arc<StoredHead> {
    Arc::new(head(&[("cache-groups", &format!("\"{name}\""))], &[]))
}

/// Returns a group of `http://example.com`.
fn group(name: &str) -> CacheGroup {
    CacheGroup::new("http://example.com", name)
}

/// Reserves, begins and writes an entry without committing it.
async fn uncommitted(
    store: &Store,
    key: &CacheKey,
    head: Arc<StoredHead>,
    body: &[u8],
) -> Box<dyn StoreWriter> {
    let keep_until = head.keep_until();
    let mut writer = store
        .reserve(key)
        .await
        .expect("it reserves")
        .begin(head, Some(body.len() as u64), keep_until)
        .await
        .expect("it begins");
    for chunk in body.chunks(1000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
    }
    writer
}

/// Stores an entry.
async fn put(store: &Store, key: &CacheKey, head: Arc<StoredHead>, body: &[u8]) {
    uncommitted(store, key, head, body).await.commit().await.expect("it commits");
}

/// Returns all entries of a key.
async fn found(store: &Store, key: &CacheKey) -> Vec<Candidate> {
    store.lookup(key).await.expect("it looks up").to_vec()
}

/// Returns the only entry of a key.
async fn only(store: &Store, key: &CacheKey) -> Candidate {
    let mut all = found(store, key).await;
    assert_eq!(all.len(), 1, "there must be exactly one entry");
    all.remove(0)
}

/// Reads a stream to its end.
async fn drain(mut stream: ByteStream) -> Result<Vec<u8>, StoreError> {
    let mut read = Vec::new();
    while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        read.extend_from_slice(&chunk?);
    }
    Ok(read)
}

/// Reads a body, or a range of it.
async fn read(body: &StoredBody, range: Option<Range<u64>>) -> Vec<u8> {
    match (body, range) {
        (StoredBody::Whole(bytes), None) => bytes.to_vec(),
        (StoredBody::Whole(bytes), Some(range)) => bytes[range.start as usize..range.end as usize].to_vec(),
        (StoredBody::Source(source), range) => {
            drain(source.stream(range).await.expect("it opens")).await.expect("it reads")
        }
    }
}

/// Returns whether the result is an error of the kind `Gone`.
fn is_gone<T>(result: Result<T, StoreError>) -> bool {
    result.is_err_and(|error| error.kind() == StoreErrorKind::Gone)
}

/// Returns a body in which each byte depends on its position.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Checks that a committed entry is found, with its head and the length of its body.
pub async fn an_entry_is_found_once_it_is_committed(store: Store) {
    assert!(found(&store, &key("/a")).await.is_empty());
    put(&store, &key("/a"), plain(), b"whole").await;
    let entry = only(&store, &key("/a")).await;
    assert_eq!(*entry.head, *plain());
    assert_eq!(entry.body.content_length(), Some(5));
}

/// Checks that an entry is not found before its commit, and is found after it.
pub async fn nothing_is_found_before_the_commit(store: Store) {
    let writer = uncommitted(&store, &key("/a"), plain(), b"half").await;
    assert!(found(&store, &key("/a")).await.is_empty(), "an uncommitted entry was found");
    writer.commit().await.expect("it commits");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

/// Checks that a dropped writer stores nothing and leaves an older entry in place.
pub async fn a_dropped_writer_leaves_nothing(store: Store) {
    drop(uncommitted(&store, &key("/a"), plain(), b"half").await);
    assert!(found(&store, &key("/a")).await.is_empty(), "an abandoned entry was found");
    put(&store, &key("/b"), plain(), b"old").await;
    drop(uncommitted(&store, &key("/b"), plain(), b"half").await);
    assert_eq!(read(&only(&store, &key("/b")).await.body, None).await, b"old", "it replaced what was there");
}

/// Checks that bodies of up to 3 MB are returned unchanged.
pub async fn a_body_comes_back_byte_for_byte(store: Store) {
    for length in [1, 1000, 65_536, 1_048_576, 1_048_577, 3_000_000] {
        let body = pattern(length);
        put(&store, &key("/a"), plain(), &body).await;
        assert!(read(&only(&store, &key("/a")).await.body, None).await == body, "{length} bytes");
    }
}

/// Checks that an entry may have an empty body.
pub async fn an_empty_body_is_an_entry(store: Store) {
    put(&store, &key("/a"), plain(), b"").await;
    let entry = only(&store, &key("/a")).await;
    assert_eq!(entry.body.content_length(), Some(0));
    assert_eq!(read(&entry.body, None).await, b"");
}

/// Checks that a body of unknown length that is written in many chunks is returned whole.
pub async fn a_body_in_many_chunks_is_one_body(store: Store) {
    let body = pattern(5000);
    let mut writer = store
        .reserve(&key("/a"))
        .await
        .expect("it reserves")
        .begin(plain(), None, plain().keep_until())
        .await
        .expect("it begins without a length");
    for chunk in body.chunks(7) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
    }
    writer.commit().await.expect("it commits");
    let entry = only(&store, &key("/a")).await;
    assert_eq!(entry.body.content_length(), Some(5000));
    assert_eq!(read(&entry.body, None).await, body);
}

/// Checks that reading a range returns exactly its bytes.
pub async fn a_range_returns_exactly_its_bytes(store: Store) {
    for length in [10_usize, 2_500_000] {
        let body = pattern(length);
        put(&store, &key("/a"), plain(), &body).await;
        let entry = only(&store, &key("/a")).await;
        for range in [0..length, 0..1, length - 1..length, length / 3..length / 2, 5..5] {
            let part = read(&entry.body, Some(range.start as u64..range.end as u64)).await;
            assert!(part == body[range.clone()], "{range:?} of {length}");
        }
    }
}

/// Checks that a reader receives the whole body, or an error, when `change` happens after its first
/// chunk.
async fn reader_survives(store: Store, change: impl AsyncFnOnce(&Store)) {
    let body = pattern(2_000_000);
    put(&store, &key("/a"), plain(), &body).await;
    let entry = only(&store, &key("/a")).await;
    let StoredBody::Source(source) = &entry.body else {
        change(&store).await;
        assert!(read(&entry.body, None).await == body);
        return;
    };
    let mut stream = source.stream(None).await.expect("it opens");
    let first = poll_fn(|cx| stream.as_mut().poll_next(cx)).await.expect("a chunk").expect("it reads");
    change(&store).await;
    let rest = drain(stream).await;
    // A store that cannot keep the body must fail the stream, and must not end it early.
    if let Ok(rest) = rest {
        assert!([first.to_vec(), rest].concat() == body, "the reader received another body, or a part of it");
    }
}

/// Checks that a reader receives the whole old body, or an error, if its entry is replaced
/// meanwhile.
pub async fn a_reader_finishes_a_replaced_body(store: Store) {
    reader_survives(store, async |store| put(store, &key("/a"), plain(), b"new").await).await;
}

/// Checks that a reader receives the whole body, or an error, if its entry is removed meanwhile.
pub async fn a_reader_finishes_a_removed_body(store: Store) {
    let remove = async |store: &Store| {
        store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    };
    reader_survives(store, remove).await;
}

/// Checks that a write begun before its key was removed cannot be committed.
pub async fn a_commit_after_the_removal_of_its_key_is_refused(store: Store) {
    let writer = uncommitted(&store, &key("/a"), plain(), b"old").await;
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    assert!(is_gone(writer.commit().await), "a write begun before the removal was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

/// Checks that a write begun before a clear cannot be committed.
pub async fn a_commit_after_a_clear_is_refused(store: Store) {
    let writer = uncommitted(&store, &key("/a"), plain(), b"old").await;
    store.remove(Scope::All).await.expect("it clears");
    assert!(is_gone(writer.commit().await), "a write begun before the clear was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

/// Checks that a write begun before one of its groups was invalidated cannot be committed.
pub async fn a_commit_after_the_removal_of_its_group_is_refused(store: Store) {
    let writer = uncommitted(&store, &key("/a"), grouped("g"), b"old").await;
    store.remove(Scope::Group(&group("g"))).await.expect("it removes");
    assert!(is_gone(writer.commit().await), "a write begun before the removal was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

/// Checks that a reservation made before a removal cannot lead to a commit: the origin may have
/// produced the response before the removal, whenever it arrives.
pub async fn a_reservation_before_a_removal_is_refused(store: Store) {
    for removal in 0..5 {
        let reserved = store.reserve(&key("/a")).await.expect("it reserves");
        let (key_a, group, prefix) = (key("/a"), group("g"), key("/").target());
        let scope = match removal {
            0 => Scope::Key(&key_a),
            1 => Scope::Group(&group),
            2 => Scope::Prefix(&prefix),
            3 => Scope::Prefix(""),
            _ => Scope::All,
        };
        store.remove(scope).await.expect("it removes");
        let writer = reserved.begin(grouped("g"), Some(3), plain().keep_until()).await;
        let committed = async {
            let mut writer = writer?;
            writer.write(Bytes::from_static(b"old")).await?;
            writer.commit().await
        };
        assert!(
            is_gone(committed.await),
            "a reservation made before removal {removal} was committed after it"
        );
        assert!(found(&store, &key("/a")).await.is_empty());
    }
    // A removal of another key and another group does not affect the reservation.
    let reserved = store.reserve(&key("/a")).await.expect("it reserves");
    store.remove(Scope::Key(&key("/b"))).await.expect("it removes");
    store.remove(Scope::Group(&group("h"))).await.expect("it removes");
    let writer = reserved.begin(grouped("g"), Some(0), plain().keep_until()).await.expect("it begins");
    writer.commit().await.expect("only another key and another group were removed");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

/// Checks that a write begun after a removal is stored, also if an older write is refused.
pub async fn a_write_begun_after_a_removal_is_stored(store: Store) {
    let old = uncommitted(&store, &key("/a"), grouped("g"), b"old").await;
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    store.remove(Scope::Group(&group("g"))).await.expect("it removes");
    put(&store, &key("/a"), grouped("g"), b"new").await;
    assert!(is_gone(old.commit().await));
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"new");
}

/// Checks that removing a key removes all its variants. Two widely used caches had bugs in which a
/// purge missed some variants.
pub async fn a_removal_removes_every_variant(store: Store) {
    for language in ["de", "en", "fr"] {
        put(&store, &key("/a"), variant(language), language.as_bytes()).await;
    }
    assert_eq!(found(&store, &key("/a")).await.len(), 3);
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    assert!(found(&store, &key("/a")).await.is_empty(), "a variant was left");
    store.remove(Scope::Key(&key("/a"))).await.expect("removing a key without entries is not an error");
}

/// Checks that removing a key leaves similar keys and keys with additions in place.
pub async fn a_removal_leaves_other_keys(store: Store) {
    let keys =
        [key("/a"), key("/ab"), key("/a/"), key("/A"), key("/a").with_extra(b"x"), key("/a").with_extra(b"")];
    for key in &keys {
        put(&store, key, plain(), key.as_bytes()).await;
    }
    store.remove(Scope::Key(&keys[0])).await.expect("it removes");
    for key in &keys[1..] {
        assert_eq!(read(&only(&store, key).await.body, None).await, key.as_bytes(), "{key:?}");
    }
}

/// Checks that freshening replaces the head of one entry, and neither its body, its id nor other
/// variants.
pub async fn freshening_changes_only_the_head(store: Store) {
    put(&store, &key("/a"), variant("de"), b"de").await;
    put(&store, &key("/a"), variant("en"), b"en").await;
    let all = found(&store, &key("/a")).await;
    let old = all.iter().find(|one| one.head == variant("de")).expect("the entry is stored");
    let mut new = (*old.head).clone();
    new.freshness.lifetime.lifetime *= 2;
    store
        .freshen(&key("/a"), old.id, Arc::new(new.clone()), new.keep_until())
        .await
        .expect("the entry is stored");
    let all = found(&store, &key("/a")).await;
    assert_eq!(all.len(), 2);
    let fresh = all.iter().find(|one| one.id == old.id).expect("the entry keeps its id");
    assert_eq!(*fresh.head, new);
    assert_eq!(read(&fresh.body, None).await, b"de");
    assert_eq!(all[0].head, variant("en"), "freshening made an entry the newest");
}

/// Checks that freshening an entry that was replaced or removed fails and changes nothing.
/// Otherwise a 304 that raced with a replacement would combine old headers with a new body.
pub async fn freshening_a_removed_entry_changes_nothing(store: Store) {
    put(&store, &key("/a"), plain(), b"old").await;
    let old = only(&store, &key("/a")).await;
    put(&store, &key("/a"), plain(), b"new").await;
    let mut freshened = (*old.head).clone();
    freshened.freshness.lifetime.lifetime *= 2;
    let result = store.freshen(&key("/a"), old.id, Arc::new(freshened.clone()), freshened.keep_until()).await;
    let keep_until = freshened.keep_until();
    assert!(is_gone(result), "an entry that was replaced was freshened");
    let new = only(&store, &key("/a")).await;
    assert_eq!(*new.head, *plain(), "the new entry got the old one's head");
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    assert!(is_gone(store.freshen(&key("/a"), new.id, Arc::new(freshened), keep_until).await));
    assert!(found(&store, &key("/a")).await.is_empty(), "freshening restored a removed entry");
}

/// Checks that freshening does not restore an entry that was removed with a group. Its origin may
/// have taken the page out of the group since: the new head then has no removed group, but the
/// removed body would be served again.
pub async fn freshening_restores_no_entry_of_a_removed_group(store: Store) {
    for body in [&b"old"[..], &pattern(300_000)] {
        for new in [plain(), grouped("h"), grouped("g")] {
            put(&store, &key("/a"), grouped("g"), body).await;
            let old = only(&store, &key("/a")).await;
            store.remove(Scope::Group(&group("g"))).await.expect("it removes");
            let keep_until = new.keep_until();
            let result = store.freshen(&key("/a"), old.id, new, keep_until).await;
            assert!(is_gone(result), "an entry that was removed with its group was freshened");
            assert!(found(&store, &key("/a")).await.is_empty(), "freshening restored a removed entry");
        }
    }
}

/// Checks that an entry that got a group with its new head is removed with that group, and no
/// longer with the group of its old head.
pub async fn freshening_replaces_the_groups(store: Store) {
    put(&store, &key("/a"), grouped("g"), b"a").await;
    let old = only(&store, &key("/a")).await;
    let new = grouped("h");
    let keep_until = new.keep_until();
    store.freshen(&key("/a"), old.id, new, keep_until).await.expect("the entry is stored");
    store.remove(Scope::Group(&group("g"))).await.expect("it removes");
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"a", "the old group was removed");
    store.remove(Scope::Group(&group("h"))).await.expect("it removes");
    assert!(found(&store, &key("/a")).await.is_empty(), "an entry of the new group was left");
}

/// Checks that a commit replaces the entry with the same selecting header values, and no other
/// variant.
pub async fn a_commit_replaces_only_the_same_variant(store: Store) {
    put(&store, &key("/a"), variant("de"), b"de 1").await;
    put(&store, &key("/a"), variant("en"), b"en 1").await;
    put(&store, &key("/a"), variant("de"), b"de 2").await;
    let mut bodies = Vec::new();
    for one in found(&store, &key("/a")).await {
        bodies.push(read(&one.body, None).await);
    }
    bodies.sort();
    assert_eq!(bodies, [&b"de 2"[..], b"en 1"]);
}

/// Checks that a lookup returns the entry first that was committed last.
pub async fn the_newest_entry_comes_first(store: Store) {
    for language in ["de", "en", "fr"] {
        put(&store, &key("/a"), variant(language), language.as_bytes()).await;
    }
    let newest = &found(&store, &key("/a")).await[0];
    assert_eq!(read(&newest.body, None).await, b"fr");
}

/// Checks that invalidating a group removes all its entries, and no others.
pub async fn invalidating_a_group_removes_all_its_entries(store: Store) {
    for n in 0..1000 {
        put(&store, &key(&format!("/in/{n}")), grouped("g"), b"in").await;
    }
    put(&store, &key("/other"), grouped("h"), b"other").await;
    put(&store, &key("/none"), plain(), b"none").await;
    store.remove(Scope::Group(&group("g"))).await.expect("it removes");
    for n in 0..1000 {
        assert!(found(&store, &key(&format!("/in/{n}"))).await.is_empty(), "entry {n} of the group was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "another group was removed");
    assert_eq!(found(&store, &key("/none")).await.len(), 1, "an entry without a group was removed");
}

/// Checks that groups of different origins are different, even if they have the same name.
pub async fn a_group_of_another_origin_stays(store: Store) {
    put(&store, &key("/a"), grouped("g"), b"a").await;
    store.remove(Scope::Group(&CacheGroup::new("http://other.org", "g"))).await.expect("it removes");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

/// Returns how long the only entry of a key is fresh, counted from the arrival of its response.
async fn lifetime(store: &Store, key: &CacheKey) -> Duration {
    let entry = only(store, key).await;
    entry.head.freshness.lifetime.lifetime.saturating_sub(entry.head.freshness.corrected_initial_age)
}

/// Returns the head with its request and response times moved by `by`.
fn later(head: &StoredHead, by: Duration) -> Arc<StoredHead> {
    let mut later = head.clone();
    later.freshness.request_time = later.freshness.request_time.saturating_add(by);
    later.freshness.response_time = later.freshness.response_time.saturating_add(by);
    Arc::new(later)
}

/// Checks that marking a group stale ends the freshness of all its entries and keeps their bodies.
/// Entries that are stored or freshened later are fresh.
pub async fn marking_a_group_stale_marks_all_its_entries(store: Store) {
    let second = Duration::from_secs(1);
    put(&store, &key("/a"), grouped("g"), b"a").await;
    put(&store, &key("/b"), grouped("g"), &pattern(300_000)).await;
    put(&store, &key("/other"), grouped("h"), b"other").await;
    put(&store, &key("/plain"), plain(), b"plain").await;
    let fresh = lifetime(&store, &key("/a")).await;
    let head = only(&store, &key("/a")).await.head;
    let at = head.freshness.response_time.saturating_add(second);
    store.mark_stale(Scope::Group(&group("g")), at).await.expect("it marks");
    for path in ["/a", "/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh after that time");
    }
    for path in ["/other", "/plain"] {
        assert_eq!(lifetime(&store, &key(path)).await, fresh, "{path} is not in the group");
    }
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"a", "the body stays");
    // An entry that is requested or revalidated after that time is fresh.
    put(&store, &key("/b"), later(&head, second * 2), b"new").await;
    assert_eq!(lifetime(&store, &key("/b")).await, fresh);
    let stale = only(&store, &key("/a")).await;
    let head = later(&head, second * 2);
    let keep_until = head.keep_until();
    store.freshen(&key("/a"), stale.id, head, keep_until).await.expect("the entry is stored");
    assert_eq!(lifetime(&store, &key("/a")).await, fresh, "it was revalidated");
}

/// Checks that removing everything removes all entries, and that the store accepts new ones.
pub async fn a_clear_removes_everything(store: Store) {
    for n in 0..100 {
        put(&store, &key(&format!("/{n}")), plain(), b"x").await;
    }
    store.remove(Scope::All).await.expect("it clears");
    for n in 0..100 {
        assert!(found(&store, &key(&format!("/{n}"))).await.is_empty(), "entry {n} was left");
    }
    put(&store, &key("/new"), plain(), b"new").await;
    assert_eq!(found(&store, &key("/new")).await.len(), 1);
}

/// Checks that a follower reads the written part of a body, waits for the rest, and ends after the
/// commit.
pub async fn an_uncommitted_write_can_be_followed(store: Store) {
    let body = pattern(30_000);
    let mut writer = store
        .reserve(&key("/a"))
        .await
        .expect("it reserves")
        .begin(plain(), None, plain().keep_until())
        .await
        .expect("it begins");
    let Some(source) = writer.follow() else { return };
    writer.write(Bytes::copy_from_slice(&body[..10_000])).await.expect("it takes a chunk");
    let part = drain(source.stream(Some(2000..9000)).await.expect("it opens")).await.expect("it reads");
    assert!(part == body[2000..9000], "a range that has been written");
    let stream = source.stream(None).await.expect("it opens");
    let reader = tokio::spawn(drain(stream));
    let mut chunks: VecDeque<_> = body[10_000..].chunks(3000).collect();
    while let Some(chunk) = chunks.pop_front() {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
        tokio::task::yield_now().await;
    }
    assert!(!reader.is_finished(), "a follower ended before the commit");
    writer.commit().await.expect("it commits");
    assert!(reader.await.expect("it ends").expect("it reads") == body);
    let late = drain(source.stream(Some(5..10)).await.expect("the source stays readable after the commit"))
        .await
        .expect("it reads");
    assert_eq!(late, &body[5..10]);
}

/// Checks that a follower fails if the writer is dropped.
pub async fn a_follower_of_an_abandoned_write_fails(store: Store) {
    let writer = uncommitted(&store, &key("/a"), plain(), b"half").await;
    let Some(source) = writer.follow() else { return };
    let stream = source.stream(None).await.expect("it opens");
    drop(writer);
    assert!(drain(stream).await.is_err(), "half a body ended as if it were whole");
}

/// Checks that concurrent writes and removals never mix the bodies of two writes: each write fills
/// its body with one byte value.
pub async fn concurrent_writes_never_mix_bodies(store: Store) {
    let mut tasks = Vec::new();
    for task in 0..4_u8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for round in 0..500_usize {
                let length = 1 + round * 7 % 5000;
                let reserved = store.reserve(&key("/a")).await.expect("it reserves");
                let mut writer = match reserved.begin(plain(), None, plain().keep_until()).await {
                    Ok(writer) => writer,
                    // Another task's removal came in between.
                    Err(error) => {
                        assert_eq!(error.kind(), StoreErrorKind::Gone);
                        continue;
                    }
                };
                for chunk in vec![task; length].chunks(512) {
                    writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
                }
                match writer.commit().await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Gone),
                }
                if round % 10 == 0 {
                    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
                }
                for one in found(&store, &key("/a")).await {
                    let length = one.body.content_length().expect("it is committed");
                    let body = read(&one.body, None).await;
                    assert_eq!(body.len() as u64, length);
                    assert!(body.iter().all(|byte| *byte == body[0]), "the body mixes two writes");
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}
