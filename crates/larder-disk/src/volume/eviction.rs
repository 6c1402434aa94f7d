//! Keeps the store within `max_bytes`: evicts the oldest segment. Those of its records that have
//! been looked up since they were written are copied to the active segment first.
//!
//! This is the CLOCK algorithm, a queue with a second chance: one bit per entry, in its slot, and
//! no separate list. A scan over entries that are requested once does not evict entries that are in
//! use.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::{
    format::{
        bucket::{Slot, UNIT},
        file_name::FileName,
        record::Envelope,
    },
    fs::{directory::FileUse, pread::ReadMode},
    state::counters::Counters,
    volume::{Volume, read_record::envelope_in},
};

/// Records that are examined under one lock, which takes about a quarter of a millisecond.
const BATCH: usize = 64;
/// Largest volume of records, in segments, that one call copies. After that it evicts referenced
/// records too: if every record were referenced, copying would free nothing for a long time.
const MAX_COPIED_SEGMENTS: u64 = 16;

/// Evicts segments until `bytes` more bytes, and one more segment, fit. Blocks.
///
/// # Errors
///
/// [`io::ErrorKind::StorageFull`] if no segment is left to evict.
pub(crate) fn make_room(volume: &Volume, bytes: u64) -> io::Result<()> {
    let wanted = bytes + volume.options.segment();
    if has_room(volume, wanted)? {
        return Ok(());
    }
    let mut queue = volume.eviction_queue.lock();
    let mut listed = false;
    let mut copy_budget = volume.options.segment() * MAX_COPIED_SEGMENTS;
    while !has_room(volume, wanted)? {
        let Some(number) = queue.pop_front() else {
            if std::mem::replace(&mut listed, true) {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "max_bytes is reached and no segment can be evicted (raise max_bytes)",
                ));
            }
            let names = volume.directory.list()?;
            let mut segments: Vec<u32> = names
                .into_iter()
                .filter_map(|name| if let FileName::Segment(number) = name { Some(number) } else { None })
                .collect();
            segments.sort_unstable();
            queue.extend(segments);
            continue;
        };
        evict(volume, number, &mut copy_budget)?;
    }
    Ok(())
}

/// Returns whether `bytes` more bytes fit within the limit.
fn has_room(volume: &Volume, bytes: u64) -> io::Result<bool> {
    Ok(volume.state_file.peek()?.used + bytes <= volume.options.limit())
}

/// Evicts one segment, unless it has been removed already or is locked by its writer.
fn evict(volume: &Volume, number: u32, copy_budget: &mut u64) -> io::Result<()> {
    let name = FileName::Segment(number);
    let FileUse::Unused(file) = volume.directory.lock_unused(name)? else { return Ok(()) };
    let mut batch = Vec::with_capacity(BATCH);
    let mut position = 0;
    while let Some(envelope) = envelope_in(&file, position)? {
        batch.push((position, envelope));
        position += envelope.units() * UNIT;
        if batch.len() == BATCH {
            evict_batch(volume, &file, number, &batch, copy_budget)?;
            batch.clear();
        }
    }
    evict_batch(volume, &file, number, &batch, copy_budget)?;
    let freed = volume.discard(name)?;
    volume.state_file.account(0, freed)
}

/// Frees the slots of a batch of records. Copies referenced records while `copy_budget` lasts.
fn evict_batch(
    volume: &Volume,
    file: &File,
    segment: u32,
    batch: &[(u64, Envelope)],
    copy_budget: &mut u64,
) -> io::Result<()> {
    let mut referenced: Vec<(Slot, u64)> = Vec::new();
    {
        let mut guard = volume.state_file.lock()?;
        for (position, envelope) in batch {
            let mut bucket = volume.index.bucket(envelope.hash as u32, ReadMode::Blocking)?;
            let is_record = |slot: &Slot| slot.segment == segment && slot.position() == *position;
            let Some((slot_number, slot)) =
                bucket.matching(envelope.hash as u32).find(|(_, slot)| is_record(slot))
            else {
                continue;
            };
            let size = envelope.units() * UNIT;
            if slot.referenced > 0 && *copy_budget >= size {
                *copy_budget -= size;
                referenced.push((slot, size));
                continue;
            }
            bucket.clear(slot_number);
            volume.index.write(&bucket)?;
            Counters::add(&volume.counters.evicted);
            if slot.has_file {
                let freed = volume.discard(FileName::Body(envelope.hash, envelope.entry.0))?;
                guard.state.used = guard.state.used.saturating_sub(freed);
            }
        }
        guard.save()?;
    }
    for (slot, size) in referenced {
        let mut record = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut record, slot.position())?;
        let location = volume.append(&record)?;
        let _guard = volume.state_file.lock()?;
        volume.index.replace(&slot, location)?;
    }
    Ok(())
}
