//! Writers in progress, by key: what a removal has to reach so that none of them commits after it.
//!
//! A removal marks the writers that were begun before it, and leaves nothing behind: there are no tombstones, and the
//! table is as large as the number of fills in progress. Each shard's lock also makes commit, freshening and removal
//! of a key one after the other. It is held for as long as a map access takes, and never across an await.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use larder_core::{CacheKey, PrehashedBuildHasher};
use parking_lot::{Mutex, MutexGuard};

const SHARDS: usize = 64;

/// All writers in progress.
#[derive(Debug)]
pub(crate) struct InFlight(Box<[Mutex<Writers>]>);

/// Those of a shard's keys.
pub(crate) type Writers = HashMap<CacheKey, Vec<Arc<AtomicBool>>, PrehashedBuildHasher>;

impl InFlight {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// The shard of a key, for as long as the guard lives.
    pub(crate) fn lock(&self, key: &CacheKey) -> MutexGuard<'_, Writers> {
        self.0[(key.process_hash() >> 40) as usize % SHARDS].lock()
    }

    /// Enters a writer. What is returned becomes true when the key is removed.
    pub(crate) fn enter(&self, key: &CacheKey) -> Arc<AtomicBool> {
        let removed = Arc::new(AtomicBool::new(false));
        self.lock(key).entry(key.clone()).or_default().push(Arc::clone(&removed));
        removed
    }

    /// Forgets a writer that has ended.
    pub(crate) fn leave(&self, key: &CacheKey, removed: &Arc<AtomicBool>) {
        let mut writers = self.lock(key);
        if let Some(of_key) = writers.get_mut(key) {
            of_key.retain(|writer| !Arc::ptr_eq(writer, removed));
            if of_key.is_empty() {
                writers.remove(key);
            }
        }
    }

    /// Marks the writers of a key.
    pub(crate) fn remove(writers: &mut MutexGuard<'_, Writers>, key: &CacheKey) {
        for writer in writers.remove(key).into_iter().flatten() {
            writer.store(true, Ordering::Release);
        }
    }

    /// Marks the writers of keys for which this holds.
    pub(crate) fn remove_where(&self, gone: impl Fn(&CacheKey) -> bool) {
        for shard in &self.0 {
            let mut writers = shard.lock();
            let keys: Vec<CacheKey> = writers.keys().filter(|key| gone(key)).cloned().collect();
            keys.iter().for_each(|key| Self::remove(&mut writers, key));
        }
    }

    /// Marks every writer. When this returns, commits that had begun before have ended.
    pub(crate) fn remove_all(&self) {
        for shard in &self.0 {
            let mut writers = shard.lock();
            for writer in writers.drain().flat_map(|(_, of_key)| of_key) {
                writer.store(true, Ordering::Release);
            }
        }
    }
}
