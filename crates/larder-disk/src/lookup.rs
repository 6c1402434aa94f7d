//! From a key to what is stored under it: one read of the index, and one of each record.

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

/// A record longer than this is read in two goes where several were found: the head, and the body if it is wanted.
const AT_ONCE: usize = 256 << 10;

/// A candidate, and where it was.
struct Found {
    slot: Slot,
    envelope: Envelope,
    candidate: Candidate,
}

impl Volume {
    /// What is stored under a key, newest first.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] with [`ReadMode::NonBlocking`], if it can't be told without waiting for the disk.
    pub(crate) fn lookup(self: &Arc<Self>, key: &CacheKey, mode: ReadMode) -> io::Result<Candidates> {
        let tag = self.hash(key) as u32;
        let found = self.find(key, tag, mode)?;
        let found = self.outdated(found, mode)?;
        let counter = if found.is_empty() { &self.counters.misses } else { &self.counters.hits };
        Counters::add(counter);
        Ok(found)
    }

    /// With what was made stale with its group as that.
    fn outdated(&self, found: Candidates, mode: ReadMode) -> io::Result<Candidates> {
        let mut at = Vec::with_capacity(found.len());
        for group in found.iter().flat_map(|candidate| &*candidate.head.groups) {
            at.push((group.clone(), self.stale.last(TombstoneKind::Group(self.group_hash(group)), mode)?));
        }
        if at.iter().all(|(_, at)| *at == 0) {
            return Ok(found);
        }
        Ok(found.marked_stale(|head| {
            let of_head = at.iter().filter(|(group, at)| *at > 0 && head.groups.contains(group));
            of_head.map(|(_, at)| Timestamp::from_millis(*at)).max()
        }))
    }

    fn find(self: &Arc<Self>, key: &CacheKey, tag: u32, mode: ReadMode) -> io::Result<Candidates> {
        let mut found: Vec<Found> = Vec::new();
        // What a slot led to was taken away meanwhile: the slot is a new one by now, or gone.
        for _ in 0..4 {
            found.clear();
            let bucket = self.index.bucket(tag, mode)?;
            if let Some(hot) = self.find_hot(&bucket, key, tag, mode)? {
                return Ok(hot);
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
        let only = if let [only] = &*found { Some((only.slot, only.envelope.begun)) } else { None };
        let candidates: Arc<[Candidate]> = found.into_iter().map(|found| found.candidate).collect();
        if candidates.is_empty() {
            return Ok(Candidates::none());
        }
        let candidates = candidates.into();
        if let Some((slot, begun)) = only {
            self.read_cache.put(&slot, key, &candidates, begun);
        }
        Ok(candidates)
    }

    /// The entry that this slot alone leads to, if it was read lately.
    fn find_hot(
        &self,
        bucket: &Bucket,
        key: &CacheKey,
        tag: u32,
        mode: ReadMode,
    ) -> io::Result<Option<Candidates>> {
        let mut matching = bucket.matching(tag);
        let (Some((place, slot)), None) = (matching.next(), matching.next()) else { return Ok(None) };
        let Some(hot) = self.read_cache.get(&slot, key) else { return Ok(None) };
        for candidate in hot.candidates.iter() {
            if self.was_removed(&candidate.head, hot.begun, mode)? {
                return Ok(Some(Candidates::none()));
            }
        }
        if slot.referenced == 0 {
            self.index.mark_referenced(bucket, place);
        }
        Ok(Some(hot.candidates))
    }

    fn collect(
        self: &Arc<Self>,
        bucket: &Bucket,
        tag: u32,
        key: &CacheKey,
        mode: ReadMode,
        found: &mut Vec<Found>,
    ) -> io::Result<()> {
        let alone = bucket.matching(tag).nth(1).is_none();
        for (place, slot) in bucket.matching(tag) {
            let most = if alone { AT_ONCE } else { HEAD_READ };
            let record = match self.record_at(&slot, key, most, mode)? {
                Ok(record) => record,
                Err(NotAnEntry::OtherKey) => continue,
                Err(why) => {
                    self.remove_corrupt(&slot, key, why, mode)?;
                    continue;
                }
            };
            if self.was_removed(&record.decoded.head, record.envelope.begun, mode)? {
                continue;
            }
            if slot.referenced == 0 {
                self.index.mark_referenced(bucket, place);
            }
            let envelope = record.envelope;
            found.push(Found { slot, envelope, candidate: self.candidate(&slot, record) });
        }
        Ok(())
    }

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

    /// A group of it was removed after it was asked for.
    pub(crate) fn was_removed(&self, head: &StoredHead, begun: u64, mode: ReadMode) -> io::Result<bool> {
        for group in &*head.groups {
            if self.tombstones.last(TombstoneKind::Group(self.group_hash(group)), mode)? > begun {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record to which a slot leads, or why there is none; `most` bytes of it.
    pub(crate) fn record_at(
        &self,
        slot: &Slot,
        key: &CacheKey,
        most: usize,
        mode: ReadMode,
    ) -> io::Result<record::Read> {
        let read = record::decode(&self.bytes_at(slot, most, mode)?, key);
        match read {
            // Its head alone is longer.
            Err(NotAnEntry::Truncated { .. }) if most < slot.length() => {
                Ok(record::decode(&self.bytes_at(slot, slot.length(), mode)?, key))
            }
            read => Ok(read),
        }
    }

    pub(crate) fn bytes_at(&self, slot: &Slot, most: usize, mode: ReadMode) -> io::Result<Bytes> {
        let file = self.file(FileName::Segment(slot.segment))?;
        let length = slot.length().min(most);
        let mut buffer = self.buffers.take(length);
        let read = read_at(&file, &mut buffer.as_mut()[..length], slot.position(), mode)?;
        Ok(buffer.freeze(0..read))
    }

    /// The envelope to which a slot leads; `None` if there is none.
    pub(crate) fn envelope_at(&self, slot: &Slot) -> io::Result<Option<Envelope>> {
        Ok(Envelope::decode(&self.bytes_at(slot, ENVELOPE, ReadMode::Blocking)?))
    }

    /// Finds the entry with this number.
    pub(crate) fn slot_of(
        &self,
        bucket: &Bucket,
        hash: u64,
        entry: EntryId,
    ) -> io::Result<Option<(usize, Slot)>> {
        for (place, slot) in bucket.matching(hash as u32) {
            match self.envelope_at(&slot) {
                Ok(Some(envelope)) if (envelope.hash, envelope.entry) == (hash, entry) => {
                    return Ok(Some((place, slot)));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Takes a slot away that leads to something else than an entry. It may have been written anew while it was read,
    /// so it is looked at once more, under the lock.
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
        let mut locked = self.state_file.lock()?;
        let mut bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
        let Some((place, _)) = bucket.matching(slot.tag).find(|(_, now)| now.is(slot)) else { return Ok(()) };
        if self.record_at(slot, key, slot.length(), ReadMode::Blocking)?.is_ok() {
            return Ok(());
        }
        tracing::warn!(%why, "a damaged entry is removed");
        self.take_out(&mut bucket, place, slot, &mut locked)
    }

    /// Takes a slot out of the index whose body is damaged.
    pub(crate) fn remove_damaged(&self, slot: &Slot) -> io::Result<()> {
        let mut locked = self.state_file.lock()?;
        let mut bucket = self.index.bucket(slot.tag, ReadMode::Blocking)?;
        let Some((place, _)) = bucket.matching(slot.tag).find(|(_, now)| now.is(slot)) else { return Ok(()) };
        self.take_out(&mut bucket, place, slot, &mut locked)
    }

    fn take_out(
        &self,
        bucket: &mut Bucket,
        place: usize,
        slot: &Slot,
        locked: &mut StateGuard<'_>,
    ) -> io::Result<()> {
        Counters::add(&self.counters.corrupt);
        let file = self.file_of(slot);
        bucket.clear(place);
        self.index.write(bucket)?;
        let freed = file.map_or(Ok(0), |file| self.discard(file))?;
        locked.state.used = locked.state.used.saturating_sub(freed);
        locked.save()
    }
}
