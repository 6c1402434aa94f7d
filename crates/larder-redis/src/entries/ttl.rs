//! Decides how long the server stores entries, tombstones and tokens. `writer` sets the TTL of
//! unfinished bodies itself; how long a lease lasts is an option.

use std::time::Duration;

use larder_core::StoredHead;

/// How long a tombstone or an epoch is stored: longer than any fetch takes, so that each write that
/// began before the removal finds it.
pub(crate) const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long the tokens of a group are stored: they outlive each entry that was in the group when it
/// was removed or marked stale.
pub(crate) const GROUP_TTL: Duration = MAX_TTL.saturating_add(TOMBSTONE_TTL);
/// Longest time that an entry is stored.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a response with a validator is stored after it became stale: it can be revalidated.
const REVALIDATION_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a response without a validator is stored after it became stale.
const NO_VALIDATOR_GRACE: Duration = Duration::from_secs(10);

/// Returns how long the server stores a response: its remaining freshness lifetime, then its
/// stale windows (RFC 5861 §3, §4) or the time in which it can be revalidated, whichever is
/// longer. At most 30 days.
pub(crate) fn entry_ttl(head: &StoredHead) -> Duration {
    let freshness = &head.freshness;
    let fresh = freshness.lifetime.lifetime.saturating_sub(freshness.corrected_initial_age);
    let stale = freshness.stale_while_revalidate.max(freshness.stale_if_error).unwrap_or_default();
    let grace = if head.validator().is_some() { REVALIDATION_GRACE } else { NO_VALIDATOR_GRACE };
    fresh.saturating_add(stale.max(grace)).min(MAX_TTL)
}

/// Returns a duration in whole milliseconds, at least 1: Redis rejects a TTL of 0.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
