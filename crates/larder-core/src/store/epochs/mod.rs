//! Implements "removal wins" within a process, for use by stores: which writes a removal revokes,
//! and which stored entries the removal of a group hides.
//!
//! A removal marks the writes that were reserved before it, so no tombstones are needed: the table
//! is as large as the number of writes in progress. The removal of a group records a number, the
//! epoch, which lookups compare with the epoch of an entry's reservation. `groups` has that record,
//! `table` what is in progress, `ticket` the commit.

mod groups;
mod table;
mod ticket;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use larder_policy::{CacheGroup, CacheKey, Timestamp};

use self::table::{Table, Turn};
use super::Scope;

pub use self::{table::Change, ticket::Ticket};

/// Decides, within one process, which writes a removal revokes: the third promise of
/// [`CacheStore`](crate::CacheStore), "removal wins".
///
/// A store calls [`reserve`](Self::reserve) in its own `reserve` and keeps the [`Ticket`] until the
/// write ends. It calls [`remove`](Self::remove) at the beginning of each removal, before it
/// deletes anything. A commit must be atomic against removals, which takes one of two forms:
///
/// | the store | makes an entry visible in | replaces heads and deletes entries in |
/// |---|---|---|
/// | completes without waiting | [`Ticket::commit`] | [`Epochs::update`] |
/// | waits for a file, a server, a task | [`Ticket::begin_commit`] | [`Epochs::change`] |
///
/// A store uses one of the two forms for everything, because they do not exclude each other.
///
/// *Groups.* The removal of a group takes constant time: it deletes nothing. A store keeps
/// [`Ticket::epoch`] with each entry that has groups, and a lookup leaves out those for which
/// [`removed_since`](Self::removed_since) returns true.
/// [`mark_group_stale`](Self::mark_group_stale) and [`stale_at`](Self::stale_at) do the same for
/// soft purges. A store that outlives the process keeps a record of its own, since epochs start at
/// zero in each process.
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
pub struct Epochs(Arc<Table>);

impl Epochs {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self(Arc::new(Table::new()))
    }

    /// Registers a write of `key`, for [`CacheStore::reserve`](crate::CacheStore::reserve).
    ///
    /// A removal after this call revokes the ticket. It is unregistered when it is dropped.
    pub fn reserve(&self, key: &CacheKey) -> Ticket {
        Ticket::new(&self.0, key)
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
                let mut shard = self.0.shard(key);
                if let Some(pending) = shard.get_mut(key) {
                    pending.revoke();
                    turns.extend(pending.turn.as_ref().map(|lock| self.0.turn(key, lock)));
                    if pending.is_over() {
                        shard.remove(key);
                    }
                }
            }
            Scope::Group(group) => {
                self.0.removed.record(group, || self.0.epoch.fetch_add(1, Ordering::AcqRel) + 1);
                // The groups of a write are not known here. Its commit compares the epochs.
                if self.0.changes.load(Ordering::Acquire) > 0 {
                    self.0.visit(&mut turns, |_, _| true);
                }
            }
            Scope::Prefix(prefix) => self.0.visit(&mut turns, |key, pending| {
                let matches = key.target().starts_with(prefix);
                if matches {
                    pending.revoke();
                }
                matches
            }),
            Scope::All => self.0.visit(&mut turns, |_, pending| {
                pending.revoke();
                true
            }),
        }
        Removal { turns }
    }

    /// Runs a change of the entries of `key` that does not wait. No [`Ticket::commit`] and no other
    /// `update` of the key runs meanwhile.
    ///
    /// `change` runs under a lock that other keys share. It must be short and must not call
    /// `reserve`, `remove`, `update` or `commit`, nor drop a ticket: that would deadlock. It may
    /// call [`removed_since`](Self::removed_since) and [`stale_at`](Self::stale_at), and may take
    /// the store's own lock, if the store calls none of those four while it holds that lock.
    pub fn update<R>(&self, key: &CacheKey, change: impl FnOnce() -> R) -> R {
        let _shard = self.0.shard(key);
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
        self.0.change(key).await
    }

    /// Returns whether an entry of these groups that was reserved at this epoch has been removed
    /// with one of them since. An entry without groups has not.
    pub fn removed_since(&self, groups: &[CacheGroup], epoch: u64) -> bool {
        self.0.removed_since(groups, epoch)
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
