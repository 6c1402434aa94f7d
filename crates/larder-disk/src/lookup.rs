//! Looks up the entries of a key: one read of the index, and one read of each record. Bodies that
//! are not read with their record are left to `body`.

use std::{io, sync::Arc};

use bytes::Bytes;
use larder_core::{
    CacheKey, Candidate, Candidates, EntryId, StoredBody, StoredHead, Timestamp, codec::NotAnEntry,
};

use crate::{
    body::DiskBody,
    counters::Counters,
    file_name::FileName,
    index::{Bucket, Slot},
    pread::{ReadMode, read_at},
    record::{self, ENVELOPE, Envelope, HEAD_READ, Record},
    state_file::StateGuard,
    tombstones::TombstoneKind,
    volume::Volume,
};

/// Bytes of a record that are read at once if it is the only match. The rest of a longer record is
/// its body, which is read on demand.
const MAX_WHOLE_READ: usize = 256 << 10;

/// A candidate and the location of its record.
struct Found {
    slot: Slot,
    envelope: Envelope,
    candidate: Candidate,
}

impl Volume {
    /// Looks up the entries of a key, newest first.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] with [`ReadMode::NonBlocking`], if the data is not in memory.
    pub(crate) fn lookup(self: &Arc<Self>, key: &CacheKey, mode: ReadMode) -> io::Result<Candidates> {
        let tag = self.state_file.hash(key) as u32;
        let found = self.find(key, tag, mode)?;
        let found = self.mark_stale(found, mode)?;
        let counter = if found.is_empty() { &self.counters.misses } else { &self.counters.hits };
        Counters::add(counter);
        Ok(found)
    }

    /// Marks candidates stale if one of their groups was marked stale.
    fn mark_stale(&self, found: Candidates, mode: ReadMode) -> io::Result<Candidates> {
        let mut at = Vec::with_capacity(found.len());
        for group in found.iter().flat_map(|candidate| &*candidate.head.groups) {
            at.push((
                group.clone(),
                self.stale.last(TombstoneKind::Group(self.state_file.group_hash(group)), mode)?,
            ));
        }
        if at.iter().all(|(_, at)| *at == 0) {
            return Ok(found);
        }
        Ok(found.marked_stale(|head| {
            let of_head = at.iter().filter(|(group, at)| *at > 0 && head.groups.contains(group));
            of_head.map(|(_, at)| Timestamp::from_millis(*at)).max()
        }))
    }

    /// Finds the entries of a key. Repeats if an eviction removes a record's segment meanwhile.
    fn find(self: &Arc<Self>, key: &CacheKey, tag: u32, mode: ReadMode) -> io::Result<Candidates> {
        let mut found: Vec<Found> = Vec::new();
        // If a segment was evicted meanwhile, its slots have been freed or point to copies by now.
        for _ in 0..4 {
            found.clear();
            let bucket = self.index.bucket(tag, mode)?;
            if let Some(cached) = self.find_cached(&bucket, key, tag, mode)? {
                return Ok(cached);
            }
            match self.collect(&bucket, tag, key, mode, &mut found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                collected => {
                    collected?;
                    break;
                }
            }
        }
        found.sort_by_key(|found| std::cmp::Reverse(found.envelope.order));
        let only = if let [only] = &*found { Some((only.slot, only.envelope.reserved_at)) } else { None };
        let candidates: Arc<[Candidate]> = found.into_iter().map(|found| found.candidate).collect();
        if candidates.is_empty() {
            return Ok(Candidates::none());
        }
        let candidates = candidates.into();
        if let Some((slot, reserved_at)) = only {
            self.read_cache.put(&slot, key, &candidates, reserved_at);
        }
        Ok(candidates)
    }

    /// Returns the entry from the read cache if exactly one slot matches and its record is cached.
    fn find_cached(
        &self,
        bucket: &Bucket,
        key: &CacheKey,
        tag: u32,
        mode: ReadMode,
    ) -> io::Result<Option<Candidates>> {
        let mut matching = bucket.matching(tag);
        let (Some((slot_number, slot)), None) = (matching.next(), matching.next()) else { return Ok(None) };
        let Some(cached) = self.read_cache.get(&slot, key) else { return Ok(None) };
        for candidate in cached.candidates.iter() {
            if self.was_removed(&candidate.head, cached.reserved_at, mode)? {
                return Ok(Some(Candidates::none()));
            }
        }
        if slot.referenced == 0 {
            self.index.mark_referenced(bucket, slot_number);
        }
        Ok(Some(cached.candidates))
    }

    /// Reads the records of all matching slots, and adds those that are valid and not removed to
    /// `found`.
    fn collect(
        self: &Arc<Self>,
        bucket: &Bucket,
        tag: u32,
        key: &CacheKey,
        mode: ReadMode,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        let is_only_match = bucket.matching(tag).nth(1).is_none();
        for (slot_number, slot) in bucket.matching(tag) {
            let max_bytes = if is_only_match { MAX_WHOLE_READ } else { HEAD_READ };
            let record = match self.record_at(&slot, key, max_bytes, mode)? {
                Ok(record) => record,
                Err(NotAnEntry::OtherKey) => continue,
                Err(why) => {
                    self.remove_corrupt(&slot, key, why, mode)?;
                    continue;
                }
            };
            if self.was_removed(&record.decoded.head, record.envelope.reserved_at, mode)? {
                continue;
            }
            if slot.referenced == 0 {
                self.index.mark_referenced(bucket, slot_number);
            }
            let envelope = record.envelope;
            found.push(Found { slot, envelope, candidate: self.candidate(&slot, record) });
        }
        Ok(())
    }

    /// Builds a candidate from a record.
    fn candidate(self: &Arc<Self>, slot: &Slot, record: Record) -> Candidate {
        let Record { envelope, decoded, body } = record;
        let body = match (body, envelope.file) {
            (Some(body), _) => StoredBody::Whole(body),
            (None, Some(length)) => {
                let file = FileName::Body(envelope.hash, envelope.entry.0);
                StoredBody::Source(Arc::new(DiskBody::of_file(self, *slot, file, decoded.entry, length)))
            }
            (None, None) => {
                let length = decoded.body_length.unwrap_or_default();
                let start = slot.position() + (ENVELOPE + decoded.length) as u64;
                StoredBody::Source(Arc::new(DiskBody::in_segment(self, *slot, start, decoded.entry, length)))
            }
        };
        Candidate::new(envelope.entry, Arc::new(decoded.head), body)
    }

    /// Returns whether a group of the head was removed after the entry was reserved.
    pub(crate) fn was_removed(
        &self,
        head: &StoredHead,
        reserved_at: u64,
        mode: ReadMode,
    ) -> io::Result<bool> {
        for group in &*head.groups {
            if self.tombstones.last(TombstoneKind::Group(self.state_file.group_hash(group)), mode)?
                > reserved_at
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads and decodes the record that a slot points to. The inner result contains the reason if
    /// there is no valid record. Reads `max_bytes` bytes, or the whole record if the head is
    /// longer.
    pub(crate) fn record_at(
        &self,
        slot: &Slot,
        key: &CacheKey,
        max_bytes: usize,
        mode: ReadMode,
    ) -> io::Result<record::Read> {
        let read = record::decode(&self.bytes_at(slot, max_bytes, mode)?, key);
        match read {
            // The head alone is longer than `max_bytes`.
            Err(NotAnEntry::Truncated { .. }) if max_bytes < slot.length() => {
                Ok(record::decode(&self.bytes_at(slot, slot.length(), mode)?, key))
            }
            read => Ok(read),
        }
    }

    /// Reads up to `max_bytes` bytes of the record that a slot points to.
    pub(crate) fn bytes_at(&self, slot: &Slot, max_bytes: usize, mode: ReadMode) -> io::Result<Bytes> {
        let file = self.file(FileName::Segment(slot.segment))?;
        let length = slot.length().min(max_bytes);
        let mut buffer = self.buffers.take(length);
        let read = read_at(&file, &mut buffer.as_mut()[..length], slot.position(), mode)?;
        Ok(buffer.freeze(0..read))
    }

    /// Reads the envelope that a slot points to. Returns `None` if there is no valid one.
    pub(crate) fn envelope_at(&self, slot: &Slot) -> io::Result<Option<Envelope>> {
        Ok(Envelope::decode(&self.bytes_at(slot, ENVELOPE, ReadMode::Blocking)?))
    }

    /// Finds the slot of an entry by the key's hash and the entry's number.
    pub(crate) fn slot_of(
        &self,
        bucket: &Bucket,
        hash: u64,
        entry: EntryId,
    ) -> io::Result<Option<(usize, Slot)>> {
        for (slot_number, slot) in bucket.matching(hash as u32) {
            match self.envelope_at(&slot) {
                Ok(Some(envelope)) if (envelope.hash, envelope.entry) == (hash, entry) => {
                    return Ok(Some((slot_number, slot)));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Removes a slot that does not point to a valid record. The slot or the record may have
    /// changed during the read, so both are checked again under the lock.
    pub(crate) fn remove_corrupt(
        &self,
        slot: &Slot,
        key: &CacheKey,
        why: NotAnEntry,
        mode: ReadMode,
    ) -> io::Result<()> {
        if mode == ReadMode::NonBlocking {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut guard = self.state_file.lock()?;
        let mut bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
        let Some((slot_number, _)) = bucket.matching(slot.tag).find(|(_, current)| current.is(slot)) else {
            return Ok(());
        };
        if self.record_at(slot, key, slot.length(), ReadMode::Blocking)?.is_ok() {
            return Ok(());
        }
        tracing::warn!(%why, "disk store: removed a damaged entry");
        self.remove_slot(&mut bucket, slot_number, slot, &mut guard)
    }

    /// Removes the slot of an entry with a damaged body.
    pub(crate) fn remove_damaged(&self, slot: &Slot) -> io::Result<()> {
        let mut guard = self.state_file.lock()?;
        let mut bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
        let Some((slot_number, _)) = bucket.matching(slot.tag).find(|(_, current)| current.is(slot)) else {
            return Ok(());
        };
        self.remove_slot(&mut bucket, slot_number, slot, &mut guard)
    }

    /// Frees a slot, removes its body file, and counts a corrupt entry.
    fn remove_slot(
        &self,
        bucket: &mut Bucket,
        slot_number: usize,
        slot: &Slot,
        guard: &mut StateGuard<'_>,
    ) -> io::Result<()> {
        Counters::add(&self.counters.corrupt);
        let file = self.file_of(slot);
        bucket.clear(slot_number);
        self.index.write(bucket)?;
        let freed = file.map_or(Ok(0), |file| self.discard(file))?;
        guard.state.used = guard.state.used.saturating_sub(freed);
        guard.save()
    }
}
