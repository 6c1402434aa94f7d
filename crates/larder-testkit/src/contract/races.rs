//! Removals while others store and freshen, without end: what was removed never comes back.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::{CacheKey, Clock as _, Reservation, StoreError, StoreErrorKind, StoredHead, SystemClock};

use super::{Store, found, group, read};
use crate::{head, key};

const KEYS: usize = 4;
/// Removals at least, and at most if they take less than [`ENOUGH`].
const ROUNDS: RangeInclusive<usize> = 3..=1000;
const ENOUGH: Duration = Duration::from_secs(1);
/// What each task stores or freshens between two removals, at most: a slow removal would have ever more to remove.
const EACH: usize = 100;

/// A page that was being stored when its folder was purged came back a moment later.
pub async fn a_removal_by_prefix_outruns_every_fill(store: Store) {
    outruns(store, Removal::Prefix).await;
}

/// The same of everything: a map that marks its entries instead of taking them out showed one again for as long as a new one
/// took to get into its place.
pub async fn a_clear_outruns_every_fill(store: Store) {
    outruns(store, Removal::Everything).await;
}

pub async fn a_removal_by_group_outruns_every_fill(store: Store) {
    outruns(store, Removal::Group).await;
}

pub async fn a_removal_by_key_outruns_every_fill(store: Store) {
    outruns(store, Removal::Keys).await;
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
            Self::Prefix => store.remove_prefix(&key("/news/").target()).await.map(drop),
            Self::Everything => store.clear().await,
            Self::Group => store.invalidate_group(&group("news")).await,
            Self::Keys => {
                for n in 0..KEYS {
                    store.remove(&page(n)).await?;
                }
                Ok(())
            }
        }
    }
}

fn page(n: usize) -> CacheKey {
    key(&format!("/news/{}", n % KEYS))
}

/// What each round's origin says is the number of the round; after its removal nothing of a round before is found.
async fn outruns(store: Store, removal: Removal) {
    let round = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..3)
        .map(|task| {
            let (store, round, done) = (Arc::clone(&store), Arc::clone(&round), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut seen, mut left) = (0, EACH);
                for n in (task..).step_by(3) {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let now = round.load(Ordering::Acquire);
                    left = if now == seen { left } else { EACH };
                    seen = now;
                    if left == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    left -= 1;
                    let tried = if task == 0 {
                        freshen(&store, &page(n)).await
                    } else {
                        let reserved = store.reserve(&page(n)).await.expect("it reserves");
                        // What the origin says is of now: after the reservation.
                        fill(reserved, of_language(n), round.load(Ordering::Acquire)).await
                    };
                    match tried {
                        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Gone, "{error}"),
                        Ok(()) => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let start = SystemClock.now();
    for purge in
        (1..=*ROUNDS.end()).take_while(|n| n <= ROUNDS.start() || SystemClock.now().since(start) < ENOUGH)
    {
        round.store(purge, Ordering::Release);
        removal.run(&store).await.expect("it removes");
        for n in 0..20 * KEYS {
            for one in found(&store, &page(n)).await {
                let body = String::from_utf8(read(&one.body, None).await).expect("a number");
                assert!(body.parse::<usize>().expect("a number") >= purge, "what was removed came back");
            }
        }
    }
    done.store(true, Ordering::Release);
    for task in others {
        task.await.expect("no task panics");
    }
}

/// One of two variants, of one group.
fn of_language(n: usize) -> Arc<StoredHead> {
    let language = if n.is_multiple_of(2) { "de" } else { "en" };
    let fields = [("vary", "accept-language"), ("cache-groups", "\"news\"")];
    Arc::new(head(&fields, &[("accept-language", language)]))
}

async fn fill(
    reserved: Box<dyn Reservation>,
    head: Arc<StoredHead>,
    version: usize,
) -> Result<(), StoreError> {
    let mut writer = reserved.begin(head, None).await?;
    writer.write(version.to_string().into()).await?;
    writer.commit().await.map(drop)
}

async fn freshen(store: &Store, key: &CacheKey) -> Result<(), StoreError> {
    for one in found(store, key).await {
        store.freshen(key, one.id, Arc::clone(&one.head)).await?;
    }
    Ok(())
}
