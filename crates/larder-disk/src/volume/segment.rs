//! Appends records to segments. Each segment is written by one process, from start to end.
//!
//! The writer locks the segment, so that other processes do not evict it. The kernel releases the
//! lock when the writer dies. Records in a segment never change. `record` encodes them, `eviction`
//! removes segments.

use std::{fs::File, io, os::unix::fs::FileExt as _};

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
#[derive(Debug, Default)]
pub(crate) struct SegmentWriter {
    /// The segment that is being written, if any.
    active: Mutex<Option<Active>>,
}

/// An open segment.
#[derive(Debug)]
struct Active {
    number: u32,
    file: File,
    /// Bytes written so far.
    length: u64,
    /// Bytes that are accounted for in the state file.
    reserved: u64,
}

impl SegmentWriter {
    /// Appends a record to the active segment. Returns `None` if there is none or the record does
    /// not fit.
    pub(crate) fn append(&self, record: &[u8]) -> io::Result<Option<RecordLocation>> {
        let mut active = self.active.lock();
        let length = record.len() as u64;
        let Some(active) = active.as_mut().filter(|active| active.has_room(length)) else { return Ok(None) };
        let start = active.length;
        if let Err(error) = active.file.write_all_at(record, start) {
            // Frees the space of a partial write.
            let _ = active.file.set_len(start);
            return Err(error);
        }
        active.length += length;
        let too_large = |_| io::Error::other("the segment or the record is too long for the index");
        Ok(Some(RecordLocation {
            segment: active.number,
            offset: u32::try_from(start / UNIT).map_err(too_large)?,
            size: u16::try_from(length / UNIT).map_err(too_large)?,
        }))
    }

    /// Starts a segment of `reserved` bytes, which the caller has accounted for, and closes the
    /// active one. Does nothing but release the bytes if another thread has started one in which
    /// a record of `length` bytes fits.
    pub(crate) fn start(
        &self,
        directory: &Directory,
        state_file: &StateFile,
        reserved: u64,
        length: u64,
    ) -> io::Result<()> {
        let mut active = self.active.lock();
        if active.as_ref().is_some_and(|active| active.has_room(length)) {
            return state_file.account(0, reserved);
        }
        let started = seal(state_file, &mut active).and_then(|()| create(directory, state_file));
        match started {
            Ok((number, file)) => {
                *active = Some(Active { number, file, length: 0, reserved });
                Ok(())
            }
            Err(error) => {
                let _ = state_file.account(0, reserved);
                Err(error)
            }
        }
    }

    /// Closes the active segment: releases its unused space, and unlocks it so that it can be
    /// evicted.
    pub(crate) fn close(&self, state_file: &StateFile) {
        let _ = seal(state_file, &mut self.active.lock());
    }
}

impl Active {
    /// Returns whether a record of `length` bytes fits.
    fn has_room(&self, length: u64) -> bool {
        self.length + length <= self.reserved
    }
}

/// Closes a segment: releases its unused space and its lock.
fn seal(state_file: &StateFile, active: &mut Option<Active>) -> io::Result<()> {
    let Some(active) = active.take() else { return Ok(()) };
    state_file.account(0, active.reserved.saturating_sub(active.length.next_multiple_of(4096)))?;
    active.file.unlock()
}

/// Creates the file of the next segment.
fn create(directory: &Directory, state_file: &StateFile) -> io::Result<(u32, File)> {
    loop {
        let mut guard = state_file.lock()?;
        let number = guard.state.next_segment;
        guard.state.next_segment = number.checked_add(1).ok_or_else(|| {
            io::Error::other("all segment numbers have been used; delete the cache directory")
        })?;
        guard.save()?;
        drop(guard);
        match directory.create(FileName::Segment(number)) {
            // After a power failure the state may be older than the segments.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (number, file)),
        }
    }
}
