//! Writes one entry. A short body is collected in memory and written together with its head in one
//! record; a long body is written to a separate file as it arrives. Visibility is left to `commit`.

use std::{fmt, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreWriter, StoredHead, Timestamp,
    codec::BodyChecksum,
};

use crate::{
    Durability,
    error::{failed, not_encodable, too_long},
    format::{
        file_name::FileName,
        record::{self, Envelope},
    },
    partial_body::{Follow, PartialBody, PartialBodyWriter},
    volume::{
        Volume,
        commit::{Entry, NewBody, commit, sync_commit},
        space::{append, reserve},
    },
};

/// Bytes that are collected before they are written to the file.
const FLUSH: usize = 256 << 10;

/// A reservation of a key. Removals with a greater sequence number than `reserved_at` prevent its
/// commit.
pub(crate) struct DiskReservation {
    pub(crate) volume: Arc<Volume>,
    pub(crate) key: CacheKey,
    pub(crate) reserved_at: u64,
}

impl fmt::Debug for DiskReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for DiskReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        _keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { volume, key, reserved_at } = *self;
        let max = longest_body(&volume);
        if length.is_some_and(|length| length > max) {
            return Err(too_long(max));
        }
        let entry = new_entry_id().map_err(failed("could not generate an entry number"))?;
        let partial = PartialBodyWriter(PartialBody::new(volume.buffers.clone()));
        let checksum = BodyChecksum::new();
        Ok(Box::new(DiskWriter {
            volume,
            key,
            head,
            reserved_at,
            entry,
            partial,
            length: 0,
            checksum,
            temp: None,
        }))
    }
}

/// Writes one entry.
pub(crate) struct DiskWriter {
    volume: Arc<Volume>,
    key: CacheKey,
    head: Arc<StoredHead>,
    reserved_at: u64,
    entry: EntryId,
    partial: PartialBodyWriter,
    length: u64,
    checksum: BodyChecksum,
    temp: Option<TempBody>,
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
        let max = longest_body(&self.volume);
        self.length += chunk.len() as u64;
        if self.length > max {
            return Err(too_long(max));
        }
        let unflushed = self.partial.0.push(&chunk);
        let is_long = self.temp.is_some() || unflushed as u64 > self.volume.state_file.sizes().inline();
        if is_long {
            self.checksum_and_flush(unflushed >= FLUSH || self.temp.is_none()).await?;
        }
        Ok(())
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        Some(Arc::new(Follow(Arc::clone(&self.partial.0))))
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        if self.temp.is_some() {
            self.checksum_and_flush(true).await?;
        }
        let (volume, this) = (Arc::clone(&self.volume), *self);
        let bytes = if this.temp.is_some() { 0 } else { usize::try_from(this.length).unwrap_or(usize::MAX) };
        volume.write_queue.run(bytes, move || this.commit_now()).await
    }
}

impl DiskWriter {
    /// Adds the collected bytes to the checksum and writes them to the file. Does nothing unless
    /// `is_due`.
    async fn checksum_and_flush(&mut self, is_due: bool) -> Result<(), StoreError> {
        if !is_due {
            return Ok(());
        }
        let bytes = self.partial.0.begin_flush();
        self.checksum.update(&bytes);
        let (volume, temp) = (Arc::clone(&self.volume), self.temp.take());
        // If this future is dropped, the blocking thread drops the file handle, which removes the
        // file.
        let length = bytes.len();
        let temp = self.volume.write_queue.run(length, move || {
            let mut temp = match temp {
                Some(temp) => temp,
                None => TempBody::new(&volume).map_err(failed("could not create a body file"))?,
            };
            temp.write(&bytes).map_err(failed("could not write a body"))?;
            Ok(temp)
        });
        let temp = temp.await?;
        self.partial.0.flushed(&temp.file);
        self.temp = Some(temp);
        Ok(())
    }

    /// Writes the trailer and the record, and makes the entry visible. Blocks.
    fn commit_now(mut self) -> Result<EntryId, StoreError> {
        let volume = &self.volume;
        let order = volume.state_file.sequence().map_err(failed("could not read the state file"))?;
        let hash = volume.state_file.hash(&self.key);
        let envelope =
            Envelope { hash, entry: self.entry, reserved_at: self.reserved_at, order, length: 0, file: None };
        let bytes = match &mut self.temp {
            None => record::encode_inline(&self.key, &self.head, &self.partial.0.whole(), envelope),
            Some(temp) => {
                let mut trailer = Vec::new();
                std::mem::take(&mut self.checksum).finish(self.entry).encode(&mut trailer);
                temp.write(&trailer).map_err(failed("could not write a body"))?;
                if volume.options.durability == Durability::PowerFailure {
                    temp.file.sync_data().map_err(failed("could not sync to the disk"))?;
                }
                record::encode_head(&self.key, &self.head, self.length, envelope)
            }
        };
        let bytes = bytes.map_err(not_encodable)?;
        let location = append(volume, &bytes).map_err(failed("could not write a record"))?;
        let file = self.temp.as_ref().map(|temp| temp.length);
        let envelope = Envelope { file, ..envelope };
        let entry = Entry { key: &self.key, head: &self.head, envelope };
        commit(volume, &entry, location, self.temp.as_ref().map(TempBody::as_new_body))?;
        if let Some(temp) = self.temp.take() {
            temp.persist().map_err(failed("could not unlock a body"))?;
        }
        sync_commit(volume, location)?;
        self.partial.0.committed();
        Ok(self.entry)
    }
}

/// Returns the length of the longest body that is stored now.
fn longest_body(volume: &Volume) -> u64 {
    volume.state_file.sizes().longest_body(volume.options.max_object)
}

/// Returns a random number for an entry, which clients cannot guess and which is practically
/// unique.
fn new_entry_id() -> io::Result<EntryId> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(EntryId(u64::from_le_bytes(bytes)))
}

/// A body file that no slot points to yet. Dropping this removes the file. If the process dies,
/// the kernel unlocks the file, by which recovery recognizes it as a leftover.
pub(crate) struct TempBody {
    volume: Arc<Volume>,
    number: u64,
    file: Arc<File>,
    /// Bytes written so far.
    length: u64,
    /// Bytes accounted for in the state file.
    reserved: u64,
    is_persisted: bool,
}

impl TempBody {
    /// Creates the file with a random name.
    fn new(volume: &Arc<Volume>) -> io::Result<Self> {
        let number = new_entry_id()?.0;
        let file = volume.directory.create(FileName::Temp(number))?;
        let volume = Arc::clone(volume);
        Ok(Self { volume, number, file: Arc::new(file), length: 0, reserved: 0, is_persisted: false })
    }

    /// Returns the name of the file.
    fn name(&self) -> FileName {
        FileName::Temp(self.number)
    }

    /// Returns the file as the body of an entry to be committed.
    fn as_new_body(&self) -> NewBody {
        NewBody { name: self.name(), unused: self.reserved - self.length.next_multiple_of(4096) }
    }

    /// Appends bytes. Makes room for them first.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let after = self.length + bytes.len() as u64;
        if after > self.reserved {
            let step = self.volume.state_file.sizes().reservation_step();
            let more = (after - self.reserved).next_multiple_of(step);
            reserve(&self.volume, more)?;
            self.reserved += more;
        }
        self.file.write_all_at(bytes, self.length)?;
        self.length = after;
        Ok(())
    }

    /// Retains the file, which is now the body of a committed entry.
    fn persist(mut self) -> io::Result<()> {
        self.is_persisted = true;
        self.file.unlock()
    }
}

impl Drop for TempBody {
    fn drop(&mut self) {
        if !self.is_persisted {
            let _ = self.volume.directory.remove(self.name());
            let _ = self.volume.state_file.account(0, self.reserved);
        }
    }
}
