//! Decides how long the server stores entries, replaced bodies and tokens. `writer` sets the TTL of
//! unfinished bodies itself; how long a lease lasts is an option.

use std::time::Duration;

use larder_core::{StoredHead, Timestamp};

/// How long the token of a key is stored after the last reservation or removal: longer than any
/// fetch takes. A write that finds no token is refused.
pub(crate) const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// How long an epoch is stored after the last reservation or connection: longer than any entry.
pub(crate) const EPOCH_TTL: Duration = Duration::from_secs(31 * 24 * 3600);
/// Time for which the token of a group is stored beyond the entry that was stored last: longer than
/// its body takes to arrive.
const GROUP_MARGIN: Duration = TOKEN_TTL;
/// How long a body is stored after its entry was replaced, removed or evicted, for those who are
/// reading it. Each read extends it.
pub(crate) const BODY_GRACE: Duration = Duration::from_secs(60);
/// Longest time that an entry is stored.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a group that was marked stale is stored: longer than any entry.
pub(crate) const STALE_GROUP_TTL: Duration = MAX_TTL.saturating_add(GROUP_MARGIN);

/// Returns how long the token of a group is stored from now on for an entry with this TTL.
pub(crate) fn group_ttl(entry: Duration) -> Duration {
    entry + GROUP_MARGIN
}

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
