//! The store: one map, weighed in bytes, with TinyLFU deciding what stays.

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

/// Bookkeeping of one key beside what is counted: the map's entry, its place in the policy's lists, the key's `Arc`.
const KEY_OVERHEAD: usize = 320;
/// The same of one candidate, with the form that an adapter keeps of its head.
const CANDIDATE_OVERHEAD: usize = 256;

/// Keeps responses in this process's memory.
///
/// Cloning shares the store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// What the store and its writers share.
pub(crate) struct Shared {
    entries: moka::sync::Cache<CacheKey, Stored, PrehashedBuildHasher>,
    options: MemoryOptions,
    pub(crate) writers: InFlight,
    groups: Groups,
    /// When groups were made stale, in ms.
    outdated: Groups,
    /// Counts removals of groups; an entry is as old as the count when it was begun.
    epoch: AtomicU64,
    /// Counts removals of everything; an entry of another count than this is gone. The map's own removal of everything compares
    /// times, and while an entry is replaced it gives the new one's time to the old one.
    clears: AtomicU32,
    ids: AtomicU64,
    /// Bytes of bodies that are being written.
    writing: AtomicU64,
    /// Bytes of what is stored, also what is about to be evicted.
    stored_bytes: Arc<AtomicU64>,
}

/// The responses of one key.
#[derive(Clone)]
struct Stored {
    candidates: Candidates,
    /// When each candidate was begun; only where one of them has groups.
    begun: Option<Arc<[u64]>>,
    /// How often everything had been removed.
    clears: u32,
    weight: u32,
}

impl MemoryStore {
    /// A store with these limits.
    pub fn new(options: MemoryOptions) -> Self {
        let held = Arc::new(AtomicU64::new(0));
        let leaving = Arc::clone(&held);
        let entries = moka::sync::Cache::builder()
            .name("larder")
            .max_capacity(options.stored())
            .weigher(|_, stored: &Stored| stored.weight)
            .eviction_listener(move |_, stored: Stored, _| {
                leaving.fetch_sub(u64::from(stored.weight), Ordering::Relaxed);
            })
            .build_with_hasher(PrehashedBuildHasher);
        Self {
            shared: Arc::new(Shared {
                entries,
                options,
                writers: InFlight::new(),
                groups: Groups::default(),
                outdated: Groups::default(),
                epoch: AtomicU64::new(0),
                clears: AtomicU32::new(0),
                ids: AtomicU64::new(0),
                writing: AtomicU64::new(0),
                stored_bytes: held,
            }),
        }
    }

    /// A store of at most this many bytes; the other limits follow from it.
    pub fn with_capacity(capacity: u64) -> Self {
        Self::new(MemoryOptions::with_capacity(capacity))
    }

    /// How many keys have responses, about.
    pub fn keys(&self) -> u64 {
        self.shared.entries.run_pending_tasks();
        self.shared.entries.entry_count()
    }

    /// Bytes in use: what is stored and what is being written.
    pub fn weight(&self) -> u64 {
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
            .field("held", &self.stored_bytes)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The longest body that is taken. The map counts an entry's bytes in 32 bits.
    pub(crate) fn longest(&self, announced: bool) -> u64 {
        let most = if announced { self.options.max_object } else { self.options.max_unannounced };
        most.min(u64::from(u32::MAX) / 2)
    }

    /// Makes room for bytes that are being written, or refuses them.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let limit = self.options.writing();
        let before = self.writing.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= limit {
            return Ok(());
        }
        self.writing.fetch_sub(bytes, Ordering::Relaxed);
        let detail =
            format!("bodies that are being written take {before} of {limit} bytes (raise the capacity)");
        Err(StoreError::new(StoreErrorKind::Full, "memory", detail))
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.writing.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes what a writer has written visible.
    pub(crate) fn commit(&self, writer: &MemoryWriter, body: StoredBody) -> Result<EntryId, StoreError> {
        let MemoryReservation { key, begun, .. } = &writer.place;
        let _shard = self.writers.lock(key);
        if writer.is_removed() || self.groups.removed_since(&writer.head.groups, *begun) {
            return Err(gone("it was removed while it was being written"));
        }
        // Before the look: what is found is of this count or of none.
        let clears = self.clears.load(Ordering::Acquire);
        let id = EntryId(self.ids.fetch_add(1, Ordering::Relaxed));
        let candidate = Candidate::new(id, Arc::clone(&writer.head), body);
        // A look for one that is not there would count as another request for it, and let what is asked for once push out what is
        // asked for again.
        let before = if self.entries.contains_key(key) { self.get(key) } else { None };
        let others = before
            .iter()
            .flat_map(Stored::iter)
            .filter(|(other, _)| other.head.selecting != candidate.head.selecting);
        let (candidates, begun): (Vec<_>, Vec<_>) = std::iter::once((&candidate, *begun))
            .chain(others)
            .map(|(one, begun)| (one.clone(), begun))
            .unzip();
        self.put(key, candidates, begun, clears);
        Ok(id)
    }

    /// What of a key has not been removed, all together or with its group.
    fn get(&self, key: &CacheKey) -> Option<Stored> {
        self.entries.get(key).filter(|stored| !self.is_cleared(stored)).map(|stored| self.valid(stored))
    }

    fn is_cleared(&self, stored: &Stored) -> bool {
        stored.clears != self.clears.load(Ordering::Acquire)
    }

    /// Puts the responses of a key in the place of those before. The caller holds the key's shard.
    fn put(&self, key: &CacheKey, candidates: Vec<Candidate>, begun: Vec<u64>, clears: u32) {
        let bodies: usize = candidates.iter().map(weigh).sum();
        let weight = u32::try_from(bodies + key.as_bytes().len() + KEY_OVERHEAD).unwrap_or(u32::MAX);
        let grouped = candidates.iter().any(|candidate| !candidate.head.groups.is_empty());
        let stored = Stored {
            candidates: Arc::<[Candidate]>::from(candidates).into(),
            begun: grouped.then(|| begun.into()),
            clears,
            weight,
        };
        let held = self.stored_bytes.fetch_add(u64::from(weight), Ordering::Relaxed) + u64::from(weight);
        self.entries.insert(key.clone(), stored);
        if held > self.options.stored() {
            // The map evicts in batches, and would hold up to a batch of large bodies too many until then.
            self.entries.run_pending_tasks();
        }
    }

    /// What is found of a key: without what was removed, and stale what was made so with its group.
    fn found(&self, stored: Stored) -> Candidates {
        if self.is_cleared(&stored) {
            return Candidates::none();
        }
        if stored.begun.is_none() {
            return stored.candidates;
        }
        self.valid(stored).candidates.marked_stale(|head| match self.outdated.last(&head.groups) {
            0 => None,
            at => Some(Timestamp::from_millis(at)).filter(|_| !head.groups.is_empty()),
        })
    }

    /// What of a key has not been removed with its group.
    fn valid(&self, stored: Stored) -> Stored {
        if stored.begun.is_none() {
            return stored;
        }
        let is_valid = |(candidate, begun): &(&Candidate, u64)| {
            !self.groups.removed_since(&candidate.head.groups, *begun)
        };
        if stored.iter().all(|one| is_valid(&one)) {
            return stored;
        }
        let (candidates, begun): (Vec<_>, Vec<_>) =
            stored.iter().filter(is_valid).map(|(candidate, begun)| (candidate.clone(), begun)).unzip();
        Stored {
            candidates: Arc::<[Candidate]>::from(candidates).into(),
            begun: Some(begun.into()),
            ..stored
        }
    }
}

impl Stored {
    /// Each candidate, with when it was begun.
    fn iter(&self) -> impl Iterator<Item = (&Candidate, u64)> {
        let begun = |index| self.begun.as_ref().map_or(0, |begun| begun[index]);
        self.candidates.iter().enumerate().map(move |(index, candidate)| (candidate, begun(index)))
    }
}

fn weigh(candidate: &Candidate) -> usize {
    let body = usize::try_from(candidate.body.content_length().unwrap_or_default()).unwrap_or(usize::MAX / 2);
    // Twice the head: adapters keep a form of their own beside it.
    body + 2 * candidate.head.weight() + CANDIDATE_OVERHEAD
}

fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, "memory", detail)
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        Ok(self.shared.entries.get(key).map_or_else(Candidates::none, |stored| self.shared.found(stored)))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        // Before the writer is entered: a removal in between is seen by the one or by the other.
        let begun = self.shared.epoch.load(Ordering::Acquire);
        let removed = self.shared.writers.enter(key);
        Ok(Box::new(MemoryReservation { store: Arc::clone(&self.shared), key: key.clone(), removed, begun }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let _shard = self.shared.writers.lock(key);
        let before = self.shared.get(key);
        let Some(before) = before.filter(|stored| stored.candidates.iter().any(|one| one.id == id)) else {
            return Err(gone("the entry was removed, replaced or evicted"));
        };
        let freshened = |(one, begun): (&Candidate, u64)| {
            let one = if one.id == id {
                Candidate::new(id, Arc::clone(&head), one.body.clone())
            } else {
                one.clone()
            };
            (one, begun)
        };
        let (candidates, begun) = before.iter().map(freshened).unzip();
        self.shared.put(key, candidates, begun, before.clears);
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
        let begins = |key: &CacheKey| key.target().starts_with(url);
        self.shared.writers.remove_where(begins);
        let mut count = 0;
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| begins(key)) {
            // Whoever freshens it, or stores another variant, puts back what it has found.
            let _shard = self.shared.writers.lock(&key);
            count += self.shared.get(&key).map_or(0, |stored| stored.candidates.len()) as u64;
            self.shared.entries.invalidate(&*key);
        }
        Ok(count)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.shared.writers.remove_all();
        // After the writers: none of before commits with the new count.
        self.shared.clears.fetch_add(1, Ordering::AcqRel);
        self.shared.entries.invalidate_all();
        Ok(())
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        self.shared.outdated.remove(group, at.as_millis());
        Ok(())
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        for (key, _) in self.shared.entries.iter().filter(|(key, _)| key.target().starts_with(url)) {
            let _shard = self.shared.writers.lock(&key);
            let Some(stored) = self.shared.get(&key) else { continue };
            let begun = stored.iter().map(|(_, begun)| begun).collect();
            let candidates = stored.candidates.clone().marked_stale(|_| Some(at));
            self.shared.put(&key, candidates.to_vec(), begun, stored.clears);
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
