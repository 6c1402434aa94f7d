//! The store, as the engine sees it: what does not wait is done at once, the rest on a thread that may wait.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    CacheGroup, CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, Reservation, StoreError,
    StoredHead, Timestamp,
};
use parking_lot::RwLock;

use crate::{
    DiskOptions, DiskStats,
    buffers::Buffers,
    counters::Counters,
    error::{closing, failed},
    maintenance::{Maintenance, maintenance},
    pread::{ReadMode, read_at},
    volume::Volume,
    writer::Reserved,
};

/// Keeps responses in a directory, which several processes may share.
///
/// Cloning shares the store. When the last clone is dropped, what was counted is written down.
#[derive(Debug, Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    options: DiskOptions,
    volume: RwLock<Arc<Volume>>,
    _keeper: Maintenance,
}

impl DiskStore {
    /// Opens the directory, and makes it where there is none. Takes no longer for ten million entries than for none.
    ///
    /// # Errors
    ///
    /// If it can't be made or written, or has something in it that is not a cache of Larder's.
    pub fn open(path: impl AsRef<Path>, options: DiskOptions) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let volume = RwLock::new(Arc::new(Volume::open(&path, options.clone())?));
        let (keeper, start) = maintenance();
        let shared = Arc::new(Shared { path, options, volume, _keeper: keeper });
        start(Arc::downgrade(&shared));
        Ok(Self { shared })
    }

    /// What is in it. Reads all of the index, on a thread that may wait.
    ///
    /// # Errors
    ///
    /// If the directory can't be read.
    pub async fn stats(&self) -> Result<DiskStats, StoreError> {
        self.on(|volume| volume.stats().map_err(failed("reading the index"))).await
    }

    /// Does something that may wait for the disk, elsewhere.
    async fn on<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Volume) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let volume = self.shared.volume();
        blocking(move || {
            act(&volume).inspect_err(|error| {
                if error.kind() != larder_core::StoreErrorKind::Gone {
                    Counters::add(&volume.counters.failed);
                }
            })
        })
        .await
    }
}

impl Shared {
    pub(crate) fn volume(&self) -> Arc<Volume> {
        Arc::clone(&self.volume.read())
    }

    /// Opens the directory anew: it was removed, or its page of counters is damaged.
    pub(crate) fn reopen(&self) {
        match Volume::open(&self.path, self.options.clone()) {
            Ok(volume) => {
                tracing::info!("the disk store's directory is there again");
                self.volume().is_lost.store(true, Ordering::Relaxed);
                *self.volume.write() = Arc::new(volume);
            }
            Err(error) => tracing::debug!(%error, "the disk store's directory is gone"),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let volume = self.volume();
        volume.close_log();
        volume.write_counts();
    }
}

#[async_trait]
impl CacheStore for DiskStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let volume = self.shared.volume();
        match volume.lookup(key, ReadMode::NonBlocking) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let key = key.clone();
                blocking(move || {
                    volume.lookup(&key, ReadMode::Blocking).map_err(|error| {
                        Counters::add(&volume.counters.failed);
                        failed("looking up")(error)
                    })
                })
                .await
            }
            found => found.map_err(|error| {
                Counters::add(&volume.counters.failed);
                failed("looking up")(error)
            }),
        }
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let volume = self.shared.volume();
        let begun = volume.state_file.sequence().map_err(failed("reading the counters"))?;
        Ok(Box::new(Reserved { volume, key: key.clone(), begun }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let key = key.clone();
        self.on(move |volume| volume.freshen(&key, id, &head)).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.on(move |volume| volume.remove(&key).map_err(failed("removing"))).await
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let group = group.clone();
        self.on(move |volume| volume.invalidate(&group).map_err(failed("removing a group"))).await
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        let url = url.to_owned();
        self.on(move |volume| volume.remove_prefix(&url).map_err(failed("removing"))).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.on(|volume| volume.clear().map_err(failed("removing everything"))).await
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let group = group.clone();
        self.on(move |volume| volume.outdate(&group, at).map_err(failed("making a group stale"))).await
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let (url, volume) = (url.to_owned(), self.shared.volume());
        blocking(move || volume.outdate_prefix(&url, at)).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}

/// Does something on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| Err(closing()))
}

/// Reads bytes of a file: here if they are in memory, elsewhere if not. Fewer than wanted if the file ends.
pub(crate) async fn read_bytes(
    buffers: &Buffers,
    file: &Arc<File>,
    position: u64,
    length: usize,
) -> Result<Bytes, StoreError> {
    let mut buffer = buffers.take(length);
    let (buffer, read) = match read_at(file, &mut buffer.as_mut()[..length], position, ReadMode::NonBlocking)
    {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let file = Arc::clone(file);
            blocking(move || {
                let read = read_at(&file, &mut buffer.as_mut()[..length], position, ReadMode::Blocking);
                Ok((buffer, read))
            })
            .await?
        }
        read => (buffer, read),
    };
    let read = read.map_err(failed("reading a body"))?;
    Ok(buffer.freeze(0..read))
}
