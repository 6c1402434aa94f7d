//! Removes groups (RFC 9875) in constant time: a removal records a number, the epoch, which lookups
//! compare with the epoch of an entry's reservation. The same table records when a group was marked
//! as stale. `store` counts the epochs.

use std::collections::{HashMap, VecDeque};

use larder_core::CacheGroup;
use parking_lot::RwLock;

/// Number of removals that are recorded, at most.
const MAX_REMOVALS: usize = 65_536;

/// The last event of each group: the epoch of its removal or, in a second table, the time at which
/// it was marked stale.
#[derive(Debug, Default)]
pub(crate) struct Groups(RwLock<Removals>);

#[derive(Debug, Default)]
struct Removals {
    /// The last event of each group.
    at: HashMap<CacheGroup, u64>,
    /// All recorded events, oldest first. A group that was removed twice is in it twice.
    order: VecDeque<(CacheGroup, u64)>,
    /// Events up to this one may have been dropped. Every entry that has a group and is older
    /// counts as removed.
    floor: u64,
}

impl Groups {
    /// Records that `group` was removed at `now`. Drops the oldest records beyond the limit.
    pub(crate) fn remove(&self, group: &CacheGroup, now: u64) {
        let mut removals = self.0.write();
        removals.at.insert(group.clone(), now);
        removals.order.push_back((group.clone(), now));
        while removals.order.len() > MAX_REMOVALS {
            let Some((oldest, at)) = removals.order.pop_front() else { return };
            if removals.at.get(&oldest) == Some(&at) {
                removals.at.remove(&oldest);
                removals.floor = removals.floor.max(at);
            }
        }
    }

    /// Returns whether an entry of these groups that was reserved at `reserved_at` has been removed
    /// with one of them since.
    pub(crate) fn removed_since(&self, groups: &[CacheGroup], reserved_at: u64) -> bool {
        !groups.is_empty() && reserved_at < self.last(groups)
    }

    /// Returns the last event of these groups, or the last that may have been dropped. Zero for
    /// none.
    pub(crate) fn last(&self, groups: &[CacheGroup]) -> u64 {
        let removals = self.0.read();
        groups
            .iter()
            .filter_map(|group| removals.at.get(group))
            .fold(removals.floor, |last, at| last.max(*at))
    }

    /// Returns the number of groups with a recorded removal.
    #[cfg(test)]
    pub(crate) fn recorded(&self) -> usize {
        self.0.read().at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site that removes a group for each change of each of its pages would otherwise fill the
    /// memory with group names.
    #[test]
    fn many_group_removals_use_bounded_memory_and_hide_all_older_entries() {
        let groups = Groups::default();
        let group = |n: usize| CacheGroup::new("https://example.com", &n.to_string());
        let count = MAX_REMOVALS + 1000;
        for n in 0..count {
            groups.remove(&group(n), n as u64 + 1);
        }
        assert!(groups.recorded() <= MAX_REMOVALS);
        for n in [0, 1, 999, 1000, count - 1] {
            assert!(
                groups.removed_since(&[group(n)], n as u64),
                "an entry older than the removal of group {n}"
            );
        }
        assert!(!groups.removed_since(&[group(count - 1)], count as u64), "an entry begun afterwards");
    }
}
