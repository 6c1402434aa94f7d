//! Removals while other tasks store and freshen entries continuously: a removed entry never
//! reappears.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::{
    CacheKey, Clock as _, Reservation, Scope, StoreError, StoreErrorKind, StoredHead, SystemClock,
};

use super::{Store, found, group, read};
use crate::{head, key};

const KEYS: usize = 4;
/// Smallest and largest number of removals. Between them, removals stop after [`DURATION`].
const ROUNDS: RangeInclusive<usize> = 3..=1000;
const DURATION: Duration = Duration::from_secs(1);
/// Most writes of each task between two removals. Without a limit, a slow removal would have ever
/// more entries to remove.
const WRITES_PER_ROUND: usize = 100;

/// Checks that no entry written before its prefix was removed is found after it. Regression test: a
/// page that was being stored while its folder was purged reappeared a moment later.
pub async fn a_prefix_removal_wins_over_concurrent_writes(store: Store) {
    removal_wins(store, Removal::Prefix).await;
}

/// Checks that no entry written before a clear is found after it. Regression test: a map that marks
/// its entries as removed returned one again while a new entry was taking its slot.
pub async fn a_clear_wins_over_concurrent_writes(store: Store) {
    removal_wins(store, Removal::Everything).await;
}

/// Checks that no entry written before a group was invalidated is found after it.
pub async fn a_group_removal_wins_over_concurrent_writes(store: Store) {
    removal_wins(store, Removal::Group).await;
}

/// Checks that no entry written before its key was removed is found after it.
pub async fn a_key_removal_wins_over_concurrent_writes(store: Store) {
    removal_wins(store, Removal::Keys).await;
}

#[derive(Clone, Copy)]
enum Removal {
    Prefix,
    Everything,
    Group,
    Keys,
}

impl Removal {
    async fn run(self, store: &Store) -> Result<(), StoreError> {
        match self {
            Self::Prefix => store.remove(Scope::Prefix(&key("/news/").target())).await.map(drop),
            Self::Everything => store.remove(Scope::All).await.map(drop),
            Self::Group => store.remove(Scope::Group(&group("news"))).await.map(drop),
            Self::Keys => {
                for n in 0..KEYS {
                    store.remove(Scope::Key(&page(n))).await?;
                }
                Ok(())
            }
        }
    }
}

/// Returns one of [`KEYS`] keys.
fn page(n: usize) -> CacheKey {
    key(&format!("/news/{}", n % KEYS))
}

/// Removes entries in rounds while three tasks write and freshen them. The body of each entry is
/// the number of the round in which it was written. After a round's removal no entry of an earlier
/// round may be found.
async fn removal_wins(store: Store, removal: Removal) {
    let round = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|task| {
            let (store, round, done) = (Arc::clone(&store), Arc::clone(&round), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut current, mut left) = (0, WRITES_PER_ROUND);
                for n in (task..).step_by(3) {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let now = round.load(Ordering::Acquire);
                    left = if now == current { left } else { WRITES_PER_ROUND };
                    current = now;
                    if left == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    left -= 1;
                    let result = if task == 0 {
                        freshen(&store, &page(n)).await
                    } else {
                        let reserved = store.reserve(&page(n)).await.expect("it reserves");
                        // The number is read after the reservation, as an origin produces its
                        // response after the request.
                        fill(reserved, variant_head(n), round.load(Ordering::Acquire)).await
                    };
                    match result {
                        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Gone, "{error}"),
                        Ok(()) => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let start = SystemClock.now();
    for purge in
        (1..=*ROUNDS.end()).take_while(|n| n <= ROUNDS.start() || SystemClock.now().since(start) < DURATION)
    {
        round.store(purge, Ordering::Release);
        removal.run(&store).await.expect("it removes");
        for n in 0..20 * KEYS {
            for one in found(&store, &page(n)).await {
                let body = String::from_utf8(read(&one.body, None).await).expect("a number");
                assert!(body.parse::<usize>().expect("a number") >= purge, "a removed entry reappeared");
            }
        }
    }
    done.store(true, Ordering::Release);
    for task in writers {
        task.await.expect("no task panics");
    }
}

/// Returns the head of one of two variants, in the group `news`.
fn variant_head(n: usize) -> Arc<StoredHead> {
    let language = if n.is_multiple_of(2) { "de" } else { "en" };
    let fields = [("vary", "accept-language"), ("cache-groups", "\"news\"")];
    Arc::new(head(&fields, &[("accept-language", language)]))
}

/// Writes and commits an entry with the number of its round as the body.
async fn fill(
    reserved: Box<dyn Reservation>,
    head: Arc<StoredHead>,
    version: usize,
) -> Result<(), StoreError> {
    let keep_until = head.keep_until();
    let mut writer = reserved.begin(head, None, keep_until).await?;
    writer.write(version.to_string().into()).await?;
    writer.commit().await.map(drop)
}

/// Freshens all entries of a key.
async fn freshen(store: &Store, key: &CacheKey) -> Result<(), StoreError> {
    for one in found(store, key).await {
        store.freshen(key, one.id, Arc::clone(&one.head), one.head.keep_until()).await?;
    }
    Ok(())
}
