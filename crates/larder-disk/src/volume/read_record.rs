//! Reads the records that slots point to. What is done with a record that is not valid is left to
//! `damage` and to the callers.

use std::io;

use bytes::Bytes;
use larder_core::{CacheKey, EntryId, codec::NotAnEntry};

use crate::{
    format::{
        bucket::{Bucket, Slot},
        file_name::FileName,
        record::{self, ENVELOPE, Envelope},
    },
    fs::pread::{ReadMode, read_at},
    volume::Volume,
};

/// Reads and decodes the record that a slot points to. The inner result contains the reason if
/// there is no valid record. Reads `max_bytes` bytes, or the whole record if the head is
/// longer.
pub(crate) fn record_at(
    volume: &Volume,
    slot: &Slot,
    key: &CacheKey,
    max_bytes: usize,
    mode: ReadMode,
) -> io::Result<record::Read> {
    let read = record::decode(&bytes_at(volume, slot, max_bytes, mode)?, key);
    match read {
        // The head alone is longer than `max_bytes`.
        Err(NotAnEntry::Truncated { .. }) if max_bytes < slot.length() => {
            Ok(record::decode(&bytes_at(volume, slot, slot.length(), mode)?, key))
        }
        read => Ok(read),
    }
}

/// Reads up to `max_bytes` bytes of the record that a slot points to.
pub(crate) fn bytes_at(volume: &Volume, slot: &Slot, max_bytes: usize, mode: ReadMode) -> io::Result<Bytes> {
    let file = volume.file(FileName::Segment(slot.segment))?;
    let length = slot.length().min(max_bytes);
    let mut buffer = volume.buffers.take(length);
    let read = read_at(&file, &mut buffer.as_mut()[..length], slot.position(), mode)?;
    Ok(buffer.freeze(0..read))
}

/// Reads the envelope that a slot points to. Returns `None` if there is no valid one.
pub(crate) fn envelope_at(volume: &Volume, slot: &Slot) -> io::Result<Option<Envelope>> {
    Ok(Envelope::decode(&bytes_at(volume, slot, ENVELOPE, ReadMode::Blocking)?))
}

/// Finds the slot of an entry by the key's hash and the entry's number.
pub(crate) fn slot_of(
    volume: &Volume,
    bucket: &Bucket,
    hash: u64,
    entry: EntryId,
) -> io::Result<Option<(usize, Slot)>> {
    for (slot_number, slot) in bucket.matching(hash as u32) {
        match envelope_at(volume, &slot) {
            Ok(Some(envelope)) if (envelope.hash, envelope.entry) == (hash, entry) => {
                return Ok(Some((slot_number, slot)));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the name of the file with a slot's body, if the body is in a file.
pub(crate) fn file_of(volume: &Volume, slot: &Slot) -> Option<FileName> {
    if !slot.has_file {
        return None;
    }
    let envelope = envelope_at(volume, slot).ok()??;
    Some(FileName::Body(envelope.hash, envelope.entry.0))
}
