//! Implements "removal wins" within a process, for use by stores: which writes a removal revokes,
//! and which stored entries the removal of a group hides.
//!
//! A removal marks the writes that were reserved before it, so no tombstones are needed: the table
//! is as large as the number of writes in progress. The removal of a group records a number, the
//! epoch, which lookups compare with the epoch of an entry's reservation. `groups` has that table.

mod groups;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use larder_policy::{CacheGroup, CacheKey, PrehashedBuildHasher, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use self::groups::GroupEvents;
use super::Scope;

/// Number of shards, each with a lock.
const SHARDS: usize = 64;

/// Decides, within one process, which writes a removal revokes: the third promise of
/// [`CacheStore`](crate::CacheStore), "removal wins".
///
/// A store calls [`reserve`](Self::reserve) in its own `reserve` and keeps the [`Ticket`] until the
/// write ends. It calls [`remove`](Self::remove) at the beginning of each removal, before it
/// deletes anything. A commit must be atomic against removals, which takes one of two forms:
///
/// | the store | makes an entry visible in | replaces a head, and deletes the entries of a key, in |
/// |---|---|---|
/// | completes without waiting | [`Ticket::commit`] | [`Epochs::update`] |
/// | waits for a file, a server, a task | [`Ticket::begin_commit`] | [`Epochs::change`] |
///
/// A store uses one of the two forms for everything, because they do not exclude each other.
///
/// *Groups.* The removal of a group takes constant time: it deletes nothing. A store keeps
/// [`Ticket::epoch`] with each entry that has groups, and a lookup leaves out those for which
/// [`removed_since`](Self::removed_since) returns true. [`mark_group_stale`](Self::mark_group_stale)
/// and [`stale_at`](Self::stale_at) do the same for soft purges. A store that outlives the process
/// keeps a record of its own, since epochs start at zero in each process.
///
/// *Memory.* The table has an entry for each write in progress, and the last 65,536 removals of
/// groups. If older ones are dropped, all older entries that have a group count as removed.
///
/// Clones share the state.
///
/// ```
/// use larder_core::{CacheGroup, CacheKey, Epochs, Scope};
///
/// let epochs = Epochs::new();
/// let key = CacheKey::from_parts("http", "example.com", "/").unwrap();
/// let ticket = epochs.reserve(&key);
/// assert_eq!(ticket.commit(&[], || "visible"), Some("visible"));
///
/// epochs.remove(Scope::Key(&key));
/// assert_eq!(ticket.commit(&[], || "visible"), None, "it was reserved before the removal");
/// assert!(epochs.reserve(&key).commit(&[], || ()).is_some());
///
/// let news = CacheGroup::new("http://example.com", "news");
/// let stored_at = epochs.reserve(&key).epoch();
/// epochs.remove(Scope::Group(&news));
/// assert!(epochs.removed_since(&[news], stored_at));
/// ```
#[derive(Clone)]
pub struct Epochs(Arc<Shared>);

struct Shared {
    shards: Box<[Mutex<Shard>]>,
    /// Number of group removals so far. The age of an entry is the value at its reservation.
    epoch: AtomicU64,
    /// When groups were removed, as values of `epoch`.
    removed: GroupEvents,
    /// When groups were marked stale, in ms.
    stale: GroupEvents,
    /// Number of changes that are in progress or waiting.
    changes: AtomicUsize,
}

/// The keys of one shard that have something in progress.
type Shard = HashMap<CacheKey, Pending, PrehashedBuildHasher>;

/// What is in progress for one key.
#[derive(Default)]
struct Pending {
    /// The flag of each write in progress, set when a removal revokes it.
    writes: Vec<Arc<AtomicBool>>,
    /// Held by the change in progress. `None` if there is none, and always in a store that uses no
    /// asynchronous changes.
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Epochs {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            epoch: AtomicU64::new(0),
            removed: GroupEvents::default(),
            stale: GroupEvents::default(),
            changes: AtomicUsize::new(0),
        }))
    }

    /// Registers a write of `key`, for [`CacheStore::reserve`](crate::CacheStore::reserve).
    ///
    /// A removal after this call revokes the ticket. It is unregistered when it is dropped.
    pub fn reserve(&self, key: &CacheKey) -> Ticket {
        // Read before the write is registered: a group removal in between then counts as later.
        let epoch = self.0.epoch.load(Ordering::Acquire);
        let revoked = Arc::new(AtomicBool::new(false));
        self.shard(key).entry(key.clone()).or_default().writes.push(Arc::clone(&revoked));
        Ticket { epochs: self.clone(), key: key.clone(), revoked, epoch }
    }

    /// Revokes the tickets of a scope that were reserved before this call. For a group, also
    /// records the removal for [`removed_since`](Self::removed_since).
    ///
    /// Call it before anything is deleted. After that, an entry of the scope can appear only
    /// through a commit that was in progress, for which [`Removal::settled`] waits, or through a
    /// later reservation. Then delete the entries of each key within [`update`](Self::update) or
    /// [`change`](Self::change) of that key, so that no freshening writes back what it has read.
    pub fn remove(&self, scope: Scope<'_>) -> Removal {
        let mut turns = Vec::new();
        match scope {
            Scope::Key(key) => {
                let mut shard = self.shard(key);
                if let Some(pending) = shard.get_mut(key) {
                    pending.revoke();
                    turns.extend(pending.turn.as_ref().map(|lock| self.turn(key, lock)));
                    if pending.is_over() {
                        shard.remove(key);
                    }
                }
            }
            Scope::Group(group) => {
                self.0.removed.record(group, || self.0.epoch.fetch_add(1, Ordering::AcqRel) + 1);
                // The groups of a write are not known here. Its commit compares the epochs.
                if self.0.changes.load(Ordering::Acquire) > 0 {
                    self.visit(&mut turns, |_, _| true);
                }
            }
            Scope::Prefix(prefix) => self.visit(&mut turns, |key, pending| {
                let matches = key.target().starts_with(prefix);
                if matches {
                    pending.revoke();
                }
                matches
            }),
            Scope::All => self.visit(&mut turns, |_, pending| {
                pending.revoke();
                true
            }),
        }
        Removal { turns }
    }

    /// Calls `visit` for each key with something in progress, and collects the changes in progress
    /// of the keys for which it returns true.
    fn visit(&self, turns: &mut Vec<Turn>, visit: impl Fn(&CacheKey, &mut Pending) -> bool) {
        for shard in &self.0.shards {
            shard.lock().retain(|key, pending| {
                if visit(key, pending) {
                    turns.extend(pending.turn.as_ref().map(|lock| self.turn(key, lock)));
                }
                !pending.is_over()
            });
        }
    }

    /// Runs a change of the entries of `key` that does not wait. No [`Ticket::commit`] and no other
    /// `update` of the key runs meanwhile.
    ///
    /// `change` runs under a lock that other keys share. It must be short and must not call
    /// `reserve`, `remove`, `update` or `commit`, nor drop a ticket.
    pub fn update<R>(&self, key: &CacheKey, change: impl FnOnce() -> R) -> R {
        let _shard = self.shard(key);
        change()
    }

    /// Begins a change of the entries of `key` that may wait. Returns once no other change and no
    /// [`Ticket::begin_commit`] of the key is in progress; the order is that of the calls.
    ///
    /// If the change sends a request that takes effect although its future was dropped, move the
    /// returned value and the request into a task of their own.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point: the change has not begun then.
    pub async fn change(&self, key: &CacheKey) -> Change {
        let turn = {
            let mut shard = self.shard(key);
            let pending = shard.entry(key.clone()).or_default();
            self.turn(key, pending.turn.get_or_insert_default())
        };
        Change { _held: Arc::clone(&turn.lock).lock_owned().await, _turn: turn }
    }

    /// Returns whether an entry of these groups that was reserved at this epoch has been removed
    /// with one of them since. An entry without groups has not.
    pub fn removed_since(&self, groups: &[CacheGroup], epoch: u64) -> bool {
        epoch < self.0.removed.last(groups)
    }

    /// Marks the entries of a group as stale that were requested from the origin at `at` or before,
    /// including those that are committed later.
    pub fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) {
        self.0.stale.record(group, || at.as_millis());
    }

    /// Returns the last time at which one of these groups was marked as stale, for
    /// [`Candidates::marked_stale`](crate::Candidates::marked_stale).
    pub fn stale_at(&self, groups: &[CacheGroup]) -> Option<Timestamp> {
        Some(self.0.stale.last(groups)).filter(|at| *at > 0).map(Timestamp::from_millis)
    }

    /// Locks the shard of a key.
    fn shard(&self, key: &CacheKey) -> MutexGuard<'_, Shard> {
        self.0.shards[(key.process_hash() >> 40) as usize % SHARDS].lock()
    }

    /// Returns a reference to the lock of a key's changes. The caller holds the lock of the shard.
    fn turn(&self, key: &CacheKey, lock: &Arc<tokio::sync::Mutex<()>>) -> Turn {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        Turn { epochs: self.clone(), key: key.clone(), lock: Arc::clone(lock) }
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs")
            .field("epoch", &self.0.epoch)
            .field("removed_groups", &self.0.removed.recorded())
            .field("stale_groups", &self.0.stale.recorded())
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// Revokes all writes in progress.
    fn revoke(&mut self) {
        for write in self.writes.drain(..) {
            write.store(true, Ordering::Release);
        }
    }

    /// Returns whether nothing is in progress.
    fn is_over(&self) -> bool {
        self.writes.is_empty() && self.turn.is_none()
    }
}

/// The right to commit one write, unless a removal revokes it. Dropping it unregisters the write.
///
/// [`Epochs`] has an example.
pub struct Ticket {
    epochs: Epochs,
    key: CacheKey,
    /// Set when a removal of the key, of a prefix or of everything revokes the ticket.
    revoked: Arc<AtomicBool>,
    epoch: u64,
}

impl Ticket {
    /// Returns the key that was reserved.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Returns the epoch of the reservation, for [`Epochs::removed_since`]. Epochs of different
    /// processes can't be compared.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether a removal has revoked the ticket, for an early end of the write. A ticket
    /// that is not revoked yet may be in the next moment.
    pub fn is_revoked(&self, groups: &[CacheGroup]) -> bool {
        self.revoked.load(Ordering::Acquire) || self.epochs.removed_since(groups, self.epoch)
    }

    /// Makes an entry of these groups visible by `make_visible`, unless the ticket is revoked.
    /// Returns `None` if it is.
    ///
    /// No removal of the key can come between the check and the end of `make_visible`, which is
    /// subject to the rules of [`Epochs::update`].
    pub fn commit<R>(&self, groups: &[CacheGroup], make_visible: impl FnOnce() -> R) -> Option<R> {
        let _shard = self.epochs.shard(&self.key);
        (!self.is_revoked(groups)).then(make_visible)
    }

    /// Begins to make an entry of these groups visible, as a [change](Epochs::change) of the key.
    /// Returns `None` if the ticket is revoked.
    ///
    /// Removals from now on wait for the end of the change: see [`Removal::settled`]. If the store
    /// keeps the tokens of groups, it reads them before this call: then no removal can be recorded
    /// between the check and the tokens.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point: the commit has not begun then.
    pub async fn begin_commit(&self, groups: &[CacheGroup]) -> Option<Change> {
        let change = self.epochs.change(&self.key).await;
        // Under the lock: a removal either finds the change in the table, or revokes before.
        let revoked = {
            let _shard = self.epochs.shard(&self.key);
            self.is_revoked(groups)
        };
        (!revoked).then_some(change)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.epochs.shard(&self.key);
        if let Some(pending) = shard.get_mut(&self.key) {
            pending.writes.retain(|write| !Arc::ptr_eq(write, &self.revoked));
            if pending.is_over() {
                shard.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("key", &self.key)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
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
    // Dropped before `_turn`, which then sees whether another change waits.
    _held: tokio::sync::OwnedMutexGuard<()>,
    _turn: Turn,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("key", &self._turn.key).finish_non_exhaustive()
    }
}

/// A removal that has begun: its scope's tickets are revoked.
///
/// A store that commits by [`Ticket::commit`] drops it. Another awaits [`settled`](Self::settled)
/// before it deletes anything.
///
/// ```
/// use larder_core::{Epochs, Scope};
///
/// # async fn example() {
/// let epochs = Epochs::new();
/// epochs.remove(Scope::Prefix("http://example.com/news/")).settled().await;
/// // Delete the entries of each URL with this prefix, each key within `epochs.change(&key)`.
/// # }
/// ```
pub struct Removal {
    turns: Vec<Turn>,
}

impl Removal {
    /// Waits until the changes that were in progress when the removal began have ended.
    ///
    /// All commits that passed their check before the removal are then visible, so that a deletion
    /// finds them. The wait is as long as the slowest of these changes.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. The tickets stay revoked.
    pub async fn settled(self) {
        for turn in self.turns {
            drop(turn.lock.lock().await);
        }
    }
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removal").field("changes", &self.turns.len()).finish_non_exhaustive()
    }
}

/// A reference to the lock of a key's changes. The last one removes it from the table.
struct Turn {
    epochs: Epochs,
    key: CacheKey,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut shard = self.epochs.shard(&self.key);
        self.epochs.0.changes.fetch_sub(1, Ordering::AcqRel);
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
