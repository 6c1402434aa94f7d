//! Records the removals that the store has not confirmed, so that nothing that they concern is
//! served meanwhile. `invalidate` adds and repeats them; lookups apply them.
//!
//! A removal is in the table from before its first call of the store. It leaves the table when the
//! store has confirmed it. If the call fails, or its caller is dropped, it stays to be repeated.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{CacheGroup, CacheKey, Candidate, Candidates, OwnedScope, StoredHead, Timestamp};

/// Most removals in the table. Beyond it, they become one removal of everything.
const MAX_REMOVALS: usize = 4096;
/// Most prefixes in the table. Each lookup compares all of them.
const MAX_PREFIXES: usize = 64;

/// What a removal does to the responses of its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Remove,
    /// Marks as stale what was requested at this time or before.
    MarkStale(Timestamp),
}

impl Effect {
    /// Returns the effect of both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::MarkStale(one), Self::MarkStale(other)) => Self::MarkStale(one.max(other)),
            _ => Self::Remove,
        }
    }
}

/// A removal in the table.
#[derive(Debug, Clone, Copy)]
struct Removal {
    /// Identifies the last call that has to confirm it.
    id: u64,
    effect: Effect,
    /// Whether no call of the store for it is in progress.
    is_to_repeat: bool,
}

/// A removal that was added to the table.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) id: u64,
    /// What the store has to do, so that earlier removals of the scope are confirmed, too.
    pub(super) effect: Effect,
    /// Whether the caller has to start the task that repeats removals.
    pub(super) starts_repeating: bool,
}

/// A removal that has to be repeated.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) scope: OwnedScope,
    pub(super) effect: Effect,
    pub(super) id: u64,
}

/// The removals that the store has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    /// Number of removals in the table. Lookups read it without the lock.
    count: AtomicUsize,
    table: Mutex<Removals>,
    /// Notified when the table becomes empty.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Removals {
    keys: HashMap<CacheKey, Removal>,
    /// Lookups share it while they are in progress.
    groups: Arc<HashMap<CacheGroup, Removal>>,
    prefixes: HashMap<Box<str>, Removal>,
    everything: Option<Removal>,
    last_id: u64,
    /// Whether a task repeats the removals.
    is_repeating: bool,
}

impl Unconfirmed {
    /// Returns the number of removals that the store has not confirmed.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Adds a removal before the store is called.
    pub(super) fn add(&self, scope: &OwnedScope, effect: Effect) -> Added {
        let mut table = self.table.lock();
        let is_over_limit = table.len() >= MAX_REMOVALS || table.prefixes.len() >= MAX_PREFIXES;
        if is_over_limit {
            tracing::warn!(
                removals = table.len(),
                "too many removals are not confirmed by the store; everything will be removed"
            );
            table.replace_by_everything();
        }
        table.last_id += 1;
        let id = table.last_id;
        let added = Removal { id, effect, is_to_repeat: false };
        let effect = match scope {
            OwnedScope::Key(key) => merge(&mut table.keys, key, added),
            OwnedScope::Group(group) => merge(Arc::make_mut(&mut table.groups), group, added),
            OwnedScope::Prefix(prefix) => merge(&mut table.prefixes, prefix, added),
            OwnedScope::All => {
                let both = table.everything.map_or(effect, |before| before.effect.and(effect));
                table.everything = Some(Removal { effect: both, ..added });
                both
            }
        };
        self.count.store(table.len(), Ordering::Release);
        let starts_repeating = is_over_limit && !std::mem::replace(&mut table.is_repeating, true);
        Added { id, effect, starts_repeating }
    }

    /// Takes a removal out of the table, because the store has confirmed it. Has no effect if a
    /// later removal of the same scope has to be confirmed.
    pub(super) fn confirm(&self, scope: &OwnedScope, id: u64) {
        let mut table = self.table.lock();
        match scope {
            OwnedScope::Key(key) => remove(&mut table.keys, key, id),
            OwnedScope::Group(group) => remove(Arc::make_mut(&mut table.groups), group, id),
            OwnedScope::Prefix(prefix) => remove(&mut table.prefixes, prefix, id),
            OwnedScope::All => table.everything = table.everything.filter(|removal| removal.id != id),
        }
        let left = table.len();
        self.count.store(left, Ordering::Release);
        drop(table);
        if left == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Records that the call for a removal has ended without confirmation. Returns whether the
    /// caller has to start the task that repeats removals.
    pub(super) fn repeat(&self, scope: &OwnedScope, id: u64) -> bool {
        let mut table = self.table.lock();
        let removal = match scope {
            OwnedScope::Key(key) => table.keys.get_mut(key),
            OwnedScope::Group(group) => Arc::make_mut(&mut table.groups).get_mut(group),
            OwnedScope::Prefix(prefix) => table.prefixes.get_mut(prefix),
            OwnedScope::All => table.everything.as_mut(),
        };
        if let Some(removal) = removal.filter(|removal| removal.id == id) {
            removal.is_to_repeat = true;
        }
        !std::mem::replace(&mut table.is_repeating, true)
    }

    /// Records that the task that repeats removals could not be started.
    pub(super) fn stop_repeating(&self) {
        self.table.lock().is_repeating = false;
    }

    /// Returns the removals that have to be repeated. If there are none, the task that repeats
    /// removals ends.
    pub(super) fn to_repeat(&self) -> Vec<Repeated> {
        let mut table = self.table.lock();
        let keys = table.keys.iter().map(|(key, removal)| (OwnedScope::Key(key.clone()), removal));
        let groups = table.groups.iter().map(|(group, removal)| (OwnedScope::Group(group.clone()), removal));
        let prefixes =
            table.prefixes.iter().map(|(prefix, removal)| (OwnedScope::Prefix(prefix.clone()), removal));
        let everything = table.everything.iter().map(|removal| (OwnedScope::All, removal));
        let all = everything.chain(prefixes).chain(groups).chain(keys);
        let repeated: Vec<_> = all
            .filter(|(_, removal)| removal.is_to_repeat)
            .map(|(scope, removal)| Repeated { scope, effect: removal.effect, id: removal.id })
            .collect();
        if repeated.is_empty() {
            table.is_repeating = false;
        }
        repeated
    }

    /// Waits until the table is empty.
    pub(super) async fn confirmed(&self) {
        loop {
            let empty = self.empty.notified();
            if self.count() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// Returns what the unconfirmed removals do to what a lookup of a key finds that begins now.
    pub(super) fn effects_on(&self, key: &CacheKey) -> Effects {
        if self.count() == 0 {
            return Effects::default();
        }
        let table = self.table.lock();
        let target = key.target();
        let prefixes = table.prefixes.iter().filter(|(prefix, _)| target.starts_with(&***prefix));
        let removals = table.keys.get(key).into_iter().chain(prefixes.map(|(_, removal)| removal));
        let effects = removals.chain(table.everything.as_ref()).map(|removal| removal.effect);
        let groups = (!table.groups.is_empty()).then(|| Arc::clone(&table.groups));
        Effects { on_key: effects.reduce(Effect::and), groups }
    }
}

/// What the removals that were unconfirmed at the beginning of a lookup do to what it finds. Some
/// of them may have been confirmed when it ends; what it found may be from before that.
#[derive(Debug, Default)]
pub(super) struct Effects {
    on_key: Option<Effect>,
    groups: Option<Arc<HashMap<CacheGroup, Removal>>>,
}

impl Effects {
    /// Returns whether all responses of the key are removed.
    pub(super) fn remove_all(&self) -> bool {
        self.on_key == Some(Effect::Remove)
    }

    /// Applies the removals to what the lookup found.
    pub(super) fn apply(&self, found: Candidates) -> Candidates {
        let found = match &self.groups {
            Some(groups) if found.iter().any(|candidate| !candidate.head.groups.is_empty()) => {
                apply_to_groups(groups, found)
            }
            _ => found,
        };
        match self.on_key {
            Some(Effect::MarkStale(at)) => found.marked_stale(|_| Some(at)),
            _ => found,
        }
    }
}

/// Applies the removals of groups to what a lookup found.
fn apply_to_groups(groups: &HashMap<CacheGroup, Removal>, found: Candidates) -> Candidates {
    let effect = |head: &StoredHead| {
        let removals = head.groups.iter().filter_map(|group| groups.get(group));
        removals.map(|removal| removal.effect).reduce(Effect::and)
    };
    let kept: Vec<_> =
        found.iter().filter(|found| effect(&found.head) != Some(Effect::Remove)).cloned().collect();
    let kept = if kept.len() == found.len() { found } else { as_candidates(kept) };
    kept.marked_stale(|head| match effect(head) {
        Some(Effect::MarkStale(at)) => Some(at),
        _ => None,
    })
}

impl Removals {
    /// Returns the number of removals.
    fn len(&self) -> usize {
        self.keys.len() + self.groups.len() + self.prefixes.len() + usize::from(self.everything.is_some())
    }

    /// Replaces all removals by one of everything.
    fn replace_by_everything(&mut self) {
        self.last_id += 1;
        let everything = Removal { id: self.last_id, effect: Effect::Remove, is_to_repeat: true };
        (self.keys, self.groups, self.prefixes) = Default::default();
        self.everything = Some(everything);
    }
}

/// Adds a removal, with the effect of the one of the same scope that is there. Returns the effect
/// of both.
fn merge<K: Clone + Eq + Hash>(removals: &mut HashMap<K, Removal>, scope: &K, added: Removal) -> Effect {
    let effect = removals.get(scope).map_or(added.effect, |before| before.effect.and(added.effect));
    removals.insert(scope.clone(), Removal { effect, ..added });
    effect
}

/// Removes the removal of a scope if it has this id.
fn remove<K: Eq + Hash>(removals: &mut HashMap<K, Removal>, scope: &K, id: u64) {
    if removals.get(scope).is_some_and(|removal| removal.id == id) {
        removals.remove(scope);
    }
}

/// Returns a list of candidates.
fn as_candidates(candidates: Vec<Candidate>) -> Candidates {
    if candidates.is_empty() {
        return Candidates::none();
    }
    Arc::<[Candidate]>::from(candidates).into()
}
