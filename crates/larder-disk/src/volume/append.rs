//! Appends records to the segment that this process is writing, and starts the next one when it is
//! full. The segment itself is written by `segment`; `space` makes room for it.

use std::io;

use crate::{format::bucket::RecordLocation, volume::Volume};

/// Appends a record. Calls `reserve` to account for the bytes of a new segment if one is necessary.
pub(super) fn append_to_segment(
    volume: &Volume,
    record: &[u8],
    reserve: impl Fn(u64) -> io::Result<()>,
) -> io::Result<RecordLocation> {
    loop {
        if let Some(location) = volume.segment_writer.append(record)? {
            return Ok(location);
        }
        let length = record.len() as u64;
        // A head may be longer than a segment if the limit is small.
        let bytes = volume.state_file.sizes().segment().max(length);
        reserve(bytes)?;
        volume.segment_writer.start(&volume.directory, &volume.state_file, bytes, length)?;
    }
}
