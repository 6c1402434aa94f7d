//! Operations that read the whole index: the public statistics, and removing or marking as stale by
//! URL prefix. Removal of single keys is in `volume`, the counting of events in `counters`.

use std::{io, sync::Arc};

use bytes::Bytes;
use larder_core::{CacheKey, StoreError, StoreErrorKind, Timestamp, codec};

use crate::{
    error::failed,
    index::Slot,
    pread::ReadMode,
    record::{ENVELOPE, HEAD_READ},
    volume::Volume,
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
    /// Bytes of the file system that the directory occupies.
    pub bytes: u64,
    /// Limit of `bytes`: [`DiskOptions::max_bytes`](crate::DiskOptions::max_bytes), at least 4 MiB.
    pub max_bytes: u64,
    /// Lookups that found at least one entry.
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

impl Volume {
    /// Collects statistics from the whole index. Takes about a second for ten million entries.
    pub(crate) fn stats(&self) -> io::Result<DiskStats> {
        let state = self.state_file.peek()?;
        let counts = self.counters.plus(state.counts);
        let step = usize::max(1, (state.buckets as usize * 24) / SAMPLES);
        let mut stats = DiskStats {
            bytes: state.used,
            max_bytes: self.options.limit(),
            hits: counts.hits,
            misses: counts.misses,
            stored: counts.stored,
            evicted: counts.evicted,
            corrupt: counts.corrupt,
            failed: counts.failed,
            ..DiskStats::default()
        };
        self.for_each_slot(|slot| {
            stats.entries += 1;
            if (stats.entries as usize).is_multiple_of(step) {
                stats.arrived.extend(self.response_time(slot)?);
            }
            Ok(())
        })?;
        stats.arrived.sort_unstable();
        Ok(stats)
    }

    /// Calls `visit` for every slot. Buckets that are split meanwhile are covered: their new halves
    /// are appended to the file and read last.
    fn for_each_slot(&self, mut visit: impl FnMut(&Slot) -> io::Result<()>) -> io::Result<()> {
        let mut done = 0;
        loop {
            // Under the lock no split is in progress.
            let buckets = self.state_file.lock()?.state.buckets;
            if done == buckets {
                return Ok(());
            }
            for number in done..buckets {
                for (_, slot) in self.index.read(number, ReadMode::Blocking)?.slots() {
                    visit(&slot)?;
                }
            }
            done = buckets;
        }
    }

    /// Calls `visit` with the key and the encoded head of every entry.
    fn for_each_key(&self, mut visit: impl FnMut(CacheKey, Bytes) -> io::Result<()>) -> io::Result<()> {
        self.for_each_slot(|slot| {
            if let Some((head, key)) = self.key_at(slot)? {
                return visit(key, head);
            }
            // The record was copied meanwhile, then another slot of the bucket points to it; or it
            // is damaged.
            let bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
            for (_, now) in bucket.matching(slot.tag).filter(|(_, now)| !now.is(slot)) {
                if let Some((head, key)) = self.key_at(&now)? {
                    visit(key, head)?;
                }
            }
            Ok(())
        })
    }

    /// Reads when the response of a slot's entry arrived.
    fn response_time(&self, slot: &Slot) -> io::Result<Option<Timestamp>> {
        let Some((head, key)) = self.key_at(slot)? else { return Ok(None) };
        Ok(codec::decode_head(&head, &key).ok().map(|decoded| decoded.head.freshness.response_time))
    }

    /// Reads the encoded head and the key of a slot's entry. Returns `None` if there is no valid
    /// one.
    fn key_at(&self, slot: &Slot) -> io::Result<Option<(Bytes, CacheKey)>> {
        let max_bytes = if slot.has_file { slot.length() } else { HEAD_READ.min(slot.length()) };
        // If the head is longer than the first read, read the whole record.
        for max_bytes in [max_bytes, slot.length()] {
            let bytes = match self.bytes_at(slot, max_bytes, ReadMode::Blocking) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                bytes => bytes?,
            };
            let head = bytes.slice(ENVELOPE.min(bytes.len())..);
            if let Ok(key) = codec::stored_key(&head) {
                return Ok(Some((head, key)));
            }
        }
        Ok(None)
    }

    /// Marks the entries of all URLs that begin with `url` stale.
    pub(crate) fn mark_prefix_stale(self: &Arc<Self>, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut failure = None;
        let result = self.for_each_key(|key, _| {
            if !key.target().starts_with(url) {
                return Ok(());
            }
            for candidate in self.lookup(&key, ReadMode::Blocking)?.iter() {
                let Some(stale) = candidate.head.marked_stale(at) else { continue };
                match self.freshen(&key, candidate.id, &Arc::new(stale)) {
                    // The entry has been removed or replaced meanwhile.
                    Err(error) if error.kind() == StoreErrorKind::Gone => {}
                    Err(error) => failure = Some(error),
                    Ok(()) => {}
                }
            }
            Ok(())
        });
        result.map_err(failed("could not read the index"))?;
        failure.map_or(Ok(()), Err)
    }

    /// Removes the entries of all URLs that begin with `url`, and prevents all commits that were
    /// reserved before. Returns the number of entries removed.
    pub(crate) fn remove_prefix(&self, url: &str) -> io::Result<u64> {
        let mut guard = self.state_file.lock()?;
        guard.state.prefix_epoch = guard.next_sequence();
        guard.save()?;
        drop(guard);
        let mut removed = 0;
        self.for_each_key(|key, _| {
            if key.target().starts_with(url) {
                self.remove(&key)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }
}
