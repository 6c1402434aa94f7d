//! Appends records to segments. Each segment is written by one process, from start to end.
//!
//! The writer locks the segment, so that other processes do not evict it. The kernel releases the
//! lock when the writer dies. Records in a segment never change. `record` encodes them, `eviction`
//! removes segments.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use parking_lot::Mutex;

use crate::{
    format::{
        bucket::{RecordLocation, UNIT},
        file_name::FileName,
    },
    fs::directory::Directory,
    state::state_file::StateFile,
};

/// Writes the segments of this process.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    /// Size of a segment in bytes.
    segment_bytes: u64,
    /// The segment that is being written, if any.
    active: Mutex<Option<Active>>,
}

/// An open segment.
#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<File>,
    /// Bytes written so far.
    length: u64,
}

impl SegmentWriter {
    /// Creates a writer of segments of this size.
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self { segment_bytes, active: Mutex::default() }
    }

    /// Appends a record to the active segment. Starts a new segment if the record does not fit.
    pub(crate) fn append(
        &self,
        directory: &Directory,
        state_file: &StateFile,
        record: &[u8],
    ) -> io::Result<RecordLocation> {
        let mut active = self.active.lock();
        let length = record.len() as u64;
        if active.as_ref().is_some_and(|active| active.length + length > self.segment_bytes) {
            self.seal(state_file, &mut active)?;
        }
        let active = match &mut *active {
            Some(active) => active,
            none => none.insert(self.new_segment(directory, state_file)?),
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
    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = self.active.lock().as_ref().map(|active| Arc::clone(&active.file));
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// Closes the active segment: releases its unused space, and unlocks it so that it can be
    /// evicted.
    pub(crate) fn close(&self, state_file: &StateFile) {
        let _ = self.seal(state_file, &mut self.active.lock());
    }

    /// Closes a segment: releases its unused space and its lock.
    fn seal(&self, state_file: &StateFile, active: &mut Option<Active>) -> io::Result<()> {
        let Some(active) = active.take() else { return Ok(()) };
        let unused = self.segment_bytes.saturating_sub(active.length.next_multiple_of(4096));
        state_file.account(0, unused)?;
        active.file.unlock()
    }

    /// Creates the next segment and accounts for its full size.
    fn new_segment(&self, directory: &Directory, state_file: &StateFile) -> io::Result<Active> {
        let mut guard = state_file.lock()?;
        let number = guard.state.next_segment;
        guard.state.next_segment = number.checked_add(1).ok_or_else(|| {
            io::Error::other("all segment numbers have been used; delete the cache directory")
        })?;
        guard.state.used += self.segment_bytes;
        guard.save()?;
        drop(guard);
        match directory.create(FileName::Segment(number)) {
            Ok(file) => Ok(Active { number, file: Arc::new(file), length: 0 }),
            Err(error) => {
                let _ = state_file.account(0, self.segment_bytes);
                Err(error)
            }
        }
    }
}
