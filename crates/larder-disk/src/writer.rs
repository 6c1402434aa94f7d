//! Writing one entry. A short body waits in memory and is written behind its head, in one go; a long one goes into a file
//! of its own as it comes.

use std::{fmt, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreWriter, StoredHead, codec::BodyChecksum,
};

use crate::{
    Durability,
    commit::Entry,
    error::{failed, not_encodable, too_long},
    file_name::FileName,
    partial_body::{Follow, PartialBody, PartialBodyWriter},
    record::{self, Envelope},
    store::blocking,
    volume::Volume,
};

/// Bytes that are gathered before they are written.
const FLUSH: usize = 256 << 10;
/// Space is reserved in steps of this.
const STEP: u64 = 1 << 20;

/// A key, and the sequence number when it was reserved: removals with a later one win.
pub(crate) struct Reserved {
    pub(crate) volume: Arc<Volume>,
    pub(crate) key: CacheKey,
    pub(crate) begun: u64,
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for Reserved {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { volume, key, begun } = *self;
        let most = volume.options.longest_body();
        if length.is_some_and(|length| length > most) {
            return Err(too_long(most));
        }
        let entry = Volume::new_entry().map_err(failed("making a number"))?;
        let grower = PartialBodyWriter(PartialBody::new(volume.buffers.clone()));
        let checksum = BodyChecksum::new();
        Ok(Box::new(DiskWriter { volume, key, head, begun, entry, grower, length: 0, checksum, part: None }))
    }
}

/// Receives one body.
pub(crate) struct DiskWriter {
    volume: Arc<Volume>,
    key: CacheKey,
    head: Arc<StoredHead>,
    begun: u64,
    entry: EntryId,
    grower: PartialBodyWriter,
    length: u64,
    checksum: BodyChecksum,
    part: Option<TempBody>,
}

impl fmt::Debug for DiskWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskWriter")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreWriter for DiskWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let most = self.volume.options.longest_body();
        self.length += chunk.len() as u64;
        if self.length > most {
            return Err(too_long(most));
        }
        let waiting = self.grower.0.push(&chunk);
        let is_long = self.part.is_some() || waiting > self.volume.options.inline();
        if is_long {
            self.checksum_and_flush(waiting >= FLUSH || self.part.is_none()).await?;
        }
        Ok(())
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        Some(Arc::new(Follow(Arc::clone(&self.grower.0))))
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        if self.part.is_some() {
            self.checksum_and_flush(true).await?;
        }
        let this = *self;
        blocking(move || this.commit_now()).await
    }
}

impl DiskWriter {
    async fn checksum_and_flush(&mut self, now: bool) -> Result<(), StoreError> {
        if !now {
            return Ok(());
        }
        let bytes = self.grower.0.begin_flush();
        self.checksum.update(&bytes);
        let (volume, part) = (Arc::clone(&self.volume), self.part.take());
        // Should nobody wait for it any more, the part is dropped over there, and its file with it.
        let part = blocking(move || {
            let mut part = match part {
                Some(part) => part,
                None => TempBody::new(&volume).map_err(failed("making a file"))?,
            };
            part.write(&bytes).map_err(failed("writing a body"))?;
            Ok(part)
        });
        let part = part.await?;
        self.grower.0.flushed(&part.file);
        self.part = Some(part);
        Ok(())
    }

    fn commit_now(mut self) -> Result<EntryId, StoreError> {
        let volume = &self.volume;
        let order = volume.state_file.sequence().map_err(failed("reading the counters"))?;
        let hash = volume.hash(&self.key);
        let envelope = Envelope { hash, entry: self.entry, begun: self.begun, order, length: 0, file: None };
        let bytes = match &mut self.part {
            None => record::encode_inline(&self.key, &self.head, &self.grower.0.whole(), envelope),
            Some(part) => {
                let mut trailer = Vec::new();
                std::mem::take(&mut self.checksum).finish(self.entry).encode(&mut trailer);
                part.write(&trailer).map_err(failed("writing a body"))?;
                if volume.options.durability == Durability::PowerFailure {
                    part.file.sync_data().map_err(failed("waiting for the disk"))?;
                }
                record::encode_head(&self.key, &self.head, self.length, envelope)
            }
        };
        let bytes = bytes.map_err(not_encodable)?;
        volume.make_room(0).map_err(failed("making room"))?;
        let place = volume.append(&bytes).map_err(failed("writing a record"))?;
        if volume.options.durability == Durability::PowerFailure {
            volume.sync_log().map_err(failed("waiting for the disk"))?;
        }
        let file = self.part.as_ref().map(|part| part.length);
        let envelope = Envelope { file, ..envelope };
        let entry = Entry { key: &self.key, head: &self.head, envelope };
        volume.commit(&entry, place, self.part.as_ref().map(TempBody::name))?;
        if let Some(part) = self.part.take() {
            part.persist().map_err(failed("taking the lock"))?;
        }
        if volume.options.durability == Durability::PowerFailure {
            volume.directory.sync().map_err(failed("waiting for the disk"))?;
        }
        self.grower.0.committed();
        Ok(self.entry)
    }
}

/// A file that nobody can look up yet. Dropped, it is removed; a process that dies leaves it unlocked, which tells the
/// others to remove it.
pub(crate) struct TempBody {
    volume: Arc<Volume>,
    number: u64,
    file: Arc<File>,
    length: u64,
    reserved: u64,
    is_persisted: bool,
}

impl TempBody {
    fn new(volume: &Arc<Volume>) -> io::Result<Self> {
        let number = Volume::new_entry()?.0;
        let file = volume.directory.create(FileName::Temp(number))?;
        let volume = Arc::clone(volume);
        Ok(Self { volume, number, file: Arc::new(file), length: 0, reserved: 0, is_persisted: false })
    }

    fn name(&self) -> FileName {
        FileName::Temp(self.number)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let after = self.length + bytes.len() as u64;
        if after > self.reserved {
            let more = (after - self.reserved).next_multiple_of(STEP);
            self.volume.make_room(more)?;
            self.volume.account(more, 0)?;
            self.reserved += more;
        }
        self.file.write_all_at(bytes, self.length)?;
        self.length = after;
        Ok(())
    }

    /// It is an entry's body by now: only what it does not need is given back.
    fn persist(mut self) -> io::Result<()> {
        self.is_persisted = true;
        self.file.unlock()?;
        self.volume.account(self.length.next_multiple_of(4096), self.reserved)
    }
}

impl Drop for TempBody {
    fn drop(&mut self) {
        if !self.is_persisted {
            let _ = self.volume.directory.remove(self.name());
            let _ = self.volume.account(0, self.reserved);
        }
    }
}
