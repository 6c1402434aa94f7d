//! The public store: one map. Its entries are weighed in bytes, and admitted and evicted by
//! TinyLFU. Writers in progress are in `inflight` and `writer`, group removals in `groups`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, Candidate, Candidates, EntryId, InvalidationFeed, Leases,
    PrehashedBuildHasher, Reservation, StoreError, StoreErrorKind, StoredBody, StoredHead, Timestamp,
};

use crate::{
    MemoryOptions, groups::Groups, inflight::InFlight, writer::MemoryReservation, writer::MemoryWriter,
};

/// Estimated bookkeeping of one key, in bytes: the map's entry, its nodes in the policy's lists,
/// the key's `Arc`.
const KEY_OVERHEAD: usize = 320;
/// Estimated bookkeeping of one candidate, in bytes, including the prepared form of its head that
/// adapters attach.
const CANDIDATE_OVERHEAD: usize = 256;

/// Stores responses in the memory of this process.
///
/// Cloning is cheap and shares the store. Its [`capacity`](MemoryOptions::capacity) is a limit in
/// bytes; at the limit, entries are evicted by the TinyLFU policy of [moka](https://docs.rs/moka).
///
/// # Examples
///
/// ```
/// use larder_memory::MemoryStore;
///
/// let store = MemoryStore::with_capacity(64 * 1024 * 1024); // 64 MiB
/// assert_eq!(store.bytes_in_use(), 0);
/// ```
///
/// # Cancel safety
///
/// All operations complete at their first poll. A writer or reservation that is dropped before its
/// commit leaves nothing in the store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// The state that the store's clones and its writers share.
pub(crate) struct Shared {
    /// The stored responses of each key.
    entries: moka::sync::Cache<CacheKey, Stored, PrehashedBuildHasher>,
    options: MemoryOptions,
    /// The writers in progress.
    pub(crate) writers: InFlight,
    /// When groups were removed, as values of `epoch`.
    groups: Groups,
    /// When groups were marked stale, in ms.
    stale_groups: Groups,
    /// Number of group removals so far. The age of an entry is the value at its reservation.
    epoch: AtomicU64,
    /// Number of clears so far. An entry with another value has been removed. The map's
    /// `invalidate_all` is not sufficient: it compares times, and while an entry is being replaced,
    /// the old value gets the time of the new one.
    clears: AtomicU32,
    /// Number of the next entry.
    ids: AtomicU64,
    /// Bytes of bodies that are being written.
    writing: AtomicU64,
    /// Bytes of stored entries, including those that are about to be evicted.
    stored_bytes: Arc<AtomicU64>,
}

/// The responses of one key.
#[derive(Clone)]
struct Stored {
    candidates: Candidates,
    /// Value of `epoch` at the reservation of each candidate. `None` if no candidate has groups.
    reserved_at: Option<Arc<[u64]>>,
    /// Value of `clears` when this was stored.
    clears: u32,
    /// Weight in the map, in bytes.
    weight: u32,
}

impl MemoryStore {
    /// Creates an empty store with these limits.
    pub fn new(options: MemoryOptions) -> Self {
        let stored_bytes = Arc::new(AtomicU64::new(0));
        let evicted_bytes = Arc::clone(&stored_bytes);
        let entries = moka::sync::Cache::builder()
            .name("larder")
            .max_capacity(options.stored())
            .weigher(|_, stored: &Stored| stored.weight)
            .eviction_listener(move |_, stored: Stored, _| {
                evicted_bytes.fetch_sub(u64::from(stored.weight), Ordering::Relaxed);
            })
            .build_with_hasher(PrehashedBuildHasher);
        Self {
            shared: Arc::new(Shared {
                entries,
                options,
                writers: InFlight::new(),
                groups: Groups::default(),
                stale_groups: Groups::default(),
                epoch: AtomicU64::new(0),
                clears: AtomicU32::new(0),
                ids: AtomicU64::new(0),
                writing: AtomicU64::new(0),
                stored_bytes,
            }),
        }
    }

    /// Creates an empty store of at most `capacity` bytes. The other limits follow from the
    /// capacity; see [`MemoryOptions`].
    pub fn with_capacity(capacity: u64) -> Self {
        Self::new(MemoryOptions::with_capacity(capacity))
    }

    /// Returns the approximate number of keys that have stored responses. Applies pending evictions
    /// first.
    pub fn key_count(&self) -> u64 {
        self.shared.entries.run_pending_tasks();
        self.shared.entries.entry_count()
    }

    /// Returns the bytes in use, by stored entries and by bodies that are being written.
    pub fn bytes_in_use(&self) -> u64 {
        self.shared.stored_bytes.load(Ordering::Relaxed) + self.shared.writing.load(Ordering::Relaxed)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("stored_bytes", &self.stored_bytes)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Returns the length of the longest body that is accepted. The map counts an entry's bytes in
    /// 32 bits.
    pub(crate) fn longest(&self, announced: bool) -> u64 {
        let max = if announced { self.options.max_object } else { self.options.max_unannounced };
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
    pub(crate) fn commit(&self, writer: &MemoryWriter, body: StoredBody) -> Result<EntryId, StoreError> {
        let MemoryReservation { key, reserved_at, .. } = &writer.reservation;
        let _shard = self.writers.lock(key);
        if writer.is_removed() || self.groups.removed_since(&writer.head.groups, *reserved_at) {
            return Err(gone("the entry was removed while it was being written"));
        }
        // Read before the lookup below: what that finds has this value of `clears`, or is ignored.
        let clears = self.clears.load(Ordering::Acquire);
        let id = EntryId(self.ids.fetch_add(1, Ordering::Relaxed));
        let candidate = Candidate::new(id, Arc::clone(&writer.head), body);
        // `get` for an absent key would count as a request in the TinyLFU sketch. An entry that is
        // requested once could then replace entries that are requested repeatedly.
        let before = if self.entries.contains_key(key) { self.get(key) } else { None };
        let others = before
            .iter()
            .flat_map(Stored::iter)
            .filter(|(other, _)| other.head.selecting != candidate.head.selecting);
        let (candidates, reserved_at): (Vec<_>, Vec<_>) = std::iter::once((&candidate, *reserved_at))
            .chain(others)
            .map(|(one, reserved_at)| (one.clone(), reserved_at))
            .unzip();
        self.put(key, candidates, reserved_at, clears);
        Ok(id)
    }

    /// Returns the responses of a key, without those removed by a clear or with their group.
    fn get(&self, key: &CacheKey) -> Option<Stored> {
        self.entries.get(key).filter(|stored| !self.is_cleared(stored)).map(|stored| self.valid(stored))
    }

    /// Returns whether a clear has removed this.
    fn is_cleared(&self, stored: &Stored) -> bool {
        stored.clears != self.clears.load(Ordering::Acquire)
    }

    /// Replaces the responses of a key. The caller holds the lock of the key's shard.
    fn put(&self, key: &CacheKey, candidates: Vec<Candidate>, reserved_at: Vec<u64>, clears: u32) {
        let bodies: usize = candidates.iter().map(weigh).sum();
        let weight = u32::try_from(bodies + key.as_bytes().len() + KEY_OVERHEAD).unwrap_or(u32::MAX);
        let has_groups = candidates.iter().any(|candidate| !candidate.head.groups.is_empty());
        let stored = Stored {
            candidates: Arc::<[Candidate]>::from(candidates).into(),
            reserved_at: has_groups.then(|| reserved_at.into()),
            clears,
            weight,
        };
        let stored_bytes =
            self.stored_bytes.fetch_add(u64::from(weight), Ordering::Relaxed) + u64::from(weight);
        self.entries.insert(key.clone(), stored);
        if stored_bytes > self.options.stored() {
            // The map evicts in batches. Without this call, up to a batch of large bodies could
            // exceed the limit.
            self.entries.run_pending_tasks();
        }
    }

    /// Returns what a lookup finds: the responses that have not been removed, marked stale if their
    /// group was.
    fn visible(&self, stored: Stored) -> Candidates {
        if self.is_cleared(&stored) {
            return Candidates::none();
        }
        if stored.reserved_at.is_none() {
            return stored.candidates;
        }
        self.valid(stored).candidates.marked_stale(|head| match self.stale_groups.last(&head.groups) {
            0 => None,
            at => Some(Timestamp::from_millis(at)).filter(|_| !head.groups.is_empty()),
        })
    }

    /// Drops the responses that have been removed with their group.
    fn valid(&self, stored: Stored) -> Stored {
        if stored.reserved_at.is_none() {
            return stored;
        }
        let is_valid = |(candidate, reserved_at): &(&Candidate, u64)| {
            !self.groups.removed_since(&candidate.head.groups, *reserved_at)
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
    fn iter(&self) -> impl Iterator<Item = (&Candidate, u64)> {
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
fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, "memory", detail)
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        Ok(self.shared.entries.get(key).map_or_else(Candidates::none, |stored| self.shared.visible(stored)))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        // Read before the writer is registered: a group removal in between then counts as later.
        let reserved_at = self.shared.epoch.load(Ordering::Acquire);
        let removed = self.shared.writers.register(key);
        Ok(Box::new(MemoryReservation {
            store: Arc::clone(&self.shared),
            key: key.clone(),
            removed,
            reserved_at,
        }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let _shard = self.shared.writers.lock(key);
        let before = self.shared.get(key);
        let Some(before) = before.filter(|stored| stored.candidates.iter().any(|one| one.id == id)) else {
            return Err(gone("the entry was removed, replaced or evicted"));
        };
        let freshened = |(one, reserved_at): (&Candidate, u64)| {
            let one = if one.id == id {
                Candidate::new(id, Arc::clone(&head), one.body.clone())
            } else {
                one.clone()
            };
            (one, reserved_at)
        };
        let (candidates, reserved_at) = before.iter().map(freshened).unzip();
        self.shared.put(key, candidates, reserved_at, before.clears);
        Ok(())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        let mut writers = self.shared.writers.lock(key);
        InFlight::remove(&mut writers, key);
        self.shared.entries.invalidate(key);
        Ok(())
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let now = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.groups.remove(group, now);
        Ok(())
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        let matches = |key: &CacheKey| key.target().starts_with(url);
        self.shared.writers.remove_where(matches);
        let mut count = 0;
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| matches(key)) {
            // Under the shard's lock, because freshening or storing another variant writes back
            // what it has read.
            let _shard = self.shared.writers.lock(&key);
            count += self.shared.get(&key).map_or(0, |stored| stored.candidates.len()) as u64;
            self.shared.entries.invalidate(&*key);
        }
        Ok(count)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.shared.writers.remove_all();
        // After the writers: none that was reserved before commits with the new value.
        self.shared.clears.fetch_add(1, Ordering::AcqRel);
        self.shared.entries.invalidate_all();
        Ok(())
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        self.shared.stale_groups.remove(group, at.as_millis());
        Ok(())
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| key.target().starts_with(url)) {
            let _shard = self.shared.writers.lock(&key);
            let Some(stored) = self.shared.get(&key) else { continue };
            let reserved_at = stored.iter().map(|(_, reserved_at)| reserved_at).collect();
            let candidates = stored.candidates.clone().marked_stale(|_| Some(at));
            self.shared.put(&key, candidates.to_vec(), reserved_at, stored.clears);
        }
        Ok(())
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}
