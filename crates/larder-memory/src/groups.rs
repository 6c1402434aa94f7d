//! Groups (RFC 9875) in constant time: a removal is a number that is remembered, and compared at look-up.

use std::collections::{HashMap, VecDeque};

use larder_core::CacheGroup;
use parking_lot::RwLock;

/// Removals that are remembered, at most.
const REMEMBERED: usize = 65_536;

/// When each group was last removed, by the store's own count of events.
#[derive(Debug, Default)]
pub(crate) struct Groups(RwLock<Removals>);

#[derive(Debug, Default)]
struct Removals {
    at: HashMap<CacheGroup, u64>,
    /// In the order of removal; a group that was removed again stands there twice.
    order: VecDeque<(CacheGroup, u64)>,
    /// Removals up to this one may have been forgotten: whatever has a group and is older counts as removed.
    floor: u64,
}

impl Groups {
    /// Notes that `group` was removed at `now`.
    pub(crate) fn remove(&self, group: &CacheGroup, now: u64) {
        let mut removals = self.0.write();
        removals.at.insert(group.clone(), now);
        removals.order.push_back((group.clone(), now));
        while removals.order.len() > REMEMBERED {
            let Some((oldest, at)) = removals.order.pop_front() else { return };
            if removals.at.get(&oldest) == Some(&at) {
                removals.at.remove(&oldest);
                removals.floor = removals.floor.max(at);
            }
        }
    }

    /// Whether an entry of these groups, begun at `begun`, has been removed with one of them since.
    pub(crate) fn removed_since(&self, groups: &[CacheGroup], begun: u64) -> bool {
        !groups.is_empty() && begun < self.last(groups)
    }

    /// When one of these groups was removed last, or may have been; zero for never.
    pub(crate) fn last(&self, groups: &[CacheGroup]) -> u64 {
        let removals = self.0.read();
        groups
            .iter()
            .filter_map(|group| removals.at.get(group))
            .fold(removals.floor, |last, at| last.max(*at))
    }

    /// How many removals are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.read().at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site that removes a group for each change of each of its pages would otherwise fill the memory with the names
    /// of groups.
    #[test]
    fn a_storm_of_group_removals_is_bounded_and_forgets_nothing_that_counts() {
        let groups = Groups::default();
        let group = |n: usize| CacheGroup::new("https://example.com", &n.to_string());
        let count = REMEMBERED + 1000;
        for n in 0..count {
            groups.remove(&group(n), n as u64 + 1);
        }
        assert!(groups.remembered() <= REMEMBERED);
        for n in [0, 1, 999, 1000, count - 1] {
            assert!(
                groups.removed_since(&[group(n)], n as u64),
                "an entry older than the removal of group {n}"
            );
        }
        assert!(!groups.removed_since(&[group(count - 1)], count as u64), "an entry begun afterwards");
    }
}
