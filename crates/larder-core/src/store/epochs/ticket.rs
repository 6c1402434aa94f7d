//! Defines [`Ticket`], a registered write and its commit.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use larder_policy::{CacheGroup, CacheKey};

use super::table::{Change, Shard, Table};

/// The right to commit one write, unless a removal revokes it. Dropping it unregisters the write.
///
/// [`Epochs`](crate::Epochs) has an example.
pub struct Ticket {
    table: Arc<Table>,
    key: CacheKey,
    /// Number of removals of the key, of a prefix or of everything at the registration. The table
    /// has another one once the ticket is revoked.
    removals: u64,
    epoch: u64,
}

impl Ticket {
    /// Registers a write of a key.
    pub(super) fn new(table: &Arc<Table>, key: &CacheKey) -> Self {
        // Read before the write is registered: a group removal in between then counts as later.
        let epoch = table.epoch.load(Ordering::Acquire);
        let removals = table.shard(key).entry(key.clone()).or_default().register();
        Self { table: Arc::clone(table), key: key.clone(), removals, epoch }
    }

    /// Returns the key that was reserved.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Returns the epoch of the reservation, for [`Epochs::removed_since`](crate::Epochs::removed_since). Epochs of different
    /// processes can't be compared.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether a removal has revoked the ticket, for an early end of the write. A ticket
    /// that is not revoked yet may be in the next moment. Not for use within
    /// [`commit`](Self::commit) or [`Epochs::update`](crate::Epochs::update): it would deadlock.
    pub fn is_revoked(&self, groups: &[CacheGroup]) -> bool {
        self.is_revoked_in(&self.table.shard(&self.key), groups)
    }

    /// Returns whether a removal has revoked the ticket, in the shard of its key.
    fn is_revoked_in(&self, shard: &Shard, groups: &[CacheGroup]) -> bool {
        shard.get(&self.key).is_none_or(|pending| pending.is_revoked_since(self.removals))
            || self.table.removed_since(groups, self.epoch)
    }

    /// Makes an entry of these groups visible by `make_visible`, unless the ticket is revoked.
    /// Returns `None` if it is.
    ///
    /// No removal of the key can come between the check and the end of `make_visible`, which is
    /// subject to the rules of [`Epochs::update`](crate::Epochs::update).
    pub fn commit<R>(&self, groups: &[CacheGroup], make_visible: impl FnOnce() -> R) -> Option<R> {
        let shard = self.table.shard(&self.key);
        (!self.is_revoked_in(&shard, groups)).then(make_visible)
    }

    /// Begins to make an entry of these groups visible, as a [change](crate::Epochs::change) of the key.
    /// Returns `None` if the ticket is revoked.
    ///
    /// Removals from now on wait for the end of the change: see [`Removal::settled`](crate::Removal::settled). If the store
    /// keeps the tokens of groups, it reads them before this call: then no removal can be recorded
    /// between the check and the tokens.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point: the commit has not begun then.
    pub async fn begin_commit(&self, groups: &[CacheGroup]) -> Option<Change> {
        let change = self.table.change(&self.key).await;
        // Under the lock: a removal either finds the change in the table, or revokes before.
        (!self.is_revoked(groups)).then_some(change)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.table.shard(&self.key);
        if let Some(pending) = shard.get_mut(&self.key) {
            pending.unregister();
            if pending.is_over() {
                shard.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
