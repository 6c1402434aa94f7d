//! Remembers the removals that could not be written, because the disk is full, read-only or locked.
//!
//! What they concern is not found by this process, and nothing is committed, until they have been
//! carried out. `removal` records them and carries them out.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use larder_core::{CacheGroup, CacheKey, Candidates, Scope};
use parking_lot::Mutex;

/// Largest number of removals that are remembered one by one. Beyond that, nothing is found.
const MAX: usize = 4096;

/// The removals of this process that are not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// Whether there are any: lookups read only this, otherwise.
    any: AtomicBool,
    removals: Mutex<Removals>,
}

/// Scopes of removals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removals {
    pub(crate) keys: HashSet<CacheKey>,
    pub(crate) groups: HashSet<CacheGroup>,
    pub(crate) prefixes: HashSet<String>,
    pub(crate) all: bool,
}

impl Unconfirmed {
    /// Records a removal that could not be written.
    pub(crate) fn record(&self, scope: Scope<'_>) {
        let mut removals = self.removals.lock();
        match scope {
            Scope::Key(key) => drop(removals.keys.insert(key.clone())),
            Scope::Group(group) => drop(removals.groups.insert(group.clone())),
            Scope::Prefix(prefix) => drop(removals.prefixes.insert(prefix.to_owned())),
            Scope::All => removals.all = true,
        }
        if removals.len() > MAX {
            *removals = Removals { all: true, ..Removals::default() };
        }
        self.any.store(true, Ordering::Release);
    }

    /// Returns the removals, if there are any.
    pub(crate) fn get(&self) -> Option<Removals> {
        self.any.load(Ordering::Acquire).then(|| self.removals.lock().clone())
    }

    /// Records that these removals have been carried out.
    pub(crate) fn confirm(&self, done: &Removals) {
        let mut removals = self.removals.lock();
        removals.keys.retain(|key| !done.keys.contains(key));
        removals.groups.retain(|group| !done.groups.contains(group));
        removals.prefixes.retain(|prefix| !done.prefixes.contains(prefix));
        removals.all &= !done.all;
        self.any.store(removals.len() > 0 || removals.all, Ordering::Release);
    }

    /// Returns what a lookup of `key` may find of what it has found.
    pub(crate) fn filter(&self, key: &CacheKey, found: Candidates) -> Candidates {
        if !self.any.load(Ordering::Acquire) || found.is_empty() {
            return found;
        }
        let removals = self.removals.lock();
        let is_removed = removals.all
            || removals.keys.contains(key)
            || found.iter().flat_map(|one| &*one.head.groups).any(|group| removals.groups.contains(group))
            || removals.prefixes.iter().any(|prefix| key.target().starts_with(prefix));
        if is_removed { Candidates::none() } else { found }
    }
}

impl Removals {
    /// Returns the number of scopes other than everything.
    fn len(&self) -> usize {
        self.keys.len() + self.groups.len() + self.prefixes.len()
    }
}
