//! What a store promises, each as a function that panics if it does not hold.
#![allow(missing_docs, reason = "each is named after the sentence it checks")]
#![allow(clippy::missing_panics_doc, reason = "panicking is what they are for")]

mod prefixes;
mod races;

use std::{collections::VecDeque, future::poll_fn, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    ByteStream, CacheGroup, CacheKey, CacheStore, Candidate, Claim, StoreError, StoreErrorKind, StoreWriter,
    StoredBody, StoredHead,
};

pub use prefixes::*;
pub use races::*;

use crate::{head, key};

type Store = Arc<dyn CacheStore>;

fn plain() -> Arc<StoredHead> {
    Arc::new(head(&[], &[]))
}

fn variant(language: &str) -> Arc<StoredHead> {
    Arc::new(head(&[("vary", "accept-language")], &[("accept-language", language)]))
}

fn grouped(name: &str) -> Arc<StoredHead> {
    Arc::new(head(&[("cache-groups", &format!("\"{name}\""))], &[]))
}

fn group(name: &str) -> CacheGroup {
    CacheGroup::new("http://example.com", name)
}

async fn begun(store: &Store, key: &CacheKey, head: Arc<StoredHead>, body: &[u8]) -> Box<dyn StoreWriter> {
    let mut writer = store
        .reserve(key)
        .await
        .expect("it reserves")
        .begin(head, Some(body.len() as u64))
        .await
        .expect("it begins");
    for chunk in body.chunks(1000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
    }
    writer
}

async fn put(store: &Store, key: &CacheKey, head: Arc<StoredHead>, body: &[u8]) {
    begun(store, key, head, body).await.commit().await.expect("it commits");
}

async fn found(store: &Store, key: &CacheKey) -> Vec<Candidate> {
    store.lookup(key).await.expect("it looks up").to_vec()
}

async fn only(store: &Store, key: &CacheKey) -> Candidate {
    let mut all = found(store, key).await;
    assert_eq!(all.len(), 1, "one entry is there");
    all.remove(0)
}

async fn drain(mut stream: ByteStream) -> Result<Vec<u8>, StoreError> {
    let mut read = Vec::new();
    while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        read.extend_from_slice(&chunk?);
    }
    Ok(read)
}

async fn read(body: &StoredBody, range: Option<Range<u64>>) -> Vec<u8> {
    match (body, range) {
        (StoredBody::Whole(bytes), None) => bytes.to_vec(),
        (StoredBody::Whole(bytes), Some(range)) => bytes[range.start as usize..range.end as usize].to_vec(),
        (StoredBody::Source(source), range) => {
            drain(source.stream(range).await.expect("it opens")).await.expect("it reads")
        }
    }
}

fn is_gone<T>(result: Result<T, StoreError>) -> bool {
    result.is_err_and(|error| error.kind() == StoreErrorKind::Gone)
}

/// Every byte tells where it is.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

pub async fn an_entry_is_found_once_it_is_committed(store: Store) {
    assert!(found(&store, &key("/a")).await.is_empty());
    put(&store, &key("/a"), plain(), b"whole").await;
    let entry = only(&store, &key("/a")).await;
    assert_eq!(*entry.head, *plain());
    assert_eq!(entry.body.content_length(), Some(5));
}

pub async fn nothing_is_found_before_the_commit(store: Store) {
    let writer = begun(&store, &key("/a"), plain(), b"half").await;
    assert!(found(&store, &key("/a")).await.is_empty(), "an uncommitted entry was found");
    writer.commit().await.expect("it commits");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

pub async fn a_dropped_writer_leaves_nothing(store: Store) {
    drop(begun(&store, &key("/a"), plain(), b"half").await);
    assert!(found(&store, &key("/a")).await.is_empty(), "an abandoned entry was found");
    put(&store, &key("/b"), plain(), b"old").await;
    drop(begun(&store, &key("/b"), plain(), b"half").await);
    assert_eq!(read(&only(&store, &key("/b")).await.body, None).await, b"old", "it replaced what was there");
}

pub async fn a_body_comes_back_byte_for_byte(store: Store) {
    for length in [1, 1000, 65_536, 1_048_576, 1_048_577, 3_000_000] {
        let body = pattern(length);
        put(&store, &key("/a"), plain(), &body).await;
        assert!(read(&only(&store, &key("/a")).await.body, None).await == body, "{length} bytes");
    }
}

pub async fn an_empty_body_is_an_entry(store: Store) {
    put(&store, &key("/a"), plain(), b"").await;
    let entry = only(&store, &key("/a")).await;
    assert_eq!(entry.body.content_length(), Some(0));
    assert_eq!(read(&entry.body, None).await, b"");
}

pub async fn a_body_in_many_chunks_is_one_body(store: Store) {
    let body = pattern(5000);
    let mut writer = store
        .reserve(&key("/a"))
        .await
        .expect("it reserves")
        .begin(plain(), None)
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

pub async fn every_range_is_what_it_says(store: Store) {
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

async fn reader_survives(store: Store, then: impl AsyncFnOnce(&Store)) {
    let body = pattern(2_000_000);
    put(&store, &key("/a"), plain(), &body).await;
    let entry = only(&store, &key("/a")).await;
    let StoredBody::Source(source) = &entry.body else {
        then(&store).await;
        assert!(read(&entry.body, None).await == body);
        return;
    };
    let mut stream = source.stream(None).await.expect("it opens");
    let first = poll_fn(|cx| stream.as_mut().poll_next(cx)).await.expect("a chunk").expect("it reads");
    then(&store).await;
    let rest = drain(stream).await;
    // A store that can't keep it fails; ending early as if whole is what it must not do.
    if let Ok(rest) = rest {
        assert!([first.to_vec(), rest].concat() == body, "the reader got something else, or less");
    }
}

pub async fn a_reader_finishes_what_was_replaced(store: Store) {
    reader_survives(store, async |store| put(store, &key("/a"), plain(), b"new").await).await;
}

pub async fn a_reader_finishes_what_was_removed(store: Store) {
    reader_survives(store, async |store| store.remove(&key("/a")).await.expect("it removes")).await;
}

pub async fn a_commit_after_the_removal_of_its_key_is_refused(store: Store) {
    let writer = begun(&store, &key("/a"), plain(), b"old").await;
    store.remove(&key("/a")).await.expect("it removes");
    assert!(is_gone(writer.commit().await), "a write begun before the removal was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

pub async fn a_commit_after_a_clear_is_refused(store: Store) {
    let writer = begun(&store, &key("/a"), plain(), b"old").await;
    store.clear().await.expect("it clears");
    assert!(is_gone(writer.commit().await), "a write begun before the clear was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

pub async fn a_commit_after_the_removal_of_its_group_is_refused(store: Store) {
    let writer = begun(&store, &key("/a"), grouped("g"), b"old").await;
    store.invalidate_group(&group("g")).await.expect("it removes");
    assert!(is_gone(writer.commit().await), "a write begun before the removal was committed after it");
    assert!(found(&store, &key("/a")).await.is_empty());
}

/// The origin was asked, something was removed, and only then did the answer come: it may be of before.
pub async fn what_was_reserved_before_a_removal_is_refused(store: Store) {
    for removal in 0..4 {
        let reserved = store.reserve(&key("/a")).await.expect("it reserves");
        let removed = match removal {
            0 => store.remove(&key("/a")).await,
            1 => store.invalidate_group(&group("g")).await,
            2 => store.remove_prefix(&key("/").target()).await.map(drop),
            _ => store.clear().await,
        };
        removed.expect("it removes");
        let begun = reserved.begin(grouped("g"), Some(3)).await;
        let committed = async {
            let mut writer = begun?;
            writer.write(Bytes::from_static(b"old")).await?;
            writer.commit().await
        };
        assert!(is_gone(committed.await), "what was asked for before removal {removal} was stored after it");
        assert!(found(&store, &key("/a")).await.is_empty());
    }
    // What has nothing to do with it is not touched.
    let reserved = store.reserve(&key("/a")).await.expect("it reserves");
    store.remove(&key("/b")).await.expect("it removes");
    store.invalidate_group(&group("h")).await.expect("it removes");
    let writer = reserved.begin(grouped("g"), Some(0)).await.expect("it begins");
    writer.commit().await.expect("another key and another group were removed");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

pub async fn a_write_begun_after_a_removal_is_kept(store: Store) {
    let old = begun(&store, &key("/a"), grouped("g"), b"old").await;
    store.remove(&key("/a")).await.expect("it removes");
    store.invalidate_group(&group("g")).await.expect("it removes");
    put(&store, &key("/a"), grouped("g"), b"new").await;
    assert!(is_gone(old.commit().await));
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"new");
}

/// Purges that missed some variants of a URL are what two of today's caches are known for.
pub async fn a_removal_takes_every_variant(store: Store) {
    for language in ["de", "en", "fr"] {
        put(&store, &key("/a"), variant(language), language.as_bytes()).await;
    }
    assert_eq!(found(&store, &key("/a")).await.len(), 3);
    store.remove(&key("/a")).await.expect("it removes");
    assert!(found(&store, &key("/a")).await.is_empty(), "a variant was left");
    store.remove(&key("/a")).await.expect("removing nothing is no error");
}

pub async fn a_removal_takes_no_other_key(store: Store) {
    let keys =
        [key("/a"), key("/ab"), key("/a/"), key("/A"), key("/a").with_extra(b"x"), key("/a").with_extra(b"")];
    for key in &keys {
        put(&store, key, plain(), key.as_bytes()).await;
    }
    store.remove(&keys[0]).await.expect("it removes");
    for key in &keys[1..] {
        assert_eq!(read(&only(&store, key).await.body, None).await, key.as_bytes(), "{key:?}");
    }
}

pub async fn freshening_changes_the_head_alone(store: Store) {
    put(&store, &key("/a"), variant("de"), b"de").await;
    put(&store, &key("/a"), variant("en"), b"en").await;
    let all = found(&store, &key("/a")).await;
    let old = all.iter().find(|one| one.head == variant("de")).expect("it is there");
    let mut new = (*old.head).clone();
    new.freshness.lifetime.lifetime *= 2;
    store.freshen(&key("/a"), old.id, Arc::new(new.clone())).await.expect("it is there");
    let all = found(&store, &key("/a")).await;
    assert_eq!(all.len(), 2);
    let fresh = all.iter().find(|one| one.id == old.id).expect("it keeps its id");
    assert_eq!(*fresh.head, new);
    assert_eq!(read(&fresh.body, None).await, b"de");
    let other = all.iter().find(|one| one.id != old.id).expect("the other is there");
    assert_eq!(other.head, variant("en"));
}

/// A 304 that raced with a replacement would staple old fields onto a new body.
pub async fn freshening_what_is_gone_changes_nothing(store: Store) {
    put(&store, &key("/a"), plain(), b"old").await;
    let old = only(&store, &key("/a")).await;
    put(&store, &key("/a"), plain(), b"new").await;
    let mut stapled = (*old.head).clone();
    stapled.freshness.lifetime.lifetime *= 2;
    let result = store.freshen(&key("/a"), old.id, Arc::new(stapled.clone())).await;
    assert!(is_gone(result), "an entry that was replaced was freshened");
    let new = only(&store, &key("/a")).await;
    assert_eq!(*new.head, *plain(), "the new entry got the old one's head");
    store.remove(&key("/a")).await.expect("it removes");
    assert!(is_gone(store.freshen(&key("/a"), new.id, Arc::new(stapled)).await));
    assert!(found(&store, &key("/a")).await.is_empty(), "freshening brought something back");
}

pub async fn a_commit_replaces_the_same_variant_alone(store: Store) {
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

pub async fn the_newest_comes_first(store: Store) {
    for language in ["de", "en", "fr"] {
        put(&store, &key("/a"), variant(language), language.as_bytes()).await;
    }
    let newest = &found(&store, &key("/a")).await[0];
    assert_eq!(read(&newest.body, None).await, b"fr");
}

pub async fn a_group_is_removed_wherever_it_is(store: Store) {
    for n in 0..1000 {
        put(&store, &key(&format!("/in/{n}")), grouped("g"), b"in").await;
    }
    put(&store, &key("/other"), grouped("h"), b"other").await;
    put(&store, &key("/none"), plain(), b"none").await;
    store.invalidate_group(&group("g")).await.expect("it removes");
    for n in 0..1000 {
        assert!(found(&store, &key(&format!("/in/{n}"))).await.is_empty(), "entry {n} of the group was left");
    }
    assert_eq!(found(&store, &key("/other")).await.len(), 1, "another group was removed");
    assert_eq!(found(&store, &key("/none")).await.len(), 1, "what has no group was removed");
}

pub async fn a_group_of_another_origin_stays(store: Store) {
    put(&store, &key("/a"), grouped("g"), b"a").await;
    store.invalidate_group(&CacheGroup::new("http://other.org", "g")).await.expect("it removes");
    assert_eq!(found(&store, &key("/a")).await.len(), 1);
}

/// How long what is under this key is fresh, from when it arrived.
async fn lifetime(store: &Store, key: &CacheKey) -> Duration {
    let entry = only(store, key).await;
    entry.head.freshness.lifetime.lifetime.saturating_sub(entry.head.freshness.corrected_initial_age)
}

/// The same head, asked for and arrived so much later.
fn later(head: &StoredHead, by: Duration) -> Arc<StoredHead> {
    let mut later = head.clone();
    later.freshness.request_time = later.freshness.request_time.saturating_add(by);
    later.freshness.response_time = later.freshness.response_time.saturating_add(by);
    Arc::new(later)
}

pub async fn a_group_is_outdated_wherever_it_is(store: Store) {
    let second = Duration::from_secs(1);
    put(&store, &key("/a"), grouped("g"), b"a").await;
    put(&store, &key("/b"), grouped("g"), &pattern(300_000)).await;
    put(&store, &key("/other"), grouped("h"), b"other").await;
    put(&store, &key("/plain"), plain(), b"plain").await;
    let fresh = lifetime(&store, &key("/a")).await;
    let head = only(&store, &key("/a")).await.head;
    let at = head.freshness.response_time.saturating_add(second);
    store.mark_group_stale(&group("g"), at).await.expect("it outdates");
    for path in ["/a", "/b"] {
        assert!(lifetime(&store, &key(path)).await <= second, "{path} is fresh past that instant");
    }
    for path in ["/other", "/plain"] {
        assert_eq!(lifetime(&store, &key(path)).await, fresh, "{path} is not in the group");
    }
    assert_eq!(read(&only(&store, &key("/a")).await.body, None).await, b"a", "the body stays");
    // What was asked for, or confirmed, after that is fresh.
    put(&store, &key("/b"), later(&head, second * 2), b"new").await;
    assert_eq!(lifetime(&store, &key("/b")).await, fresh);
    let stale = only(&store, &key("/a")).await;
    store.freshen(&key("/a"), stale.id, later(&head, second * 2)).await.expect("it is there");
    assert_eq!(lifetime(&store, &key("/a")).await, fresh, "it was confirmed");
}

pub async fn clear_takes_everything(store: Store) {
    for n in 0..100 {
        put(&store, &key(&format!("/{n}")), plain(), b"x").await;
    }
    store.clear().await.expect("it clears");
    for n in 0..100 {
        assert!(found(&store, &key(&format!("/{n}"))).await.is_empty(), "entry {n} was left");
    }
    put(&store, &key("/new"), plain(), b"new").await;
    assert_eq!(found(&store, &key("/new")).await.len(), 1);
}

pub async fn what_is_written_can_be_followed(store: Store) {
    let body = pattern(30_000);
    let mut writer =
        store.reserve(&key("/a")).await.expect("it reserves").begin(plain(), None).await.expect("it begins");
    let Some(source) = writer.follow() else { return };
    writer.write(Bytes::copy_from_slice(&body[..10_000])).await.expect("it takes a chunk");
    let part = drain(source.stream(Some(2000..9000)).await.expect("it opens")).await.expect("it reads");
    assert!(part == body[2000..9000], "a range that is written already");
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
    let late = drain(source.stream(Some(5..10)).await.expect("it stays good")).await.expect("it reads");
    assert_eq!(late, &body[5..10]);
}

pub async fn a_follower_of_an_abandoned_write_fails(store: Store) {
    let writer = begun(&store, &key("/a"), plain(), b"half").await;
    let Some(source) = writer.follow() else { return };
    let stream = source.stream(None).await.expect("it opens");
    drop(writer);
    assert!(drain(stream).await.is_err(), "half a body ended as if it were whole");
}

/// Bodies that say which write they are of: a mixture of two is torn.
pub async fn fills_and_removals_at_once_tear_nothing(store: Store) {
    let mut tasks = Vec::new();
    for task in 0..4_u8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for round in 0..500_usize {
                let length = 1 + round * 7 % 5000;
                let mut writer = store
                    .reserve(&key("/a"))
                    .await
                    .expect("it reserves")
                    .begin(plain(), None)
                    .await
                    .expect("it begins");
                for chunk in vec![task; length].chunks(512) {
                    writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
                }
                match writer.commit().await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Gone),
                }
                if round % 10 == 0 {
                    store.remove(&key("/a")).await.expect("it removes");
                }
                for one in found(&store, &key("/a")).await {
                    let length = one.body.content_length().expect("it is committed");
                    let body = read(&one.body, None).await;
                    assert_eq!(body.len() as u64, length);
                    assert!(body.iter().all(|byte| *byte == body[0]), "a body of two writes");
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}

pub async fn a_lease_is_given_to_one(store: Store) {
    let Some(leases) = store.leases() else { return };
    let Ok(Claim::Granted(lease)) = leases.claim(&key("/a")).await else { panic!("nobody holds it") };
    let Ok(Claim::Held(held)) = leases.claim(&key("/a")).await else { panic!("it was given twice") };
    assert!(matches!(leases.claim(&key("/b")).await, Ok(Claim::Granted(_))), "another key is another lease");
    let waiting = tokio::spawn(held.released());
    drop(lease);
    waiting.await.expect("it is released");
    assert!(matches!(leases.claim(&key("/a")).await, Ok(Claim::Granted(_))), "it can be had again");
}
