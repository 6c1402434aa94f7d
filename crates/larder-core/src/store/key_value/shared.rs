//! The state that a store, its writers and its bodies share: the backend, the epochs, and the
//! source of random numbers. Owns the reading and the deletion of entries; the caller decides when,
//! and begins the change of the key.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_policy::{CacheGroup, CacheKey, StoredHead, Timestamp};

use super::{
    KeyValue, names,
    values::{Entry, decode_number, encode_number},
};
use crate::{Clock, EntryId, Epochs, StoreError, StoreErrorKind, codec::NotAnEntry};

/// The name of the store in errors.
pub(super) const STORE: &str = "key-value";
/// Bytes of a piece of a body.
pub(super) const PIECE: u64 = 1024 * 1024;
/// Longest time that an entry is stored without being freshened.
const MAX_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the records of a group are kept: they outlive each entry of the group that was stored
/// when they were written, so that such an entry cannot reappear.
const GROUP_KEEP: Duration = Duration::from_secs(32 * 24 * 3600);
/// Time after which the pieces of a body end, counted from the end of its entry, so that freshening
/// can extend the entry by that.
const PIECES_KEEP: Duration = MAX_KEEP;
/// Most variants of a key that a lookup reads. The engine stores fewer.
const MAX_VARIANTS: usize = 256;
/// Names that one scan returns.
const PAGE: usize = 1000;

/// The state that the store's clones, writers and bodies share.
pub(super) struct Shared {
    pub(super) backend: Arc<dyn KeyValue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) epochs: Epochs,
    pub(super) max_object: u64,
    /// Serializes the marks of groups.
    marks: tokio::sync::Mutex<()>,
    /// Order of the last commit.
    order: AtomicU64,
    /// Source of random numbers: a keyed hash of a counter. The key is from the system's random
    /// number generator.
    random: RandomState,
    counter: AtomicU64,
}

/// An entry that a lookup has found, and the name of its value.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) entry: Entry,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Shared {
    /// Creates the state of a store on this backend.
    pub(super) fn new(backend: Arc<dyn KeyValue>, clock: Arc<dyn Clock>, max_object: u64) -> Self {
        Self {
            backend,
            clock,
            epochs: Epochs::new(),
            max_object,
            marks: tokio::sync::Mutex::default(),
            order: AtomicU64::new(0),
            random: RandomState::new(),
            counter: AtomicU64::new(0),
        }
    }

    /// Returns a random number that is not zero, for ids and tokens.
    pub(super) fn random(&self) -> u64 {
        self.random.hash_one(self.counter.fetch_add(1, Ordering::Relaxed)).max(1)
    }

    /// Returns the order of a commit, which is later than that of each earlier one. Across
    /// processes, it is as exact as their clocks.
    pub(super) fn next_order(&self) -> u64 {
        let now = self.clock.now().as_millis().saturating_mul(1000);
        let next = |last: u64| Some(now.max(last + 1));
        self.order
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .map_or(now, |last| now.max(last + 1))
    }

    /// Returns the time at which an entry ends, by the clock of this store.
    pub(super) fn expiry(&self, head: &StoredHead, keep_until: Timestamp) -> Timestamp {
        let keep = keep_until.since(head.freshness.response_time).min(MAX_KEEP);
        self.clock.now().saturating_add(keep)
    }

    /// Returns the time at which the pieces of a body end that belongs to an entry.
    pub(super) fn pieces_expiry(expires: Timestamp) -> Timestamp {
        expires.saturating_add(PIECES_KEEP)
    }

    /// Reads the entries of a key, and the names of values that are damaged.
    async fn read(&self, key: &CacheKey) -> Result<(Vec<Found>, Vec<String>), StoreError> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for name in self.backend.scan(&names::entries_of(key), "", MAX_VARIANTS).await? {
            let Some(bytes) = self.backend.get(&name).await? else { continue };
            match Entry::decode(&bytes, key) {
                Ok(entry) => found.push(Found { name, entry }),
                // A collision of two keys' hashes. The value is a valid entry of the other key.
                Err(NotAnEntry::OtherKey) => {}
                Err(why) => {
                    tracing::warn!(%why, "a value of the key-value store is damaged");
                    damaged.push(name);
                }
            }
        }
        Ok((found, damaged))
    }

    /// Returns the entries of a key that have not ended and are not in a removed group, latest
    /// first, marked stale if their group was. Also returns the names of damaged values.
    pub(super) async fn visible(&self, key: &CacheKey) -> Result<(Vec<Found>, Vec<String>), StoreError> {
        let (mut found, damaged) = self.read(key).await?;
        let now = self.clock.now();
        found.retain(|one| one.entry.envelope.expires > now);
        let mut records = HashMap::new();
        for group in found.iter().flat_map(|one| &*one.entry.head.groups) {
            if !records.contains_key(group) {
                let token = self.number(&names::token(group)).await?;
                records.insert(group.clone(), (token, self.number(&names::stale_mark(group)).await?));
            }
        }
        found.retain_mut(|one| {
            let (head, tokens) = (&mut one.entry.head, &one.entry.envelope.tokens);
            let of_head = head.groups.iter().zip(tokens);
            let mut stale_at = 0;
            for (group, token) in of_head {
                match records.get(group) {
                    // A damaged record may be that of a removal.
                    Some((Some(current), Some(stale))) if current == token => stale_at = stale_at.max(*stale),
                    _ => return false,
                }
            }
            if let Some(stale) = head.marked_stale(Timestamp::from_millis(stale_at)).filter(|_| stale_at > 0)
            {
                *head = stale;
            }
            true
        });
        found.sort_by_key(|one| std::cmp::Reverse(one.entry.envelope.order));
        Ok((found, damaged))
    }

    /// Returns the number of a group's record; zero if there is none, and `None` if it is damaged.
    async fn number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(match self.backend.get(name).await? {
            Some(bytes) => decode_number(&bytes),
            None => Some(0),
        })
    }

    /// Returns the current tokens of groups.
    pub(super) async fn tokens(&self, groups: &[CacheGroup]) -> Result<Vec<u64>, StoreError> {
        let mut tokens = Vec::with_capacity(groups.len());
        for group in groups {
            tokens.push(match self.number(&names::token(group)).await? {
                Some(token) => token,
                None => self.renew_token(group).await?,
            });
        }
        Ok(tokens)
    }

    /// Replaces the token of a group, which hides its entries. Returns the new one.
    pub(super) async fn renew_token(&self, group: &CacheGroup) -> Result<u64, StoreError> {
        let token = self.random();
        let keep_until = self.clock.now().saturating_add(GROUP_KEEP);
        self.backend.put(&names::token(group), encode_number(token), keep_until).await?;
        Ok(token)
    }

    /// Records that a group was marked stale.
    pub(super) async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let name = names::stale_mark(group);
        let _one_at_a_time = self.marks.lock().await;
        let last = self.number(&name).await?.unwrap_or_default();
        let keep_until = self.clock.now().saturating_add(GROUP_KEEP);
        self.backend.put(&name, encode_number(last.max(at.as_millis())), keep_until).await
    }

    /// Deletes a value that turned out to be damaged, unless it has been replaced.
    pub(super) async fn delete_damaged(&self, key: &CacheKey, name: &str) -> Result<(), StoreError> {
        let _change = self.epochs.change(key).await;
        match self.backend.get(name).await? {
            Some(bytes) if matches!(Entry::decode(&bytes, key), Ok(_) | Err(NotAnEntry::OtherKey)) => Ok(()),
            Some(_) => self.backend.delete(name).await,
            None => Ok(()),
        }
    }

    /// Deletes an entry with a damaged body, unless it has been replaced.
    pub(super) async fn delete_entry(
        &self,
        key: &CacheKey,
        name: &str,
        id: EntryId,
    ) -> Result<(), StoreError> {
        let _change = self.epochs.change(key).await;
        match self.backend.get(name).await? {
            Some(bytes) if Entry::pieces(&bytes).is_some_and(|(current, _)| current == id) => {
                self.delete_value(name, &bytes).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes all entries of a key, of which the caller has begun a change. Returns their number.
    pub(super) async fn delete_all_of(&self, key: &CacheKey) -> Result<u64, StoreError> {
        let mut count = 0;
        let prefix = names::entries_of(key);
        let mut names = Names::new(&prefix);
        while let Some(name) = names.next(&*self.backend).await? {
            count += u64::from(self.delete_named(&name).await?);
        }
        Ok(count)
    }

    /// Deletes the head with this name, and then its pieces. Returns whether there was one. The
    /// caller has begun a change of its key.
    pub(super) async fn delete_named(&self, name: &str) -> Result<bool, StoreError> {
        let Some(bytes) = self.backend.get(name).await? else { return Ok(false) };
        self.delete_value(name, &bytes).await?;
        Ok(true)
    }

    /// Deletes a head with this value, and then its pieces.
    async fn delete_value(&self, name: &str, bytes: &Bytes) -> Result<(), StoreError> {
        self.backend.delete(name).await?;
        if let Some((id, written_at)) = Entry::pieces(bytes) {
            self.delete_pieces(&names::body(name, written_at, id)).await;
        }
        Ok(())
    }

    /// Deletes the pieces of a body that no head refers to. Those that cannot be deleted are left
    /// until their time.
    pub(super) async fn delete_pieces(&self, body: &str) {
        if let Err(error) = self.try_delete_all(body).await {
            tracing::debug!(%error, "the key-value store left pieces of a body");
        }
    }

    /// Deletes all values with names that begin with `prefix`.
    async fn try_delete_all(&self, prefix: &str) -> Result<(), StoreError> {
        let mut names = Names::new(prefix);
        while let Some(name) = names.next(&*self.backend).await? {
            self.backend.delete(&name).await?;
        }
        Ok(())
    }
}

/// Iterates over the names with a prefix, in order, a page at a time.
pub(super) struct Names<'a> {
    prefix: &'a str,
    page: VecDeque<String>,
    /// The last name of the page.
    last: String,
    /// Whether there may be names after the page.
    more: bool,
}

impl<'a> Names<'a> {
    /// Creates an iterator over the names that begin with `prefix`.
    pub(super) fn new(prefix: &'a str) -> Self {
        Self { prefix, page: VecDeque::new(), last: String::new(), more: true }
    }

    /// Returns the next name, or `None` after the last one.
    pub(super) async fn next(&mut self, backend: &dyn KeyValue) -> Result<Option<String>, StoreError> {
        if self.page.is_empty() && self.more {
            self.page = backend.scan(self.prefix, &self.last, PAGE).await?.into();
            // A backend that returns a page again must not make this endless.
            let last = self.page.back().filter(|last| **last > self.last).cloned();
            self.more = last.is_some() && self.page.len() >= PAGE;
            self.last = last.unwrap_or_default();
        }
        Ok(self.page.pop_front())
    }
}

/// Creates an error for an entry that has been removed, replaced or evicted.
pub(super) fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, STORE, detail)
}
