//! Where records are written: segments, each by one process from its beginning to its end.
//!
//! A segment that is being written is locked by its writer, so that the others leave it alone; the kernel unlocks it when
//! the writer dies. Nothing in a segment is ever changed.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use parking_lot::Mutex;

use crate::{file_name::FileName, index::UNIT, volume::Volume};

/// The segment that this process writes.
#[derive(Debug, Default)]
pub(crate) struct SegmentWriter(Mutex<Option<Active>>);

#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<File>,
    length: u64,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordLocation {
    pub(crate) segment: u32,
    /// In units.
    pub(crate) offset: u32,
    /// In units.
    pub(crate) size: u16,
}

impl Volume {
    /// Writes a record behind the last one.
    pub(crate) fn append(&self, record: &[u8]) -> io::Result<RecordLocation> {
        let mut active = self.segment_writer.0.lock();
        let length = record.len() as u64;
        if active.as_ref().is_some_and(|active| active.length + length > self.segment_bytes()) {
            self.seal(&mut active)?;
        }
        let active = match &mut *active {
            Some(active) => active,
            none => none.insert(self.new_segment()?),
        };
        let start = active.length;
        if let Err(error) = active.file.write_all_at(record, start) {
            // A part of it may be there, and takes space that is better used.
            let _ = active.file.set_len(start);
            return Err(error);
        }
        active.length += length;
        let too_far = |_| io::Error::other("a segment that is too long");
        Ok(RecordLocation {
            segment: active.number,
            offset: u32::try_from(start / UNIT).map_err(too_far)?,
            size: u16::try_from(length / UNIT).map_err(too_far)?,
        })
    }

    /// Waits until the disk has what was appended.
    pub(crate) fn sync_log(&self) -> io::Result<()> {
        let file = self.segment_writer.0.lock().as_ref().map(|active| Arc::clone(&active.file));
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// Gives back the space that the active segment has not used, and lets others evict it.
    pub(crate) fn close_log(&self) {
        let _ = self.seal(&mut self.segment_writer.0.lock());
    }

    fn seal(&self, active: &mut Option<Active>) -> io::Result<()> {
        let Some(active) = active.take() else { return Ok(()) };
        let unused = self.segment_bytes().saturating_sub(active.length.next_multiple_of(4096));
        self.account(0, unused)?;
        active.file.unlock()
    }

    fn new_segment(&self) -> io::Result<Active> {
        let mut locked = self.state_file.lock()?;
        let number = locked.state.next_segment;
        locked.state.next_segment =
            number.checked_add(1).ok_or_else(|| io::Error::other("no more segments"))?;
        locked.state.used += self.segment_bytes();
        locked.save()?;
        drop(locked);
        match self.directory.create(FileName::Segment(number)) {
            Ok(file) => Ok(Active { number, file: Arc::new(file), length: 0 }),
            Err(error) => {
                let _ = self.account(0, self.segment_bytes());
                Err(error)
            }
        }
    }
}
