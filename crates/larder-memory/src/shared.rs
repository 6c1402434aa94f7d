//! The shared state of a store, its clones and its writers: one map. Its entries are weighed in
//! bytes, and admitted and evicted by TinyLFU.
//!
//! Owns what lookups see, the commit of a written entry, removals, and the accounting of bytes.
//! Which writes a removal revokes is decided by [`Epochs`]. `store` freshens entries, `writer`
//! collects bodies; this module uses neither.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use larder_core::{
    CacheKey, Candidate, Candidates, EntryId, Epochs, Scope, StoreError, StoreErrorKind, StoredBody,
    StoredHead, Ticket, Timestamp, policy::PrehashedBuildHasher,
};

use crate::{
    MemoryOptions,
    large::{Held, Large},
};

/// Estimated bookkeeping of one key, in bytes: the map's entry, its nodes in the policy's lists,
/// the key's `Arc`.
const KEY_OVERHEAD: usize = 320;
/// Estimated bookkeeping of one candidate, in bytes, including the prepared form of its head that
/// adapters attach.
const CANDIDATE_OVERHEAD: usize = 256;

/// The state that the store's clones and its writers share.
pub(crate) struct Shared {
    /// The stored responses of each key.
    pub(crate) entries: moka::sync::Cache<CacheKey, MapValue, PrehashedBuildHasher>,
    /// The candidates of long bodies that are in the map.
    large: Arc<Large>,
    options: MemoryOptions,
    /// The writers in progress, and when groups were removed or marked stale.
    pub(crate) epochs: Epochs,
    /// Number of clears so far. An entry with another value has been removed. The map's
    /// `invalidate_all` is not sufficient: it compares times, and while an entry is being replaced,
    /// the old value gets the time of the new one.
    pub(crate) clears: AtomicU32,
    /// Number of the next entry.
    ids: AtomicU64,
    /// Bytes of bodies that are being written.
    pub(crate) writing: AtomicU64,
    /// Bytes of stored entries, including those that are about to be evicted.
    pub(crate) stored_bytes: Arc<AtomicU64>,
}

/// The responses of one key.
pub(crate) struct Stored {
    pub(crate) candidates: Candidates,
    /// Epoch of the reservation of each candidate. `None` if no candidate has groups.
    reserved_at: Option<Arc<[u64]>>,
    /// Value of `clears` when this was stored.
    pub(crate) clears: u32,
}

/// The responses of one key, as the map has them.
#[derive(Clone)]
pub(crate) struct MapValue {
    held: Held,
    reserved_at: Option<Arc<[u64]>>,
    clears: u32,
    /// Weight in the map, in bytes.
    weight: u32,
}

impl MapValue {
    /// Returns the responses, or `None` if they have left the map meanwhile.
    fn stored(self) -> Option<Stored> {
        let Self { held, reserved_at, clears, .. } = self;
        Some(Stored { candidates: held.into_candidates()?, reserved_at, clears })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("capacity", &self.options.capacity)
            .field("stored_bytes", &self.stored_bytes)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Creates an empty store with these limits.
    pub(crate) fn new(options: MemoryOptions) -> Self {
        let stored_bytes = Arc::new(AtomicU64::new(0));
        let evicted_bytes = Arc::clone(&stored_bytes);
        let large = Arc::new(Large::default());
        let held = Arc::clone(&large);
        let entries = moka::sync::Cache::builder()
            .name("larder")
            .max_capacity(options.stored())
            .weigher(|_, value: &MapValue| value.weight)
            .eviction_listener(move |_, value: MapValue, _| {
                evicted_bytes.fetch_sub(u64::from(value.weight), Ordering::Relaxed);
                held.drop_removed(&value.held);
            })
            .build_with_hasher(PrehashedBuildHasher);
        Self {
            entries,
            large,
            options,
            epochs: Epochs::new(),
            clears: AtomicU32::new(0),
            ids: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            stored_bytes,
        }
    }

    /// Returns the length of the longest body that is accepted. The map counts an entry's bytes in
    /// 32 bits.
    pub(crate) fn longest(&self, announced: bool) -> u64 {
        let max = self.options.longest_body(announced);
        max.min(u64::from(u32::MAX) / 2)
    }

    /// Accounts for bytes that are being written.
    ///
    /// # Errors
    ///
    /// [`Full`](StoreErrorKind::Full) if bodies in progress already use their share of the
    /// capacity.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let limit = self.options.writing();
        let before = self.writing.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= limit {
            return Ok(());
        }
        self.writing.fetch_sub(bytes, Ordering::Relaxed);
        let detail =
            format!("bodies that are being written use {before} of {limit} bytes (raise the capacity)");
        Err(StoreError::new(StoreErrorKind::Full, "memory", detail))
    }

    /// Releases bytes of a body that is no longer being written.
    pub(crate) fn release(&self, bytes: u64) {
        self.writing.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes a written entry visible, in place of the entry with the same selecting header values.
    pub(crate) fn commit(
        &self,
        ticket: &Ticket,
        head: &Arc<StoredHead>,
        body: StoredBody,
    ) -> Result<EntryId, StoreError> {
        let committed = ticket.commit(&head.groups, || self.insert(ticket.key(), ticket.epoch(), head, body));
        committed.ok_or_else(|| gone("the entry was removed while it was being written"))
    }

    /// Inserts an entry. The caller holds the lock of the key's shard.
    fn insert(&self, key: &CacheKey, reserved_at: u64, head: &Arc<StoredHead>, body: StoredBody) -> EntryId {
        // Read before the lookup below: what that finds has this value of `clears`, or is ignored.
        let clears = self.clears.load(Ordering::Acquire);
        let id = EntryId(self.ids.fetch_add(1, Ordering::Relaxed));
        let candidate = Candidate::new(id, Arc::clone(head), body);
        // `get` for an absent key would count as a request in the TinyLFU sketch. An entry that is
        // requested once could then replace entries that are requested repeatedly.
        let before = if self.entries.contains_key(key) { self.get(key) } else { None };
        let Some(before) = before else {
            self.put(key, Arc::new([candidate]), &[reserved_at], clears);
            return id;
        };
        let others = before.iter().filter(|(other, _)| other.head.selecting != candidate.head.selecting);
        let (candidates, reserved_at): (Vec<_>, Vec<_>) = std::iter::once((&candidate, reserved_at))
            .chain(others)
            .map(|(one, reserved_at)| (one.clone(), reserved_at))
            .unzip();
        self.put(key, candidates.into(), &reserved_at, clears);
        id
    }

    /// Returns the responses of a key, without those removed by a clear or with their group.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Stored> {
        let stored = self.entries.get(key)?.stored()?;
        (!self.is_cleared(&stored)).then(|| self.valid(stored))
    }

    /// Returns what a lookup of `key` finds: the responses that have not been removed, marked stale
    /// if their group was.
    pub(crate) fn look_up(&self, key: &CacheKey) -> Candidates {
        // Twice, since another value may replace the first one after it was read.
        self.look_up_once(key).or_else(|| self.look_up_once(key)).unwrap_or_default()
    }

    /// Returns what a lookup of `key` finds. `None` if it has left the map meanwhile.
    fn look_up_once(&self, key: &CacheKey) -> Option<Candidates> {
        let Some(value) = self.entries.get(key) else { return Some(Candidates::none()) };
        if value.clears != self.clears.load(Ordering::Acquire) {
            return Some(Candidates::none());
        }
        if value.reserved_at.is_none() {
            return value.held.into_candidates();
        }
        let stored = self.valid(value.stored()?);
        Some(self.marked_with_groups(stored.candidates))
    }

    /// Returns whether a clear has removed this.
    fn is_cleared(&self, stored: &Stored) -> bool {
        stored.clears != self.clears.load(Ordering::Acquire)
    }

    /// Replaces the responses of a key. The caller holds the lock of the key's shard.
    ///
    /// `reserved_at` has the epoch of each candidate's reservation.
    pub(crate) fn put(&self, key: &CacheKey, candidates: Arc<[Candidate]>, reserved_at: &[u64], clears: u32) {
        let bodies: usize = candidates.iter().map(weigh).sum();
        let weight = u32::try_from(bodies + key.as_bytes().len() + KEY_OVERHEAD).unwrap_or(u32::MAX);
        let has_groups = candidates.iter().any(|candidate| !candidate.head.groups.is_empty());
        let reserved_at = has_groups.then(|| reserved_at.into());
        let held = self.large.hold(candidates, weight);
        let value = MapValue { held, reserved_at, clears, weight };
        let stored_bytes =
            self.stored_bytes.fetch_add(u64::from(weight), Ordering::Relaxed) + u64::from(weight);
        self.entries.insert(key.clone(), value);
        if stored_bytes > self.options.stored() {
            // The map evicts in batches. Without this call, up to a batch of large bodies could
            // exceed the limit.
            self.entries.run_pending_tasks();
        }
    }

    /// Marks the candidates stale that have a group that was marked stale.
    fn marked_with_groups(&self, candidates: Candidates) -> Candidates {
        candidates.marked_stale(|head| self.epochs.stale_at(&head.groups))
    }

    /// Removes one response of a key, and returns whether there was one with this id.
    pub(crate) fn evict(&self, key: &CacheKey, id: EntryId) -> bool {
        self.epochs.update(key, || {
            let Some(before) = self.get(key) else { return false };
            let others = before.iter().filter(|(one, _)| one.id != id);
            let (others, reserved_at): (Vec<_>, Vec<_>) =
                others.map(|(one, reserved_at)| (one.clone(), reserved_at)).unzip();
            let was_stored = others.len() < before.candidates.len();
            if others.is_empty() {
                self.entries.remove(key);
            } else if was_stored {
                self.put(key, others.into(), &reserved_at, before.clears);
            }
            was_stored
        })
    }

    /// Removes the responses of a key, and returns how many there were.
    pub(crate) fn remove(&self, key: &CacheKey) -> u64 {
        self.epochs.remove(Scope::Key(key));
        self.remove_stored(key)
    }

    /// Removes the stored responses of a key, and returns how many there were.
    fn remove_stored(&self, key: &CacheKey) -> u64 {
        // Within an update, because freshening or storing another variant writes back what it has
        // read.
        let removed = self.epochs.update(key, || {
            // Before it leaves the map, which may free it.
            let removed = if self.entries.contains_key(key) { self.get(key) } else { None };
            self.entries.invalidate(key);
            removed
        });
        removed.map_or(0, |stored| stored.candidates.len() as u64)
    }

    /// Removes the responses of all URLs that begin with `url`, and returns how many there were.
    pub(crate) fn remove_prefix(&self, url: &str) -> u64 {
        self.epochs.remove(Scope::Prefix(url));
        let keys = self.entries.iter().map(|(key, _)| key).filter(|key| key.target().starts_with(url));
        keys.map(|key| self.remove_stored(&key)).sum()
    }

    /// Removes all responses, in time that does not depend on their number.
    pub(crate) fn remove_all(&self) {
        self.epochs.remove(Scope::All);
        // After the writes: none that was reserved before commits with the new value.
        self.clears.fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate_all();
    }

    /// Marks the responses of a key stale, and returns how many it has marked.
    pub(crate) fn mark_stale(&self, key: &CacheKey, at: Timestamp) -> u64 {
        self.epochs.update(key, || {
            let Some(stored) = self.get(key) else { return 0 };
            let before = self.marked_with_groups(stored.candidates.clone());
            let after = before.clone().marked_stale(|_| Some(at));
            let each = before.iter().zip(after.iter());
            let marked = each.filter(|(before, after)| !Arc::ptr_eq(&before.head, &after.head)).count();
            if marked > 0 {
                let reserved_at: Vec<_> = stored.iter().map(|(_, reserved_at)| reserved_at).collect();
                self.put(key, after.iter().cloned().collect(), &reserved_at, stored.clears);
            }
            marked as u64
        })
    }

    /// Marks the responses of all URLs that begin with `url` stale, and returns how many it has
    /// marked.
    pub(crate) fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> u64 {
        let keys = self.entries.iter().map(|(key, _)| key).filter(|key| key.target().starts_with(url));
        keys.map(|key| self.mark_stale(&key, at)).sum()
    }

    /// Drops the responses that have been removed with their group.
    fn valid(&self, stored: Stored) -> Stored {
        if stored.reserved_at.is_none() {
            return stored;
        }
        let is_valid = |(candidate, reserved_at): &(&Candidate, u64)| {
            !self.epochs.removed_since(&candidate.head.groups, *reserved_at)
        };
        if stored.iter().all(|one| is_valid(&one)) {
            return stored;
        }
        let (candidates, reserved_at): (Vec<_>, Vec<_>) = stored
            .iter()
            .filter(is_valid)
            .map(|(candidate, reserved_at)| (candidate.clone(), reserved_at))
            .unzip();
        Stored {
            candidates: Arc::<[Candidate]>::from(candidates).into(),
            reserved_at: Some(reserved_at.into()),
            ..stored
        }
    }
}

impl Stored {
    /// Iterates over the candidates and the epochs of their reservations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Candidate, u64)> {
        let reserved_at = |index| self.reserved_at.as_ref().map_or(0, |reserved_at| reserved_at[index]);
        self.candidates.iter().enumerate().map(move |(index, candidate)| (candidate, reserved_at(index)))
    }
}

/// Returns the weight of a candidate in bytes: its body, its head and bookkeeping.
fn weigh(candidate: &Candidate) -> usize {
    let body = usize::try_from(candidate.body.content_length().unwrap_or_default()).unwrap_or(usize::MAX / 2);
    // Twice the head: adapters attach a prepared form of it.
    body + 2 * candidate.head.weight() + CANDIDATE_OVERHEAD
}

/// Creates an error for an entry that has been removed, replaced or evicted.
pub(crate) fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, "memory", detail)
}
