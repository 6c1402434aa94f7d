//! Makes a record visible by writing its index slot under the lock, and replaces the heads of
//! entries. Writing the record itself is left to `writer` and `segment`.

use std::{io, sync::Arc};

use larder_core::{CacheKey, EntryId, StoreError, StoredHead};

use crate::{
    Durability,
    error::{failed, gone, not_encodable},
    format::{
        bucket::{BUCKET, RecordLocation, Slot},
        file_name::FileName,
        record::{self, Envelope, HEAD_READ},
    },
    fs::pread::ReadMode,
    state::{counters::Counters, state_file::StateGuard, tombstones::TombstoneKind},
    volume::{
        Volume,
        read_record::{file_of, record_at, slot_of},
        removal::carry_out_unconfirmed,
        space::append,
    },
};

/// An entry that is being committed.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a CacheKey,
    pub(crate) head: &'a StoredHead,
    pub(crate) envelope: Envelope,
}

/// The body of an entry in a file that is to be renamed.
#[derive(Clone, Copy)]
pub(crate) struct NewBody {
    pub(crate) name: FileName,
    /// Bytes that are accounted for, but that the body does not occupy.
    pub(crate) unused: u64,
}

/// Makes a record visible. It replaces the entry with the same selecting header values. The
/// file `body`, if any, becomes the entry's body.
///
/// # Errors
///
/// [`Gone`](larder_core::StoreErrorKind::Gone) if a removal since the reservation covers the
/// entry.
pub(crate) fn commit(
    volume: &Volume,
    entry: &Entry<'_>,
    location: RecordLocation,
    body: Option<NewBody>,
) -> Result<(), StoreError> {
    carry_out_unconfirmed(volume).map_err(failed("could not carry out an earlier removal"))?;
    let hash = entry.envelope.hash;
    let mut guard = volume.state_file.lock().map_err(failed("could not lock the cache directory"))?;
    if was_removed_since_reserve(volume, entry, &guard).map_err(failed("could not read the tombstones"))? {
        return Err(gone("the entry was removed while it was being written"));
    }
    let mut commit_slot = || -> io::Result<()> {
        let file = FileName::Body(hash, entry.envelope.entry.0);
        if let Some(body) = body {
            volume.directory.rename(body.name, file)?;
            guard.state.used = guard.state.used.saturating_sub(body.unused);
        }
        let slot = Slot {
            tag: hash as u32,
            segment: location.segment,
            offset: location.offset,
            size: location.size,
            referenced: 0,
            has_file: body.is_some(),
        };
        let result = put_slot(volume, entry, slot, &mut guard);
        if let Some(body) = body.filter(|_| result.is_err()) {
            let freed = volume.discard(file);
            guard.state.used = (guard.state.used + body.unused).saturating_sub(freed.unwrap_or_default());
        }
        result
    };
    commit_slot().map_err(failed("could not write the index"))?;
    Counters::add(&volume.counters.stored);
    Ok(())
}

/// Returns whether the entry is covered by a later removal than its reservation: of its key, of
/// one of its groups, of everything, or by any URL prefix.
fn was_removed_since_reserve(volume: &Volume, entry: &Entry<'_>, guard: &StateGuard<'_>) -> io::Result<bool> {
    let reserved_at = entry.envelope.reserved_at;
    let last_wide_removal = guard.state.clear_epoch.max(guard.state.prefix_epoch);
    if last_wide_removal
        .max(volume.tombstones.last(TombstoneKind::Key(entry.envelope.hash), ReadMode::Blocking)?)
        > reserved_at
    {
        return Ok(true);
    }
    volume.was_removed(entry.head, reserved_at, ReadMode::Blocking)
}

/// Writes the slot, and removes the entries that it replaces or evicts.
fn put_slot(volume: &Volume, entry: &Entry<'_>, slot: Slot, guard: &mut StateGuard<'_>) -> io::Result<()> {
    let mut bucket = volume.index.bucket(slot.tag, ReadMode::Blocking)?;
    let mut replaced = Vec::new();
    for (slot_number, old) in bucket.clone().matching(slot.tag) {
        if is_replaced(volume, &old, entry)? {
            replaced.extend(file_of(volume, &old));
            bucket.clear(slot_number);
        }
    }
    // Entries that begin their commit after this one have a greater number.
    guard.next_sequence();
    let (slot_number, evicted) = bucket.slot_for_insert();
    replaced.extend(evicted.and_then(|old| file_of(volume, &old)));
    bucket.put(slot_number, &slot);
    volume.index.write(&bucket)?;
    let buckets = volume.index.grow(&bucket, guard.state.buckets)?;
    guard.state.used += u64::from(buckets - guard.state.buckets) * BUCKET as u64;
    guard.state.buckets = buckets;
    for file in replaced {
        let freed = volume.discard(file)?;
        guard.state.used = guard.state.used.saturating_sub(freed);
    }
    guard.save()
}

/// Returns whether a slot points to the same variant, or to no valid record.
fn is_replaced(volume: &Volume, old: &Slot, entry: &Entry<'_>) -> io::Result<bool> {
    match record_at(volume, old, entry.key, HEAD_READ, ReadMode::Blocking) {
        Ok(Ok(record)) => Ok(record.decoded.head.selecting == entry.head.selecting),
        Ok(Err(why)) => Ok(why != larder_core::codec::NotAnEntry::OtherKey),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Replaces the head of an entry. A short body is copied with it to a new record; a long one
/// stays in its file.
///
/// # Errors
///
/// [`Gone`](larder_core::StoreErrorKind::Gone) if the entry has been removed, replaced or
/// evicted.
pub(crate) fn freshen(
    volume: &Volume,
    key: &CacheKey,
    id: EntryId,
    head: &Arc<StoredHead>,
) -> Result<(), StoreError> {
    let hash = volume.state_file.hash(key);
    let not_found = || gone("the entry was removed, replaced or evicted before its head could be updated");
    let bucket =
        volume.index.bucket(hash as u32, ReadMode::Blocking).map_err(failed("could not read the index"))?;
    let found = slot_of(volume, &bucket, hash, id).map_err(failed("could not read a record"))?;
    let (_, old) = found.ok_or_else(not_found)?;
    let record = match record_at(volume, &old, key, old.length(), ReadMode::Blocking) {
        Ok(read) => read.map_err(|_| not_found())?,
        // The store was cleared meanwhile, or the segment was evicted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
        Err(error) => return Err(failed("could not read a record")(error)),
    };
    if volume
        .was_removed(&record.decoded.head, record.envelope.reserved_at, ReadMode::Blocking)
        .map_err(failed("could not read the tombstones"))?
    {
        return Err(not_found());
    }
    let bytes = match (&record.body, record.envelope.file) {
        (Some(body), _) => record::encode_inline(key, head, body, record.envelope),
        (None, Some(length)) => record::encode_head(key, head, length, record.envelope),
        (None, None) => return Err(not_found()),
    }
    .map_err(not_encodable)?;
    let location = append(volume, &bytes).map_err(failed("could not write a record"))?;
    let replacing = || -> io::Result<bool> {
        let _guard = volume.state_file.lock()?;
        volume.index.replace(&old, location)
    };
    if !replacing().map_err(failed("could not write the index"))? {
        return Err(not_found());
    }
    sync_commit(volume, location)
}

/// Waits until the record of a committed entry is on the disk, if the options require that: the
/// record, the names of the files, then what makes it visible.
pub(crate) fn sync_commit(volume: &Volume, location: RecordLocation) -> Result<(), StoreError> {
    if volume.options.durability != Durability::PowerFailure {
        return Ok(());
    }
    let sync = || {
        match volume.file(FileName::Segment(location.segment)) {
            Ok(segment) => segment.sync_data()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(io::Error::new(error.kind(), "the entry was evicted at once"));
            }
            Err(error) => return Err(error),
        }
        volume.directory.sync()?;
        volume.index.sync()?;
        volume.state_file.sync()
    };
    sync().map_err(failed("could not sync to the disk"))
}
