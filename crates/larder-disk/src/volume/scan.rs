//! Reads the whole index and the key of every entry. What is done with them is left to `stats` and,
//! for URL prefixes, to `removal`.

use std::io;

use bytes::Bytes;
use larder_core::{CacheKey, codec};

use crate::{
    format::{
        bucket::Slot,
        record::{ENVELOPE, HEAD_READ},
    },
    fs::pread::ReadMode,
    volume::{Volume, read_record::bytes_at},
};

/// Calls `visit` for every slot. Buckets that are split meanwhile are covered: their new halves
/// are appended to the file and read last.
pub(crate) fn for_each_slot(
    volume: &Volume,
    mut visit: impl FnMut(&Slot) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    loop {
        // Under the lock no split is in progress.
        let guard = volume.state_file.lock()?;
        // Also those of a split that a crash has interrupted: lookups find them.
        let buckets = guard.state.buckets.max(volume.index.buckets()?);
        drop(guard);
        if done == buckets {
            return Ok(());
        }
        for number in done..buckets {
            for (_, slot) in volume.index.read(number, ReadMode::Blocking)?.slots() {
                visit(&slot)?;
            }
        }
        done = buckets;
    }
}

/// Calls `visit` with the key and the encoded head of every entry.
pub(crate) fn for_each_key(
    volume: &Volume,
    mut visit: impl FnMut(CacheKey, Bytes) -> io::Result<()>,
) -> io::Result<()> {
    for_each_slot(volume, |slot| {
        if let Some((head, key)) = key_at(volume, slot)? {
            return visit(key, head);
        }
        // The record was copied meanwhile, then another slot of the bucket points to it; or it
        // is damaged.
        let bucket = volume.index.bucket(slot.tag, ReadMode::Blocking)?;
        for (_, now) in bucket.matching(slot.tag).filter(|(_, now)| !now.is(slot)) {
            if let Some((head, key)) = key_at(volume, &now)? {
                visit(key, head)?;
            }
        }
        Ok(())
    })
}

/// Reads the encoded head and the key of a slot's entry. Returns `None` if there is no valid
/// one.
pub(crate) fn key_at(volume: &Volume, slot: &Slot) -> io::Result<Option<(Bytes, CacheKey)>> {
    let max_bytes = if slot.has_file { slot.length() } else { HEAD_READ.min(slot.length()) };
    // If the head is longer than the first read, read the whole record.
    for max_bytes in [max_bytes, slot.length()] {
        let bytes = match bytes_at(volume, slot, max_bytes, ReadMode::Blocking) {
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
