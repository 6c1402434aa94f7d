//! Remembers how far the eviction of this process has gone through the records of all segments.
//! What happens at that position is decided in `eviction`.

use std::{collections::VecDeque, fs::File, io};

use crate::format::record::{Envelope, envelope_in};

/// The position of this process in the sequence of all records. If it is lost or outdated, records
/// that are evicted already are visited again.
#[derive(Debug, Default)]
pub(crate) struct ClockHand {
    /// Segments that have been reached, in no particular order: one, and one more for each process
    /// that wrote at the same time.
    pub(super) reached: Vec<Cursor>,
    /// Segments that have not been reached, the oldest first.
    pub(super) next: VecDeque<u32>,
    /// Segments with lower numbers have been reached, or are in `next`.
    pub(super) listed: u32,
    /// Once there is a segment with this number, all are listed again: one that was not created yet
    /// when its number was seen is missed otherwise.
    pub(super) relist_at: u32,
}

/// A position in one segment.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) segment: u32,
    pub(super) position: u64,
    /// Order of the record at the position: not less than that of any record before it, since
    /// copies of old records are young. `None` if there is no record (yet).
    pub(super) order: Option<u64>,
    /// Highest order so far.
    pub(super) highest: u64,
    /// Whether only bodies in files were evicted, because a process was writing the segment.
    pub(super) was_active: bool,
}

impl Cursor {
    /// Reads the envelope at the position, and sets `order`.
    pub(super) fn read(&mut self, file: &File) -> io::Result<Option<Envelope>> {
        let envelope = envelope_in(file, self.position)?;
        self.order = envelope.map(|envelope| envelope.order.max(self.highest));
        Ok(envelope)
    }
}
