//! Going through all of the store: what is in it, for people, and removing what begins with something.

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
        let state = self.state_file.peek()?;
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
        self.each_slot(|slot| {
            stats.entries += 1;
            if (stats.entries as usize).is_multiple_of(each) {
                stats.arrived.extend(self.arrived(slot)?);
            }
            Ok(())
        })?;
        stats.arrived.sort_unstable();
        Ok(stats)
    }

    /// Does something with every slot that there is, also of buckets that are split meanwhile: their other halves stand behind
    /// the last.
    fn each_slot(&self, mut act: impl FnMut(&Slot) -> io::Result<()>) -> io::Result<()> {
        let mut done = 0;
        loop {
            // Under the lock nobody is in the middle of a split.
            let buckets = self.state_file.lock()?.state.buckets;
            if done == buckets {
                return Ok(());
            }
            for number in done..buckets {
                for (_, slot) in self.index.read(number, ReadMode::Blocking)?.slots() {
                    act(&slot)?;
                }
            }
            done = buckets;
        }
    }

    /// Does something with the key and the head of every entry.
    fn each_key(&self, mut act: impl FnMut(CacheKey, Bytes) -> io::Result<()>) -> io::Result<()> {
        self.each_slot(|slot| {
            if let Some((head, key)) = self.key_at(slot)? {
                return act(key, head);
            }
            // Moved meanwhile: it is elsewhere in the bucket of its tag. Or damaged: then it leads nowhere.
            let bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
            for (_, now) in bucket.matching(slot.tag).filter(|(_, now)| !now.is(slot)) {
                if let Some((head, key)) = self.key_at(&now)? {
                    act(key, head)?;
                }
            }
            Ok(())
        })
    }

    fn arrived(&self, slot: &Slot) -> io::Result<Option<Timestamp>> {
        let Some((head, key)) = self.key_at(slot)? else { return Ok(None) };
        Ok(codec::decode_head(&head, &key).ok().map(|decoded| decoded.head.freshness.response_time))
    }

    /// The head to which a slot leads, as it is written, and its key.
    fn key_at(&self, slot: &Slot) -> io::Result<Option<(Bytes, CacheKey)>> {
        let most = if slot.has_file { slot.length() } else { HEAD_READ.min(slot.length()) };
        // A head that is longer is read whole.
        for most in [most, slot.length()] {
            let bytes = match self.bytes_at(slot, most, ReadMode::Blocking) {
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

    /// Makes the entries of all URLs that begin so stale.
    pub(crate) fn outdate_prefix(self: &Arc<Self>, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut failing = None;
        let reading = self.each_key(|key, _| {
            if !key.target().starts_with(url) {
                return Ok(());
            }
            for candidate in self.lookup(&key, ReadMode::Blocking)?.iter() {
                let Some(stale) = candidate.head.marked_stale(at) else { continue };
                match self.freshen(&key, candidate.id, &Arc::new(stale)) {
                    // Removed or replaced meanwhile.
                    Err(error) if error.kind() == StoreErrorKind::Gone => {}
                    Err(error) => failing = Some(error),
                    Ok(()) => {}
                }
            }
            Ok(())
        });
        reading.map_err(failed("reading the index"))?;
        failing.map_or(Ok(()), Err)
    }

    /// Removes the entries of all URLs that begin so, keeps whatever is being stored from it, and says how many there were.
    pub(crate) fn remove_prefix(&self, url: &str) -> io::Result<u64> {
        let mut locked = self.state_file.lock()?;
        locked.state.prefix_epoch = locked.next_sequence();
        locked.save()?;
        drop(locked);
        let mut removed = 0;
        self.each_key(|key, _| {
            if key.target().starts_with(url) {
                self.remove(&key)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }
}
