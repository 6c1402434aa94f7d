//! Collects the public statistics from the index and the counters. Counting events is left to
//! `counters`.

use std::io;

use larder_core::{Timestamp, codec};

use crate::{
    format::bucket::Slot,
    volume::{
        Volume,
        scan::{for_each_slot, key_at},
    },
};

/// Number of heads that are read to find out when responses arrived.
const SAMPLES: usize = 10_000;

/// Statistics of a [`DiskStore`](crate::DiskStore): its content, and event counters.
///
/// The counters cover all processes since the directory was created. Those of other processes may
/// be up to a second old. Returned by [`DiskStore::stats`](crate::DiskStore::stats).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Number of entries in the index.
    pub entries: u64,
    /// Bytes of the file system that the directory occupies, or that are reserved for entries that
    /// are being written.
    pub bytes: u64,
    /// Limit of `bytes`: that of the directory
    /// ([`DiskOptions::max_bytes`](crate::DiskOptions::max_bytes)).
    pub max_bytes: u64,
    /// Lookups that found at least one entry. A lookup that is repeated after the claim of a lease
    /// is not counted.
    pub hits: u64,
    /// Lookups that found no entry.
    pub misses: u64,
    /// Entries that were committed.
    pub stored: u64,
    /// Entries that were evicted to stay within the limit.
    pub evicted: u64,
    /// Entries that were found damaged and removed.
    pub corrupt: u64,
    /// Lookups, updates and removals that failed, mostly because of the file system. Failed fills
    /// are not counted: their writers return the error.
    pub failed: u64,
    /// Arrival times of responses, oldest first: of all entries, or of a sample of about ten
    /// thousand.
    pub arrived: Vec<Timestamp>,
}

/// Collects statistics from the whole index. Takes about a second for ten million entries.
pub(crate) fn collect_stats(volume: &Volume) -> io::Result<DiskStats> {
    let state = volume.state_file.peek()?;
    let counts = volume.counters.plus(state.counts);
    let step = usize::max(1, (state.buckets as usize * 24) / SAMPLES);
    let mut stats = DiskStats {
        bytes: state.used,
        max_bytes: state.limit(),
        hits: counts.hits,
        misses: counts.misses,
        stored: counts.stored,
        evicted: counts.evicted,
        corrupt: counts.corrupt,
        failed: counts.failed,
        ..DiskStats::default()
    };
    for_each_slot(volume, |slot| {
        stats.entries += 1;
        if (stats.entries as usize).is_multiple_of(step) {
            stats.arrived.extend(response_time(volume, slot)?);
        }
        Ok(())
    })?;
    stats.arrived.sort_unstable();
    Ok(stats)
}

/// Reads when the response of a slot's entry arrived.
fn response_time(volume: &Volume, slot: &Slot) -> io::Result<Option<Timestamp>> {
    let Some((head, key)) = key_at(volume, slot)? else { return Ok(None) };
    Ok(codec::decode_head(&head, &key).ok().map(|decoded| decoded.head.freshness.response_time))
}
