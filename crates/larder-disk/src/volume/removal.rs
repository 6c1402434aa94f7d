//! Removes entries or marks them stale: of a key, of a group, by URL prefix, and all. Each removal
//! also prevents the commit of what was reserved before it, which `commit` checks. The eviction of
//! one entry prevents nothing.

use std::{io, sync::Arc};

use larder_core::{CacheGroup, CacheKey, EntryId, StoreError, StoreErrorKind, Timestamp};

use crate::{
    error::failed,
    format::bucket::Slot,
    fs::pread::ReadMode,
    state::tombstones::TombstoneKind,
    volume::{
        Volume,
        commit::freshen,
        lookup::lookup,
        read_record::{file_of, slot_of},
        recovery::reclaim,
        scan::for_each_key,
    },
};

/// Removes all entries of a key, and prevents the commit of those that are being written. Returns
/// the number of entries removed.
pub(crate) fn remove(volume: &Volume, key: &CacheKey) -> io::Result<u64> {
    let hash = volume.state_file.hash(key);
    let tag = hash as u32;
    let mut files = Vec::new();
    let mut guard = volume.state_file.lock()?;
    let sequence = guard.next_sequence();
    volume.tombstones.set(TombstoneKind::Key(hash), sequence)?;
    guard.save()?;
    let mut bucket = volume.index.bucket(tag, ReadMode::Blocking)?;
    let found: Vec<(usize, Slot)> = bucket.matching(tag).collect();
    if found.is_empty() {
        return Ok(0);
    }
    let removed = found.len() as u64;
    for (slot_number, slot) in found {
        files.extend(file_of(volume, &slot));
        bucket.clear(slot_number);
    }
    volume.index.write(&bucket)?;
    for file in files {
        let freed = volume.discard(file)?;
        guard.state.used = guard.state.used.saturating_sub(freed);
    }
    guard.save()?;
    Ok(removed)
}

/// Removes entry `id` of a key. Returns whether it was stored. Entries that are being written can
/// be committed.
pub(crate) fn evict(volume: &Volume, key: &CacheKey, id: EntryId) -> io::Result<bool> {
    let hash = volume.state_file.hash(key);
    let mut guard = volume.state_file.lock()?;
    let mut bucket = volume.index.bucket(hash as u32, ReadMode::Blocking)?;
    let Some((slot_number, slot)) = slot_of(volume, &bucket, hash, id)? else { return Ok(false) };
    let file = file_of(volume, &slot);
    bucket.clear(slot_number);
    volume.index.write(&bucket)?;
    if let Some(file) = file {
        let freed = volume.discard(file)?;
        guard.state.used = guard.state.used.saturating_sub(freed);
        guard.save()?;
    }
    Ok(true)
}

/// Removes a group by recording a tombstone. Entries that were reserved before it are neither
/// found nor committed.
pub(crate) fn remove_group(volume: &Volume, group: &CacheGroup) -> io::Result<()> {
    let hash = volume.state_file.group_hash(group);
    let mut guard = volume.state_file.lock()?;
    let sequence = guard.next_sequence();
    // Saved first: a reservation that reads this number is not older than the removal.
    guard.save()?;
    volume.tombstones.set(TombstoneKind::Group(hash), sequence)
}

/// Marks the entries of a group stale that were requested at `at` or before.
pub(crate) fn mark_group_stale(volume: &Volume, group: &CacheGroup, at: Timestamp) -> io::Result<()> {
    let _guard = volume.state_file.lock()?;
    volume.stale.set(TombstoneKind::Group(volume.state_file.group_hash(group)), at.as_millis())
}

/// Removes the entries of all URLs that begin with `url`, and prevents all commits that were
/// reserved before. Returns the number of entries removed.
pub(crate) fn remove_prefix(volume: &Volume, url: &str) -> io::Result<u64> {
    let mut guard = volume.state_file.lock()?;
    guard.state.prefix_epoch = guard.next_sequence();
    guard.save()?;
    drop(guard);
    let mut removed = 0;
    for_each_key(volume, |key, _| {
        if key.target().starts_with(url) {
            removed += remove(volume, &key)?;
        }
        Ok(())
    })?;
    Ok(removed)
}

/// Marks the entries of a key stale that were requested at `at` or before. Returns the number of
/// entries that it has marked.
pub(crate) fn mark_stale(volume: &Arc<Volume>, key: &CacheKey, at: Timestamp) -> Result<u64, StoreError> {
    let mut marked = 0;
    let found = lookup(volume, key, ReadMode::Blocking).map_err(failed("could not look up an entry"))?;
    for candidate in found.iter() {
        let Some(stale) = candidate.head.marked_stale(at) else { continue };
        match freshen(volume, key, candidate.id, &Arc::new(stale)) {
            Ok(()) => marked += 1,
            // The entry has been removed or replaced meanwhile.
            Err(error) if error.kind() == StoreErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marked)
}

/// Marks the entries of all URLs that begin with `url` stale. Returns the number of entries that it
/// has marked.
pub(crate) fn mark_prefix_stale(volume: &Arc<Volume>, url: &str, at: Timestamp) -> Result<u64, StoreError> {
    let (mut marked, mut failure) = (0, None);
    let result = for_each_key(volume, |key, _| {
        if key.target().starts_with(url) {
            match mark_stale(volume, &key, at) {
                Ok(of_key) => marked += of_key,
                Err(error) => failure = Some(error),
            }
        }
        Ok(())
    });
    result.map_err(failed("could not read the index"))?;
    failure.map_or(Ok(marked), Err)
}

/// Removes everything, and prevents the commit of entries that are being written.
pub(crate) fn remove_all(volume: &Volume) -> io::Result<()> {
    let mut guard = volume.state_file.lock()?;
    let sequence = guard.next_sequence();
    guard.state.clear_epoch = sequence;
    guard.save()?;
    volume.index.clear(guard.state.buckets)?;
    drop(guard);
    // No slot points to the old files any more. Those that are in use now are removed by a
    // later call of `reclaim`.
    volume.close_segment();
    reclaim(volume)
}
