//! Reclaims what a crashed process has left: temporary files that no process has locked, and files
//! that no slot of the index points to. `maintenance` decides when.

use std::{fs::File, io, sync::atomic::Ordering};

use larder_core::EntryId;

use crate::{
    format::{bucket::UNIT, file_name::FileName, record::envelope_in},
    fs::{directory::FileUse, pread::ReadMode},
    volume::{Volume, read_record::slot_of, space::trim},
};

/// Removes orphaned files and recounts the used space. Lookups are not blocked.
pub(crate) fn reclaim(volume: &Volume) -> io::Result<()> {
    let before = volume.state_file.peek()?;
    let mut used = volume.directory.fixed_bytes()?;
    for name in volume.directory.list()? {
        if volume.is_lost.load(Ordering::Relaxed) {
            return Ok(());
        }
        used += match name {
            FileName::Temp(_) | FileName::Holder(_) => reclaim_temp(volume, name)?,
            FileName::Body(hash, entry) => reclaim_body(volume, name, hash, EntryId(entry))?,
            FileName::Segment(number) => reclaim_segment(volume, name, number, before.clear_epoch)?,
        };
    }
    let mut guard = volume.state_file.lock()?;
    // Adds the change of `used` by all processes during the count.
    let (used_after, used_before) = (guard.state.used, before.used);
    guard.state.used = (used + used_after).saturating_sub(used_before);
    guard.save()?;
    drop(guard);
    trim(volume)
}

/// Removes a temporary body, or the file of a holder of leases, if no process has locked it.
/// Returns the bytes it occupies, zero if removed.
fn reclaim_temp(volume: &Volume, name: FileName) -> io::Result<u64> {
    match volume.directory.lock_unused(name)? {
        FileUse::Removed => Ok(0),
        FileUse::Used => {
            let size = volume.directory.size_of(name).unwrap_or(0);
            // Its writer has accounted for whole steps.
            Ok(size.next_multiple_of(volume.state_file.sizes().reservation_step()))
        }
        FileUse::Unused(_locked) => {
            volume.directory.remove(name)?;
            Ok(0)
        }
    }
}

/// Removes a body if no slot points to its entry: its process died before the commit, or
/// between freeing the slot and removing the file. Returns the bytes it occupies, zero if
/// removed.
fn reclaim_body(volume: &Volume, name: FileName, hash: u64, entry: EntryId) -> io::Result<u64> {
    let _guard = volume.state_file.lock()?;
    let bucket = volume.index.bucket(hash as u32, ReadMode::Blocking)?;
    if slot_of(volume, &bucket, hash, entry)?.is_none() {
        volume.directory.remove(name)?;
        return Ok(0);
    }
    // At least as long as the shortest body in a file, also if the file system compresses it: the
    // limit of the directory limits its files, too.
    Ok(volume.directory.size_of(name).unwrap_or(0).max(volume.state_file.sizes().inline()))
}

/// Returns the bytes that a segment occupies: its full size while it is being written. Removes
/// a segment if all its records are older than the last clear.
fn reclaim_segment(volume: &Volume, name: FileName, number: u32, clear_epoch: u64) -> io::Result<u64> {
    let file = match volume.directory.lock_unused(name)? {
        FileUse::Removed => return Ok(0),
        // Its writer has accounted for the whole.
        FileUse::Used => return Ok(volume.state_file.sizes().segment()),
        FileUse::Unused(file) => file,
    };
    if clear_epoch > 0 && is_older_than(&file, clear_epoch)? {
        tracing::debug!(number, "removing a segment that is older than the last clear");
        volume.discard(name)?;
        return Ok(0);
    }
    Ok(volume.directory.size_of(name).unwrap_or(0))
}

/// Returns whether all records of a segment were committed before the clear. Records are in the
/// order of their commits, except for copied ones, which are older.
fn is_older_than(file: &File, clear_epoch: u64) -> io::Result<bool> {
    let mut position = 0;
    while let Some(envelope) = envelope_in(file, position)? {
        if envelope.order > clear_epoch {
            return Ok(false);
        }
        position += envelope.units() * UNIT;
    }
    Ok(true)
}
