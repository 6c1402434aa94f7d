//! Keeping within the limit: the oldest segment goes, and what was looked up since it was written is written anew.
//!
//! That is a queue with a second chance (CLOCK): one bit an entry, in its slot, and no list to keep. A scan of things that
//! are asked for once passes through and takes nothing with it that is used.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::{
    counters::Counters,
    file_name::FileName,
    index::{Slot, UNIT},
    pread::ReadMode,
    record::{ENVELOPE, Envelope},
    volume::Volume,
};

/// Records that are looked at under one lock; about a quarter of a millisecond.
const BATCH: usize = 64;
/// Segments' worth of records that are written anew at most before something goes, however warm it is: where everything
/// is warm, nothing would be gained for a long time.
const KEPT: u64 = 16;

impl Volume {
    /// Evicts until so many bytes more, and one more segment, fit. On a thread that may wait.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] if there is nothing left to evict.
    pub(crate) fn make_room(&self, bytes: u64) -> io::Result<()> {
        let wanted = bytes + self.segment_bytes();
        if self.has_room(wanted)? {
            return Ok(());
        }
        let mut queue = self.evicting.lock();
        let mut listed = false;
        let mut keep = self.segment_bytes() * KEPT;
        while !self.has_room(wanted)? {
            let Some(number) = queue.pop_front() else {
                if std::mem::replace(&mut listed, true) {
                    return Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        "the limit of bytes, and nothing to evict",
                    ));
                }
                let names = self.directory.list()?;
                let mut segments: Vec<u32> = names
                    .into_iter()
                    .filter_map(|name| if let FileName::Segment(number) = name { Some(number) } else { None })
                    .collect();
                segments.sort_unstable();
                queue.extend(segments);
                continue;
            };
            self.evict(number, &mut keep)?;
        }
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.state_file.peek()?.used + bytes <= self.options.limit())
    }

    /// Evicts one segment, unless it is gone already or somebody writes it.
    fn evict(&self, number: u32, keep: &mut u64) -> io::Result<()> {
        let name = FileName::Segment(number);
        let file = match self.directory.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        if file.try_lock().is_err() {
            return Ok(());
        }
        let mut batch = Vec::with_capacity(BATCH);
        let mut position = 0;
        while let Some(envelope) = envelope_at(&file, position)? {
            batch.push((position, envelope));
            position += envelope.units() * UNIT;
            if batch.len() == BATCH {
                self.evict_batch(&file, number, &batch, keep)?;
                batch.clear();
            }
        }
        self.evict_batch(&file, number, &batch, keep)?;
        let freed = self.discard(name)?;
        self.account(0, freed)
    }

    fn evict_batch(
        &self,
        file: &File,
        segment: u32,
        batch: &[(u64, Envelope)],
        keep: &mut u64,
    ) -> io::Result<()> {
        let mut warm: Vec<(Slot, u64)> = Vec::new();
        {
            let mut locked = self.state_file.lock()?;
            for (position, envelope) in batch {
                let mut bucket = self.index.bucket(envelope.hash as u32, ReadMode::Blocking)?;
                let at = |slot: &Slot| slot.segment == segment && slot.position() == *position;
                let Some((place, slot)) = bucket.matching(envelope.hash as u32).find(|(_, slot)| at(slot))
                else {
                    continue;
                };
                let size = envelope.units() * UNIT;
                if slot.referenced > 0 && *keep >= size {
                    *keep -= size;
                    warm.push((slot, size));
                    continue;
                }
                bucket.clear(place);
                self.index.write(&bucket)?;
                Counters::add(&self.counters.evicted);
                if slot.has_file {
                    let freed = self.discard(FileName::Body(envelope.hash, envelope.entry.0))?;
                    locked.state.used = locked.state.used.saturating_sub(freed);
                }
            }
            locked.save()?;
        }
        for (slot, size) in warm {
            let mut record = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            file.read_exact_at(&mut record, slot.position())?;
            let place = self.append(&record)?;
            let _locked = self.state_file.lock()?;
            self.replace(&slot, place)?;
        }
        Ok(())
    }
}

/// The envelope at a position of a segment; `None` at its end, and where it was cut off or damaged: what is behind that
/// can't be found, and goes with the segment.
pub(crate) fn envelope_at(file: &File, position: u64) -> io::Result<Option<Envelope>> {
    let mut bytes = [0; ENVELOPE];
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) => Ok(Envelope::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
