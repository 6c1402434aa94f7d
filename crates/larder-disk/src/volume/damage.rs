//! Removes damaged entries from the index and counts them. Damage is found by `lookup` in records,
//! and by `body` in bodies.

use std::io;

use larder_core::{CacheKey, codec::NotAnEntry};

use crate::{
    format::bucket::{Bucket, Slot},
    fs::pread::ReadMode,
    state::{counters::Counters, state_file::StateGuard},
    volume::{
        Volume,
        read_record::{file_of, record_at},
    },
};

/// Removes a slot that does not point to a valid record. The slot or the record may have
/// changed during the read, so both are checked again under the lock.
pub(crate) fn remove_corrupt(
    volume: &Volume,
    slot: &Slot,
    key: &CacheKey,
    why: NotAnEntry,
    mode: ReadMode,
) -> io::Result<()> {
    if mode == ReadMode::NonBlocking {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut guard = volume.state_file.lock()?;
    let mut bucket = volume.index.bucket(slot.tag, ReadMode::Blocking)?;
    let Some((slot_number, _)) = bucket.matching(slot.tag).find(|(_, current)| current.is(slot)) else {
        return Ok(());
    };
    if record_at(volume, slot, key, slot.length(), ReadMode::Blocking)?.is_ok() {
        return Ok(());
    }
    tracing::warn!(%why, "disk store: removed a damaged entry");
    remove_slot(volume, &mut bucket, slot_number, slot, &mut guard)
}

/// Removes the slot of an entry with a damaged body.
pub(crate) fn remove_damaged(volume: &Volume, slot: &Slot) -> io::Result<()> {
    let mut guard = volume.state_file.lock()?;
    let mut bucket = volume.index.bucket(slot.tag, ReadMode::Blocking)?;
    let Some((slot_number, _)) = bucket.matching(slot.tag).find(|(_, current)| current.is(slot)) else {
        return Ok(());
    };
    remove_slot(volume, &mut bucket, slot_number, slot, &mut guard)
}

/// Frees a slot, removes its body file, and counts a corrupt entry.
fn remove_slot(
    volume: &Volume,
    bucket: &mut Bucket,
    slot_number: usize,
    slot: &Slot,
    guard: &mut StateGuard<'_>,
) -> io::Result<()> {
    Counters::add(&volume.counters.corrupt);
    let file = file_of(volume, slot);
    bucket.clear(slot_number);
    volume.index.write(bucket)?;
    let freed = file.map_or(Ok(0), |file| volume.discard(file))?;
    guard.state.used = guard.state.used.saturating_sub(freed);
    guard.save()
}
