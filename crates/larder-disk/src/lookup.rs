//! From a key to what is stored under it: one read of the index, and one of each record.

use std::{io, sync::Arc};

use bytes::Bytes;
use larder_core::{CacheKey, Candidate, Candidates, EntryId, StoredBody, codec::NotAnEntry};

use crate::{
    body::DiskBody,
    counters::Counters,
    index::{Bucket, Slot},
    ledger::Locked,
    names::Name,
    reading::{Mode, read_at},
    record::{self, ENVELOPE, Envelope, HEAD_READ, Record},
    tombs::Of,
    volume::Volume,
};

/// A record longer than this is read in two goes where several were found: the head, and the body if it is wanted.
const AT_ONCE: usize = 256 << 10;

impl Volume {
    /// What is stored under a key, newest first.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] with [`Mode::Now`], if it can't be told without waiting for the disk.
    pub(crate) fn lookup(self: &Arc<Self>, key: &CacheKey, mode: Mode) -> io::Result<Candidates> {
        let hash = self.hash(key);
        let tag = hash as u32;
        let mut found: Vec<(u64, Candidate)> = Vec::new();
        // What a slot led to was taken away meanwhile: the slot is a new one by now, or gone.
        for _ in 0..4 {
            found.clear();
            let bucket = self.index.bucket(tag, mode)?;
            match self.collect(&bucket, tag, key, mode, &mut found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                collected => {
                    collected?;
                    break;
                }
            }
        }
        let counter = if found.is_empty() { &self.counters.misses } else { &self.counters.hits };
        Counters::add(counter);
        found.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        Ok(match found.len() {
            0 => Candidates::none(),
            1 => found.remove(0).1.into(),
            _ => Arc::<[Candidate]>::from(found.into_iter().map(|(_, one)| one).collect::<Vec<_>>()).into(),
        })
    }

    fn collect(
        self: &Arc<Self>,
        bucket: &Bucket,
        tag: u32,
        key: &CacheKey,
        mode: Mode,
        found: &mut Vec<(u64, Candidate)>,
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
            if self.was_removed(&record, mode)? {
                continue;
            }
            if slot.heat == 0 {
                self.index.warm(bucket, place);
            }
            found.push((record.envelope.order, self.candidate(&slot, record)));
        }
        Ok(())
    }

    fn candidate(self: &Arc<Self>, slot: &Slot, record: Record) -> Candidate {
        let Record { envelope, decoded, body } = record;
        let body = match (body, envelope.file) {
            (Some(body), _) => StoredBody::Whole(body),
            (None, Some(length)) => {
                let file = Name::Body(envelope.hash, envelope.entry.0);
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
    pub(crate) fn was_removed(&self, record: &Record, mode: Mode) -> io::Result<bool> {
        for group in &*record.decoded.head.groups {
            if self.tombs.last(Of::Group(self.group_hash(group)), mode)? > record.envelope.begun {
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
        mode: Mode,
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

    pub(crate) fn bytes_at(&self, slot: &Slot, most: usize, mode: Mode) -> io::Result<Bytes> {
        let file = self.file(Name::Segment(slot.segment))?;
        let length = slot.length().min(most);
        let mut buffer = self.buffers.take(length);
        let read = read_at(&file, &mut buffer.as_mut()[..length], slot.position(), mode)?;
        Ok(buffer.freeze(0..read))
    }

    /// The envelope to which a slot leads; `None` if there is none.
    pub(crate) fn envelope_at(&self, slot: &Slot) -> io::Result<Option<Envelope>> {
        Ok(Envelope::decode(&self.bytes_at(slot, ENVELOPE, Mode::Wait)?))
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
        mode: Mode,
    ) -> io::Result<()> {
        if mode == Mode::Now {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut locked = self.ledger.lock()?;
        let mut bucket = self.index.bucket(slot.tag, Mode::Wait)?;
        let Some((place, _)) = bucket.matching(slot.tag).find(|(_, now)| now.is(slot)) else { return Ok(()) };
        if self.record_at(slot, key, slot.length(), Mode::Wait)?.is_ok() {
            return Ok(());
        }
        tracing::warn!(%why, "a damaged entry is removed");
        self.take_out(&mut bucket, place, slot, &mut locked)
    }

    /// Takes a slot out of the index whose body is damaged.
    pub(crate) fn remove_damaged(&self, slot: &Slot) -> io::Result<()> {
        let mut locked = self.ledger.lock()?;
        let mut bucket = self.index.bucket(slot.tag, Mode::Wait)?;
        let Some((place, _)) = bucket.matching(slot.tag).find(|(_, now)| now.is(slot)) else { return Ok(()) };
        self.take_out(&mut bucket, place, slot, &mut locked)
    }

    fn take_out(
        &self,
        bucket: &mut Bucket,
        place: usize,
        slot: &Slot,
        locked: &mut Locked<'_>,
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
