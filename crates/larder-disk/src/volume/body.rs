//! Reads stored bodies in blocks, which `larder_core::codec::BlockReader` verifies. The entry of a
//! damaged block is removed by `damage`.

use std::{fmt, fs::File, io, ops::Range, sync::Arc};

use async_trait::async_trait;
use larder_core::{
    BodySource, ByteStream, EntryId, StoreError,
    codec::{BlockReader, Trailer},
};

use crate::{
    error::{corrupt, failed, gone},
    format::{bucket::Slot, file_name::FileName},
    fs::blocking::{blocking, read_bytes},
    volume::{Volume, damage::remove_damaged},
};

/// A stored body that is read on demand.
pub(crate) struct DiskBody {
    volume: Arc<Volume>,
    slot: Slot,
    file: FileName,
    /// Byte offset of the body in the file.
    start: u64,
    entry: EntryId,
    length: u64,
}

impl DiskBody {
    /// Creates a body that is in a separate file.
    pub(crate) fn of_file(
        volume: &Arc<Volume>,
        slot: Slot,
        file: FileName,
        entry: EntryId,
        length: u64,
    ) -> Self {
        Self { volume: Arc::clone(volume), slot, file, start: 0, entry, length }
    }

    /// Creates a body that follows its head in a segment, at the offset `start`.
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

    /// Reads the block checksums, which follow the body.
    async fn trailer(&self, file: &Arc<File>) -> Result<Trailer, StoreError> {
        let length = Trailer::length_for(self.length);
        let wanted = usize::try_from(length).map_err(|_| corrupt("the trailer of the body is too long"))?;
        let bytes = read_bytes(&self.volume.buffers, file, self.start + self.length, wanted).await?;
        match Trailer::decode(&bytes) {
            Ok(trailer) if (trailer.entry(), trailer.length()) == (self.entry, self.length) => Ok(trailer),
            _ => Err(remove_damaged_entry(&self.volume, self.slot).await),
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
            io::ErrorKind::NotFound => gone("the file of the body has been removed"),
            _ => failed("could not open a stored body")(error),
        })?;
        let trailer = self.trailer(&file).await?;
        let (volume, start) = (Arc::clone(&self.volume), self.start);
        let read = move |blocks: Range<u64>| {
            let (volume, file) = (Arc::clone(&volume), Arc::clone(&file));
            async move {
                let length = usize::try_from(blocks.end - blocks.start).unwrap_or(usize::MAX);
                read_bytes(&volume.buffers, &file, start + blocks.start, length).await
            }
        };
        let (volume, slot) = (Arc::clone(&self.volume), self.slot);
        let damaged = move |_| async move { remove_damaged_entry(&volume, slot).await };
        Ok(BlockReader::new(trailer, range).into_stream(read, damaged))
    }
}

/// Removes a damaged entry from the index, so that later lookups do not find it. Returns the error
/// for the current reader.
async fn remove_damaged_entry(volume: &Arc<Volume>, slot: Slot) -> StoreError {
    let volume = Arc::clone(volume);
    let _ =
        blocking(move || remove_damaged(&volume, &slot).map_err(failed("could not remove a damaged entry")))
            .await;
    corrupt("the checksum of the body does not match")
}
