//! Removes entries: of a key, of a group, by URL prefix, and all. Each removal
//! also prevents the commit of what was reserved before it, which `commit` checks. It is synced to
//! the disk before the caller returns. The eviction of one entry prevents nothing.

use std::io;

use larder_core::{CacheGroup, CacheKey, EntryId, Purged, Scope};

use crate::{
    format::bucket::Slot,
    fs::pread::ReadMode,
    state::{state_file::StateGuard, tombstones::TombstoneKind},
    volume::{
        Volume,
        read_record::{file_of, slot_of},
        recovery::reclaim,
        scan::for_each_key,
        space::free_some,
    },
};

/// How often entries are evicted to make room for one removal on a full disk.
const MAX_EVICTIONS_ON_FULL_DISK: u32 = 16;

/// Removes everything in `scope`. Returns the number of entries removed, if it is known. The caller
/// [syncs](sync) the removal then.
///
/// If this fails, the removal is remembered: this process does not find the entries any more, and
/// tries again before each commit and about once a second.
pub(crate) fn remove(volume: &Volume, scope: Scope<'_>) -> io::Result<Purged> {
    let removed = carry_out(volume, scope);
    if removed.is_err() {
        volume.unconfirmed.record(scope);
    }
    removed
}

/// Waits until the disk has all removals so far.
pub(crate) fn sync(volume: &Volume) -> io::Result<()> {
    // Without its slot, an entry is not found. The tombstone of a key only concerns writes in
    // progress, which a power failure ends as well.
    volume.index.sync()?;
    volume.tombstones.sync()
}

/// Carries out the removals that could not be written before.
pub(crate) fn carry_out_unconfirmed(volume: &Volume) -> io::Result<()> {
    let Some(removals) = volume.unconfirmed.get() else { return Ok(()) };
    if removals.all {
        carry_out(volume, Scope::All)?;
    }
    for key in &removals.keys {
        carry_out(volume, Scope::Key(key))?;
    }
    for group in &removals.groups {
        carry_out(volume, Scope::Group(group))?;
    }
    for prefix in &removals.prefixes {
        carry_out(volume, Scope::Prefix(prefix))?;
    }
    sync(volume)?;
    volume.unconfirmed.confirm(&removals);
    Ok(())
}

/// Removes everything in `scope`. On a full disk, evicts entries to make room for the tombstone of
/// a group, and removes everything if there is no room then.
fn carry_out(volume: &Volume, scope: Scope<'_>) -> io::Result<Purged> {
    let remove = || match scope {
        Scope::Key(key) => remove_key(volume, key).map(Purged::from),
        Scope::Group(group) => remove_group(volume, group).map(|()| Purged::UNKNOWN),
        Scope::Prefix(url) => remove_prefix(volume, url).map(Purged::from),
        Scope::All => remove_all(volume).map(|()| Purged::UNKNOWN),
    };
    for _ in 0..MAX_EVICTIONS_ON_FULL_DISK {
        match remove() {
            Err(error) if !is_full(&error) => return Err(error),
            Err(_) if free_some(volume)? => {}
            Err(_) => break,
            removed => return removed,
        }
    }
    remove_all(volume).map(|()| Purged::UNKNOWN)
}

/// Returns whether an error is that of a full disk.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Removes all entries of a key, and prevents the commit of those that are being written. Returns
/// the number of entries removed.
fn remove_key(volume: &Volume, key: &CacheKey) -> io::Result<u64> {
    let hash = volume.state_file.hash(key);
    let tag = hash as u32;
    let mut files = Vec::new();
    let mut guard = volume.state_file.lock()?;
    let sequence = guard.next_sequence();
    match volume.tombstones.set(TombstoneKind::Key(hash), sequence, volume.state_file.sizes()) {
        Ok(grown) => guard.state.used += grown,
        // No room for the tombstone: all pending writes are refused.
        Err(error) if is_full(&error) => guard.state.prefix_epoch = sequence,
        Err(error) => return Err(error),
    }
    guard.save()?;
    trim_key_tombstones(volume, &mut guard)?;
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
fn remove_group(volume: &Volume, group: &CacheGroup) -> io::Result<()> {
    let hash = volume.state_file.group_hash(group);
    let mut guard = volume.state_file.lock()?;
    let sequence = guard.next_sequence();
    guard.state.group_epoch = sequence;
    // Saved first: a reservation that reads this number is not older than the removal.
    guard.save()?;
    guard.state.used +=
        volume.tombstones.set(TombstoneKind::Group(hash), sequence, volume.state_file.sizes())?;
    guard.save()
}

/// Removes the tombstones of keys if they occupy more than their share of the limit. All writes
/// that are pending are refused instead.
fn trim_key_tombstones(volume: &Volume, guard: &mut StateGuard<'_>) -> io::Result<()> {
    let sizes = volume.state_file.sizes();
    let before = volume.tombstones.counted(sizes)?;
    if before <= sizes.tombstones() {
        return Ok(());
    }
    guard.state.prefix_epoch = guard.state.sequence;
    guard.save()?;
    if volume.tombstones.trim_keys(sizes)? {
        let freed = before.saturating_sub(volume.tombstones.counted(sizes)?);
        guard.state.used = guard.state.used.saturating_sub(freed);
        guard.save()?;
    }
    Ok(())
}

/// Removes the entries of all URLs that begin with `url`, and prevents all commits that were
/// reserved before. Returns the number of entries removed.
fn remove_prefix(volume: &Volume, url: &str) -> io::Result<u64> {
    let mut guard = volume.state_file.lock()?;
    guard.state.prefix_epoch = guard.next_sequence();
    guard.save()?;
    drop(guard);
    let mut removed = 0;
    for_each_key(volume, |key, _| {
        if key.target().starts_with(url) {
            removed += remove_key(volume, &key)?;
        }
        Ok(())
    })?;
    Ok(removed)
}

/// Removes everything, and prevents the commit of entries that are being written.
fn remove_all(volume: &Volume) -> io::Result<()> {
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
