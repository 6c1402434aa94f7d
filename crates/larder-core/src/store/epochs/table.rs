//! The table of what is in progress, by key: writes, which a removal revokes, and changes, of which
//! each waits for its turn. `ticket` registers writes, the parent module revokes them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use larder_policy::{CacheGroup, CacheKey, PrehashedBuildHasher};
use parking_lot::{Mutex, MutexGuard};

use super::groups::GroupEvents;

/// Number of shards, each with a lock.
const SHARDS: usize = 64;

/// The state that the clones of an `Epochs`, its tickets and its changes share.
pub(super) struct Table {
    pub(super) shards: Box<[Mutex<Shard>]>,
    /// Number of group removals so far. The age of an entry is the value at its reservation.
    pub(super) epoch: AtomicU64,
    /// When groups were removed, as values of `epoch`.
    pub(super) removed: GroupEvents,
    /// When groups were marked stale, in ms.
    pub(super) stale: GroupEvents,
    /// Number of changes that are in progress or waiting.
    pub(super) changes: AtomicUsize,
}

/// The keys of one shard that have something in progress.
pub(super) type Shard = HashMap<CacheKey, Pending, PrehashedBuildHasher>;

/// What is in progress for one key.
#[derive(Default)]
pub(super) struct Pending {
    /// Number of writes that are registered, including those that were revoked.
    writes: usize,
    /// Number of removals since the first of these writes.
    removals: u64,
    /// Held by the change in progress. `None` if there is none, and always in a store that uses no
    /// asynchronous changes.
    pub(super) turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Table {
    /// Creates an empty table.
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            epoch: AtomicU64::new(0),
            removed: GroupEvents::default(),
            stale: GroupEvents::default(),
            changes: AtomicUsize::new(0),
        }
    }

    /// Begins a change of a key: see `Epochs::change`.
    pub(super) async fn change(self: &Arc<Self>, key: &CacheKey) -> Change {
        let turn = {
            let mut shard = self.shard(key);
            let pending = shard.entry(key.clone()).or_default();
            self.turn(key, pending.turn.get_or_insert_default())
        };
        Change { _held: Arc::clone(&turn.lock).lock_owned().await, turn }
    }

    /// Returns whether entries of these groups that were reserved at this epoch are removed.
    pub(super) fn removed_since(&self, groups: &[CacheGroup], epoch: u64) -> bool {
        epoch < self.removed.last(groups)
    }

    /// Calls `visit` for each key with something in progress, and collects the changes in progress
    /// of the keys for which it returns true.
    pub(super) fn visit(
        self: &Arc<Self>,
        turns: &mut Vec<Turn>,
        visit: impl Fn(&CacheKey, &mut Pending) -> bool,
    ) {
        for shard in &self.shards {
            shard.lock().retain(|key, pending| {
                if visit(key, pending) {
                    turns.extend(pending.turn.as_ref().map(|lock| self.turn(key, lock)));
                }
                !pending.is_over()
            });
        }
    }

    /// Locks the shard of a key.
    pub(super) fn shard(&self, key: &CacheKey) -> MutexGuard<'_, Shard> {
        self.shards[(key.process_hash() >> 40) as usize % SHARDS].lock()
    }

    /// Returns a reference to the lock of a key's changes. The caller holds the lock of the shard.
    pub(super) fn turn(self: &Arc<Self>, key: &CacheKey, lock: &Arc<tokio::sync::Mutex<()>>) -> Turn {
        self.changes.fetch_add(1, Ordering::AcqRel);
        Turn { table: Arc::clone(self), key: key.clone(), lock: Arc::clone(lock) }
    }
}

impl Pending {
    /// Registers a write, and returns the number of removals so far: the write is revoked once
    /// there are more.
    pub(super) fn register(&mut self) -> u64 {
        self.writes += 1;
        self.removals
    }

    /// Unregisters a write.
    pub(super) fn unregister(&mut self) {
        self.writes -= 1;
    }

    /// Revokes all writes that are registered.
    pub(super) fn revoke(&mut self) {
        self.removals += 1;
    }

    /// Returns whether a write that was registered after this number of removals is revoked.
    pub(super) fn is_revoked_since(&self, removals: u64) -> bool {
        self.removals != removals
    }

    /// Returns whether nothing is in progress.
    pub(super) fn is_over(&self) -> bool {
        self.writes == 0 && self.turn.is_none()
    }
}

/// A change of a key's entries that is in progress. It ends when this is dropped.
///
/// ```
/// use larder_core::{CacheKey, Epochs, Scope};
///
/// # async fn example(key: &CacheKey) {
/// let epochs = Epochs::new();
/// let change = epochs.change(key).await;
/// // Read the head, and write another in its place.
/// drop(change);
/// # }
/// ```
#[must_use = "the change ends when it is dropped"]
pub struct Change {
    // Dropped before `turn`, which then sees whether another change waits.
    _held: tokio::sync::OwnedMutexGuard<()>,
    turn: Turn,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("key", &self.turn.key).finish_non_exhaustive()
    }
}

/// A reference to the lock of a key's changes. The last one removes it from the table.
pub(super) struct Turn {
    table: Arc<Table>,
    key: CacheKey,
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut shard = self.table.shard(&self.key);
        self.table.changes.fetch_sub(1, Ordering::AcqRel);
        let Some(pending) = shard.get_mut(&self.key) else { return };
        // New references are created under the lock of the shard only: one is the table's, the
        // other this one.
        if pending.turn.as_ref().is_some_and(|turn| Arc::ptr_eq(turn, &self.lock))
            && Arc::strong_count(&self.lock) == 2
        {
            pending.turn = None;
        }
        if pending.is_over() {
            shard.remove(&self.key);
        }
    }
}
