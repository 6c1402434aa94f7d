//! Reclaims what a crashed process has left: temporary files that no process has locked, and files
//! that no slot of the index points to. Then counts the used space. `maintenance` decides when.

use std::{fs::File, io, sync::atomic::Ordering};

use larder_core::EntryId;

use crate::{
    format::{
        bucket::UNIT,
        file_name::{FileName, INDEX, LEASES, LOCK, STALE, STATE, TOMBSTONES},
        record::envelope_in,
    },
    fs::{directory::FileUse, pread::ReadMode},
    state::tombstones::counted,
    volume::{Volume, read_record::slot_of, space::trim},
};

/// Largest number of files that are counted under the lock, which takes about 50 ms. The space of
/// more files is counted without it, and therefore only about right while others write.
const MAX_FILES_UNDER_LOCK: usize = 20_000;

/// Removes orphaned files, recounts the used space, and evicts what is beyond the limit. Lookups
/// are not blocked.
pub(crate) fn reclaim(volume: &Volume) -> io::Result<()> {
    let clear_epoch = volume.state_file.peek()?.clear_epoch;
    for name in volume.directory.list()? {
        if volume.is_lost.load(Ordering::Relaxed) {
            return Ok(());
        }
        match name {
            FileName::Temp(_) | FileName::Holder(_) => reclaim_unused(volume, name)?,
            FileName::Body(hash, entry) => reclaim_body(volume, name, hash, EntryId(entry))?,
            FileName::Segment(number) => reclaim_segment(volume, name, number, clear_epoch)?,
        }
    }
    recount(volume)?;
    trim(volume)
}

/// Removes a temporary body, or the file of a holder of leases, if no process has locked it.
fn reclaim_unused(volume: &Volume, name: FileName) -> io::Result<()> {
    if let FileUse::Unused(_locked) = volume.directory.lock_unused(name)? {
        volume.directory.remove(name)?;
    }
    Ok(())
}

/// Removes a body if no slot points to its entry: its process died before the commit, or between
/// freeing the slot and removing the file.
fn reclaim_body(volume: &Volume, name: FileName, hash: u64, entry: EntryId) -> io::Result<()> {
    let _guard = volume.state_file.lock()?;
    let bucket = volume.index.bucket(hash as u32, ReadMode::Blocking)?;
    if slot_of(volume, &bucket, hash, entry)?.is_none() {
        volume.directory.remove(name)?;
    }
    Ok(())
}

/// Removes a segment that no process is writing if all its records are older than the last clear.
fn reclaim_segment(volume: &Volume, name: FileName, number: u32, clear_epoch: u64) -> io::Result<()> {
    if clear_epoch == 0 {
        return Ok(());
    }
    let FileUse::Unused(file) = volume.directory.lock_unused(name)? else { return Ok(()) };
    if is_older_than(&file, clear_epoch)? {
        tracing::debug!(number, "removing a segment that is older than the last clear");
        volume.discard(name)?;
    }
    Ok(())
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

/// Counts the space that the directory occupies, and what is reserved for files that are being
/// written. The blocks of a file may change after it has been written.
fn recount(volume: &Volume) -> io::Result<()> {
    if volume.directory.list()?.len() <= MAX_FILES_UNDER_LOCK {
        // Each file that is created, renamed or removed is accounted for under the same lock.
        let mut guard = volume.state_file.lock()?;
        guard.state.used = count(volume)?;
        return guard.save();
    }
    let before = volume.state_file.peek()?.used;
    let counted = count(volume)?;
    let mut guard = volume.state_file.lock()?;
    // Adds the change by all processes during the count.
    guard.state.used = (counted + guard.state.used).saturating_sub(before);
    guard.save()
}

/// Adds up the space of all files.
fn count(volume: &Volume) -> io::Result<u64> {
    let sizes = volume.state_file.sizes();
    let mut used = 0;
    for name in [STATE, LOCK, INDEX, TOMBSTONES, STALE, LEASES] {
        let (bytes, length) = volume.directory.size_of_fixed(name)?;
        used += match name {
            // Sparse at first.
            INDEX => bytes.max(length),
            TOMBSTONES | STALE => counted(bytes, sizes),
            _ => bytes,
        };
    }
    for name in volume.directory.list()? {
        let size = volume.directory.size_of(name).unwrap_or(0);
        used += match name {
            // Its writer has reserved whole steps, and may have reserved the next one.
            FileName::Temp(_) => (size / sizes.reservation_step() + 1) * sizes.reservation_step(),
            // At least as long as the shortest body in a file, also if the file system compresses
            // it: the limit of the directory limits its files, too.
            FileName::Body(..) => size.max(sizes.inline()),
            FileName::Segment(_) => match volume.directory.lock_unused(name)? {
                // Its writer has reserved the whole.
                FileUse::Used => size.max(sizes.segment()),
                FileUse::Removed | FileUse::Unused(_) => size,
            },
            FileName::Holder(_) => size,
        };
    }
    Ok(used)
}
