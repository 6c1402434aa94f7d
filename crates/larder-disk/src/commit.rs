//! Making a record visible: one slot of the index, written under the lock.

use std::{io, sync::Arc};

use larder_core::{CacheKey, EntryId, StoreError, StoredHead};

use crate::{
    counters::Counters,
    error::{failed, gone, not_encodable},
    file_name::FileName,
    index::{BUCKET, Bucket, Slot},
    pread::ReadMode,
    record::{self, Envelope, HEAD_READ},
    segment::RecordLocation,
    state_file::StateGuard,
    tombstones::TombstoneKind,
    volume::Volume,
};

/// An entry that is about to be visible.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a CacheKey,
    pub(crate) head: &'a StoredHead,
    pub(crate) envelope: Envelope,
}

impl Volume {
    /// Lets look-ups find a record, in place of what has the same selecting header values. `part` becomes the entry's
    /// body at the same time.
    pub(crate) fn commit(
        &self,
        entry: &Entry<'_>,
        place: RecordLocation,
        part: Option<FileName>,
    ) -> Result<(), StoreError> {
        let hash = entry.envelope.hash;
        let mut locked = self.state_file.lock().map_err(failed("taking the lock"))?;
        if self.is_too_late(entry, &locked).map_err(failed("reading removals"))? {
            return Err(gone("it was removed while it was written"));
        }
        let mut publishing = || -> io::Result<()> {
            let file = FileName::Body(hash, entry.envelope.entry.0);
            if let Some(part) = part {
                self.directory.rename(part, file)?;
            }
            let slot = Slot {
                tag: hash as u32,
                segment: place.segment,
                offset: place.offset,
                size: place.size,
                referenced: 0,
                has_file: part.is_some(),
            };
            let result = self.put(entry, slot, &mut locked);
            if result.is_err() && part.is_some() {
                let _ = self.discard(file);
            }
            result
        };
        publishing().map_err(failed("writing the index"))?;
        Counters::add(&self.counters.stored);
        Ok(())
    }

    fn is_too_late(&self, entry: &Entry<'_>, locked: &StateGuard<'_>) -> io::Result<bool> {
        let begun = entry.envelope.begun;
        let everything = locked.state.clear_epoch.max(locked.state.prefix_epoch);
        if everything.max(self.tombstones.last(TombstoneKind::Key(entry.envelope.hash), ReadMode::Blocking)?)
            > begun
        {
            return Ok(true);
        }
        for group in &*entry.head.groups {
            if self.tombstones.last(TombstoneKind::Group(self.group_hash(group)), ReadMode::Blocking)? > begun
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the slot, and takes away what it replaces.
    fn put(&self, entry: &Entry<'_>, slot: Slot, locked: &mut StateGuard<'_>) -> io::Result<()> {
        let mut bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
        let mut replaced = Vec::new();
        for (place, old) in bucket.clone().matching(slot.tag) {
            if self.is_replaced(&old, entry)? {
                replaced.extend(self.file_of(&old));
                bucket.clear(place);
            }
        }
        // Whoever commits after this is newer.
        locked.next_sequence();
        let (place, pushed_out) = bucket.place();
        replaced.extend(pushed_out.and_then(|old| self.file_of(&old)));
        bucket.put(place, &slot);
        self.index.write(&bucket)?;
        let buckets = self.index.grow(&bucket, locked.state.buckets)?;
        locked.state.used += u64::from(buckets - locked.state.buckets) * BUCKET as u64;
        locked.state.buckets = buckets;
        for file in replaced {
            let freed = self.discard(file)?;
            locked.state.used = locked.state.used.saturating_sub(freed);
        }
        locked.save()
    }

    /// Whether a slot leads to the same variant, or to nothing.
    fn is_replaced(&self, old: &Slot, entry: &Entry<'_>) -> io::Result<bool> {
        match self.record_at(old, entry.key, HEAD_READ, ReadMode::Blocking) {
            Ok(Ok(record)) => Ok(record.decoded.head.selecting == entry.head.selecting),
            Ok(Err(why)) => Ok(why != larder_core::codec::NotAnEntry::OtherKey),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Gives an entry a new head. A short body is written anew behind it, a long one stays where it is.
    pub(crate) fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: &Arc<StoredHead>,
    ) -> Result<(), StoreError> {
        let hash = self.hash(key);
        let nothing = || gone("the entry that was confirmed is not there any more");
        let bucket =
            self.index.bucket(hash as u32, ReadMode::Blocking).map_err(failed("reading the index"))?;
        let found = self.slot_of(&bucket, hash, id).map_err(failed("reading a record"))?;
        let (_, old) = found.ok_or_else(nothing)?;
        let record = match self.record_at(&old, key, old.length(), ReadMode::Blocking) {
            Ok(read) => read.map_err(|_| nothing())?,
            // Everything was removed meanwhile, or its segment made room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nothing()),
            Err(error) => return Err(failed("reading a record")(error)),
        };
        if self
            .was_removed(&record.decoded.head, record.envelope.begun, ReadMode::Blocking)
            .map_err(failed("reading removals"))?
        {
            return Err(nothing());
        }
        let bytes = match (&record.body, record.envelope.file) {
            (Some(body), _) => record::encode_inline(key, head, body, record.envelope),
            (None, Some(length)) => record::encode_head(key, head, length, record.envelope),
            (None, None) => return Err(nothing()),
        }
        .map_err(not_encodable)?;
        self.make_room(0).map_err(failed("making room"))?;
        let place = self.append(&bytes).map_err(failed("writing a record"))?;
        let replacing = || -> io::Result<bool> {
            let _locked = self.state_file.lock()?;
            self.replace(&old, place)
        };
        if replacing().map_err(failed("writing the index"))? { Ok(()) } else { Err(nothing()) }
    }

    /// Lets the slot of an entry lead to its new place, if it is still the same. Under the lock.
    pub(crate) fn replace(&self, old: &Slot, place: RecordLocation) -> io::Result<bool> {
        let mut bucket: Bucket = self.index.bucket(old.tag, ReadMode::Blocking)?;
        let Some((at, _)) = bucket.matching(old.tag).find(|(_, now)| now.is(old)) else { return Ok(false) };
        let slot =
            Slot { segment: place.segment, offset: place.offset, size: place.size, referenced: 0, ..*old };
        bucket.put(at, &slot);
        self.index.write(&bucket)?;
        Ok(true)
    }
}
