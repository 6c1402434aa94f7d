//! Registers the writers in progress by key, so that a removal can prevent their commits.
//!
//! A removal marks the writers that were reserved before it. No tombstones are needed, and the
//! table is as large as the number of fills in progress. Each shard's lock also serializes commit,
//! freshening and removal of a key. It is held for as long as a map access takes, and never across
//! an await.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use larder_core::{CacheKey, PrehashedBuildHasher};
use parking_lot::{Mutex, MutexGuard};

/// Number of shards, each with a lock.
const SHARDS: usize = 64;

/// All writers in progress.
#[derive(Debug)]
pub(crate) struct InFlight(Box<[Mutex<Writers>]>);

/// The writers of one shard, by key. A writer's flag is set when its key is removed.
pub(crate) type Writers = HashMap<CacheKey, Vec<Arc<AtomicBool>>, PrehashedBuildHasher>;

impl InFlight {
    /// Creates an empty table.
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// Locks the shard of a key.
    pub(crate) fn lock(&self, key: &CacheKey) -> MutexGuard<'_, Writers> {
        self.0[(key.process_hash() >> 40) as usize % SHARDS].lock()
    }

    /// Registers a writer. Returns its flag, which becomes true when the key is removed.
    pub(crate) fn register(&self, key: &CacheKey) -> Arc<AtomicBool> {
        let removed = Arc::new(AtomicBool::new(false));
        self.lock(key).entry(key.clone()).or_default().push(Arc::clone(&removed));
        removed
    }

    /// Removes a writer that has ended from the table.
    pub(crate) fn unregister(&self, key: &CacheKey, removed: &Arc<AtomicBool>) {
        let mut writers = self.lock(key);
        if let Some(of_key) = writers.get_mut(key) {
            of_key.retain(|writer| !Arc::ptr_eq(writer, removed));
            if of_key.is_empty() {
                writers.remove(key);
            }
        }
    }

    /// Marks the writers of a key as removed.
    pub(crate) fn remove(writers: &mut MutexGuard<'_, Writers>, key: &CacheKey) {
        for writer in writers.remove(key).into_iter().flatten() {
            writer.store(true, Ordering::Release);
        }
    }

    /// Marks the writers of all keys for which `matches` returns true.
    pub(crate) fn remove_where(&self, matches: impl Fn(&CacheKey) -> bool) {
        for shard in &self.0 {
            let mut writers = shard.lock();
            let keys: Vec<CacheKey> = writers.keys().filter(|key| matches(key)).cloned().collect();
            keys.iter().for_each(|key| Self::remove(&mut writers, key));
        }
    }

    /// Marks every writer as removed. When this returns, all commits that had begun before have
    /// ended.
    pub(crate) fn remove_all(&self) {
        for shard in &self.0 {
            let mut writers = shard.lock();
            for writer in writers.drain().flat_map(|(_, of_key)| of_key) {
                writer.store(true, Ordering::Release);
            }
        }
    }
}
