//! Going through all of the store: what is in it, for people, and removing what begins with something.

use std::{io, sync::Arc};

use bytes::Bytes;
use larder_core::{CacheKey, StoreError, StoreErrorKind, Timestamp, codec};

use crate::{
    error::failed,
    index::Slot,
    reading::Mode,
    record::{ENVELOPE, HEAD_READ},
    volume::Volume,
};

/// Heads that are read to tell how old entries are.
const SAMPLES: usize = 10_000;

/// What is in the store, and what has happened since its directory was made, in all processes.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Entries that can be looked up.
    pub entries: u64,
    /// Bytes of the file system that the directory takes.
    pub bytes: u64,
    /// The limit of those.
    pub max_bytes: u64,
    /// Look-ups that found something.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries that were committed.
    pub stored: u64,
    /// Entries that had to make room.
    pub evicted: u64,
    /// Entries that were found damaged, and removed.
    pub corrupt: u64,
    /// Calls that the file system failed.
    pub failed: u64,
    /// When responses arrived, oldest first: of all entries, or of ten thousand evenly spread.
    pub arrived: Vec<Timestamp>,
}

impl Volume {
    /// Reads all of the index: a second for ten million entries.
    pub(crate) fn stats(&self) -> io::Result<DiskStats> {
        let state = self.ledger.peek()?;
        let counts = self.counters.plus(state.counts);
        let each = usize::max(1, (state.buckets as usize * 24) / SAMPLES);
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
        for number in 0..state.buckets {
            for (_, slot) in self.index.read(number, Mode::Wait)?.slots() {
                stats.entries += 1;
                if (stats.entries as usize).is_multiple_of(each) {
                    stats.arrived.extend(self.arrived(&slot));
                }
            }
        }
        stats.arrived.sort_unstable();
        Ok(stats)
    }

    fn arrived(&self, slot: &Slot) -> Option<Timestamp> {
        let (head, key) = self.key_at(slot)?;
        Some(codec::decode_head(&head, &key).ok()?.head.terms.response_time)
    }

    /// The head to which a slot leads, as it is written, and its key.
    fn key_at(&self, slot: &Slot) -> Option<(Bytes, CacheKey)> {
        let most = if slot.has_file { slot.length() } else { HEAD_READ.min(slot.length()) };
        let head = |most| {
            let bytes = self.bytes_at(slot, most, Mode::Wait).ok()?;
            Some(bytes.slice(ENVELOPE.min(bytes.len())..))
        };
        let short = head(most)?;
        let (bytes, key) = match codec::stored_key(&short) {
            Ok(key) => (short, key),
            // A long head.
            Err(_) => {
                let whole = head(slot.length())?;
                let key = codec::stored_key(&whole).ok()?;
                (whole, key)
            }
        };
        Some((bytes, key))
    }

    /// Removes the entries of all URLs that begin so, and says how many there were.
    /// Makes the entries of all URLs that begin so stale.
    pub(crate) fn outdate_prefix(self: &Arc<Self>, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let reading = || failed("reading the index");
        for number in 0..self.ledger.peek().map_err(reading())?.buckets {
            for (_, slot) in self.index.read(number, Mode::Wait).map_err(reading())?.slots() {
                let Some((_, key)) = self.key_at(&slot).filter(|(_, key)| key.target().starts_with(url))
                else {
                    continue;
                };
                let found = self.lookup(&key, Mode::Wait).map_err(reading())?;
                for candidate in found.iter() {
                    let Some(stale) = candidate.head.outdated(at) else { continue };
                    match self.freshen(&key, candidate.id, &Arc::new(stale)) {
                        // Removed or replaced meanwhile.
                        Err(error) if error.kind() == StoreErrorKind::Gone => {}
                        done => done?,
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove_prefix(&self, url: &str) -> io::Result<u64> {
        let mut removed = 0;
        for number in 0..self.ledger.peek()?.buckets {
            for (_, slot) in self.index.read(number, Mode::Wait)?.slots() {
                if let Some((_, key)) = self.key_at(&slot).filter(|(_, key)| key.target().starts_with(url)) {
                    self.remove(&key)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}
