//! Stored bodies, read block by block: nothing is handed on before its checksum is right.

use std::{fmt, fs::File, io, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, ByteStream, EntryId, StoreError,
    codec::{BLOCK, Trailer},
};

use crate::{
    error::{corrupt, failed, gone},
    file_name::FileName,
    index::Slot,
    store::{blocking, read_bytes},
    volume::Volume,
};

/// Blocks that are read at once.
const BLOCKS: u64 = 4;

/// A body that is read when somebody wants it.
pub(crate) struct DiskBody {
    volume: Arc<Volume>,
    slot: Slot,
    file: FileName,
    /// Where in the file it begins.
    start: u64,
    entry: EntryId,
    length: u64,
}

impl DiskBody {
    /// A file of its own.
    pub(crate) fn of_file(
        volume: &Arc<Volume>,
        slot: Slot,
        file: FileName,
        entry: EntryId,
        length: u64,
    ) -> Self {
        Self { volume: Arc::clone(volume), slot, file, start: 0, entry, length }
    }

    /// Within a segment, behind its head.
    pub(crate) fn in_segment(
        volume: &Arc<Volume>,
        slot: Slot,
        start: u64,
        entry: EntryId,
        length: u64,
    ) -> Self {
        let file = FileName::Segment(slot.segment);
        Self { volume: Arc::clone(volume), slot, file, start, entry, length }
    }

    async fn trailer(&self, file: &Arc<File>) -> Result<Trailer, StoreError> {
        let length = Trailer::length_for(self.length);
        let wanted = usize::try_from(length).map_err(|_| corrupt("a trailer that is too long"))?;
        let bytes = read_bytes(&self.volume.buffers, file, self.start + self.length, wanted).await?;
        match Trailer::decode(&bytes) {
            Ok(trailer) if (trailer.entry(), trailer.length()) == (self.entry, self.length) => Ok(trailer),
            _ => Err(damaged(&self.volume, self.slot).await),
        }
    }
}

impl fmt::Debug for DiskBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskBody")
            .field("file", &self.file)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BodySource for DiskBody {
    fn content_length(&self) -> Option<u64> {
        Some(self.length)
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let file = self.volume.file(self.file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => gone("its file was removed"),
            _ => failed("opening a body")(error),
        })?;
        let trailer = self.trailer(&file).await?;
        let Range { start, end } = range.unwrap_or(0..self.length);
        let end = end.min(self.length);
        let reading = Reading {
            volume: Arc::clone(&self.volume),
            slot: self.slot,
            file,
            start: self.start,
            trailer,
            next: start,
            end,
        };
        Ok(Box::pin(futures_util::stream::try_unfold(reading, Reading::next)))
    }
}

/// Where a reader is.
struct Reading {
    volume: Arc<Volume>,
    slot: Slot,
    file: Arc<File>,
    start: u64,
    trailer: Trailer,
    next: u64,
    end: u64,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let most = self.next / BLOCK as u64 * BLOCK as u64 + BLOCKS * BLOCK as u64;
        let blocks = self.trailer.covering(self.next..self.end.min(most));
        let length = usize::try_from(blocks.end - blocks.start).unwrap_or(usize::MAX);
        let bytes = read_bytes(&self.volume.buffers, &self.file, self.start + blocks.start, length).await?;
        if bytes.len() < length || self.trailer.verify(blocks.start, &bytes).is_err() {
            return Err(damaged(&self.volume, self.slot).await);
        }
        let within = |position: u64| usize::try_from(position - blocks.start).unwrap_or(usize::MAX);
        let end = self.end.min(blocks.end);
        let chunk = bytes.slice(within(self.next)..within(end));
        self.next = end;
        Ok(Some((chunk, self)))
    }
}

/// Takes a damaged entry out of the index, so that nobody meets it again.
async fn damaged(volume: &Arc<Volume>, slot: Slot) -> StoreError {
    let volume = Arc::clone(volume);
    let _ = blocking(move || volume.remove_damaged(&slot).map_err(failed("removing a damaged entry"))).await;
    corrupt("a body that is not what was written")
}
