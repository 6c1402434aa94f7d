//! Decides how long the server stores entries, tombstones and tokens. `writer` sets the TTL of
//! unfinished bodies itself; how long a lease lasts is an option.

use std::time::Duration;

use larder_core::{StoredHead, Timestamp};

/// How long a tombstone or an epoch is stored: longer than any fetch takes, so that each write that
/// began before the removal finds it.
pub(crate) const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long the tokens of a group are stored: they outlive each entry that was in the group when it
/// was removed or marked stale.
pub(crate) const GROUP_TTL: Duration = MAX_TTL.saturating_add(TOMBSTONE_TTL);
/// Longest time that an entry is stored, so that the tokens of its groups outlive it.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns how long the server stores an entry that the engine uses until `keep_until`. It is
/// counted from the arrival of the response, because the clocks of the server, of this process and
/// of the engine may differ. At most 30 days.
pub(crate) fn entry_ttl(head: &StoredHead, keep_until: Timestamp) -> Duration {
    keep_until.since(head.freshness.response_time).min(MAX_TTL)
}

/// Returns a duration in whole milliseconds, at least 1: Redis rejects a TTL of 0.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
