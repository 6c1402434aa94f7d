//! Accounts for space before it is used, so that the directory stays within its limit. Which
//! entries are evicted for it is decided in `eviction`.

use std::io;

use crate::{
    format::bucket::RecordLocation,
    volume::{Volume, append::append_to_segment, eviction},
};

/// Appends a record to the segment that this process is writing. Evicts entries to make room for a
/// new segment. Blocks.
pub(crate) fn append(volume: &Volume, record: &[u8]) -> io::Result<RecordLocation> {
    append_to_segment(volume, record, |bytes| reserve(volume, bytes))
}

/// Accounts for `bytes` more bytes of the file system. Evicts entries until they fit, and leaves
/// room for one more segment, which the eviction itself may need. Blocks.
///
/// In a directory that was opened as an existing one nothing is evicted: the bytes are accounted
/// for, and the next process that writes evicts for them.
///
/// # Errors
///
/// [`io::ErrorKind::StorageFull`] if nothing is left to evict.
pub(crate) fn reserve(volume: &Volume, bytes: u64) -> io::Result<()> {
    if try_reserve(volume, bytes)? {
        return Ok(());
    }
    let mut hand = volume.clock_hand.lock();
    let mut round = eviction::Round::new(volume.state_file.sizes());
    while !try_reserve(volume, bytes)? {
        let wanted = bytes + volume.state_file.sizes().segment();
        if !eviction::evict_next(volume, &mut hand, &mut round, wanted)? {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "max_bytes is reached by bodies that are being written (raise max_bytes)",
            ));
        }
    }
    Ok(())
}

/// Evicts entries until the directory is within its limit. Blocks.
pub(crate) fn trim(volume: &Volume) -> io::Result<()> {
    let is_within = || -> io::Result<bool> {
        let state = volume.state_file.peek()?;
        Ok(state.used <= state.limit())
    };
    if is_within()? {
        return Ok(());
    }
    let mut hand = volume.clock_hand.lock();
    let mut round = eviction::Round::new(volume.state_file.sizes());
    while !is_within()? && eviction::evict_next(volume, &mut hand, &mut round, 0)? {}
    Ok(())
}

/// Evicts the oldest entries, because the disk is full. Returns whether any were evicted.
pub(crate) fn free_some(volume: &Volume) -> io::Result<bool> {
    // Its short entries can be evicted only then.
    volume.close_segment();
    let mut hand = volume.clock_hand.lock();
    // Everything is wanted: the batch does not end early.
    let mut round = eviction::Round::without_copies();
    let before = volume.state_file.peek()?.used;
    while volume.state_file.peek()?.used >= before {
        if !eviction::evict_next(volume, &mut hand, &mut round, u64::MAX / 2)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Accounts for the bytes if they fit.
fn try_reserve(volume: &Volume, bytes: u64) -> io::Result<bool> {
    let mut guard = volume.state_file.lock()?;
    let headroom = volume.state_file.sizes().segment();
    let fits = guard.state.used + bytes + headroom <= guard.state.limit() || !volume.is_maintained;
    if fits {
        guard.state.used += bytes;
        guard.save()?;
    }
    Ok(fits)
}
