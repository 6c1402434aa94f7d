//! Appends records to segments. Each segment is written by one process, from start to end.
//!
//! The writer locks the segment, so that other processes do not evict it. The kernel releases the
//! lock when the writer dies. Records in a segment never change. `record` encodes them, `eviction`
//! removes segments.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use parking_lot::Mutex;

use crate::{file_name::FileName, index::UNIT, volume::Volume};

/// The segment that this process is writing, if any.
#[derive(Debug, Default)]
pub(crate) struct SegmentWriter(Mutex<Option<Active>>);

/// An open segment.
#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<File>,
    /// Bytes written so far.
    length: u64,
}

/// Location of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordLocation {
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Offset in the segment, in units of 64 bytes.
    pub(crate) offset: u32,
    /// Length, in units of 64 bytes.
    pub(crate) size: u16,
}

impl Volume {
    /// Appends a record to the active segment. Starts a new segment if the record does not fit.
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
            // Frees the space of a partial write.
            let _ = active.file.set_len(start);
            return Err(error);
        }
        active.length += length;
        let too_large = |_| io::Error::other("the segment or the record is too long for the index");
        Ok(RecordLocation {
            segment: active.number,
            offset: u32::try_from(start / UNIT).map_err(too_large)?,
            size: u16::try_from(length / UNIT).map_err(too_large)?,
        })
    }

    /// Waits until the appended records are on the disk.
    pub(crate) fn sync_segment(&self) -> io::Result<()> {
        let file = self.segment_writer.0.lock().as_ref().map(|active| Arc::clone(&active.file));
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// Closes the active segment: releases its unused space, and unlocks it so that it can be
    /// evicted.
    pub(crate) fn close_segment(&self) {
        let _ = self.seal(&mut self.segment_writer.0.lock());
    }

    /// Closes a segment: releases its unused space and its lock.
    fn seal(&self, active: &mut Option<Active>) -> io::Result<()> {
        let Some(active) = active.take() else { return Ok(()) };
        let unused = self.segment_bytes().saturating_sub(active.length.next_multiple_of(4096));
        self.account(0, unused)?;
        active.file.unlock()
    }

    /// Creates the next segment and accounts for its full size.
    fn new_segment(&self) -> io::Result<Active> {
        let mut guard = self.state_file.lock()?;
        let number = guard.state.next_segment;
        guard.state.next_segment = number.checked_add(1).ok_or_else(|| {
            io::Error::other("all segment numbers have been used; delete the cache directory")
        })?;
        guard.state.used += self.segment_bytes();
        guard.save()?;
        drop(guard);
        match self.directory.create(FileName::Segment(number)) {
            Ok(file) => Ok(Active { number, file: Arc::new(file), length: 0 }),
            Err(error) => {
                let _ = self.account(0, self.segment_bytes());
                Err(error)
            }
        }
    }
}
