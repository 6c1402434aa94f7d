//! The public store. It decides what runs on the calling task and what on a blocking thread; the
//! operations themselves are methods of `Volume`.

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
    writer::DiskReservation,
};

/// Stores responses in a directory, which several processes can share.
///
/// Cloning is cheap and shares the store. When the last clone is dropped, the counters are saved
/// and the segment that is being written is closed. If the directory is removed or its state file
/// is damaged, the store creates it again within about a second. Until then lookups fail or find
/// nothing, and responses are not stored.
///
/// The methods need a Tokio runtime: reads and writes that block run on its blocking threads.
///
/// # Examples
///
/// ```no_run
/// use larder_disk::{DiskOptions, DiskStore};
///
/// # fn open() -> std::io::Result<DiskStore> {
/// let store = DiskStore::open("/var/cache/app", DiskOptions::with_max_bytes(10 << 30))?;
/// # Ok(store)
/// # }
/// ```
///
/// # Cancel safety
///
/// All futures can be dropped at any point. An operation that already runs on a blocking thread
/// completes there. Dropping a writer, or the future of its commit before that runs on a blocking
/// thread, discards the entry.
#[derive(Debug, Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
}

/// The state that all clones of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    options: DiskOptions,
    volume: RwLock<Arc<Volume>>,
    _maintenance: Maintenance,
}

impl DiskStore {
    /// Opens a cache directory, creating it if it does not exist. Blocks.
    ///
    /// Opening takes the same time for ten million entries as for none. It starts the maintenance
    /// thread of the store, which first reclaims what crashed processes have left. Other processes
    /// may have the same directory open; each process enforces its own [`DiskOptions`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the directory contains files that are not a
    /// Larder cache; otherwise the error of the file system if the directory cannot be created or
    /// written.
    pub fn open(path: impl AsRef<Path>, options: DiskOptions) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let volume = RwLock::new(Arc::new(Volume::open(&path, options.clone())?));
        let (maintenance, start) = maintenance();
        let shared = Arc::new(Shared { path, options, volume, _maintenance: maintenance });
        start(Arc::downgrade(&shared));
        Ok(Self { shared })
    }

    /// Returns statistics about the content of the store and about events in all processes.
    ///
    /// Reads the whole index on a blocking thread, which takes about a second for ten million
    /// entries.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn print(store: &larder_disk::DiskStore) -> Result<(), larder_core::StoreError> {
    /// let stats = store.stats().await?;
    /// println!("{} entries in {} of {} bytes", stats.entries, stats.bytes, stats.max_bytes);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the directory cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn stats(&self) -> Result<DiskStats, StoreError> {
        self.run_blocking(|volume| volume.stats().map_err(failed("could not read the index"))).await
    }

    /// Runs an operation that may block on a blocking thread. Counts its failure.
    async fn run_blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Volume) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let volume = self.shared.volume();
        blocking(move || {
            operation(&volume).inspect_err(|error| {
                if error.kind() != larder_core::StoreErrorKind::Gone {
                    Counters::add(&volume.counters.failed);
                }
            })
        })
        .await
    }
}

impl Shared {
    /// Returns the open directory.
    pub(crate) fn volume(&self) -> Arc<Volume> {
        Arc::clone(&self.volume.read())
    }

    /// Opens the directory again after it was removed or its state file was damaged.
    pub(crate) fn reopen(&self) {
        match Volume::open(&self.path, self.options.clone()) {
            Ok(volume) => {
                tracing::info!("disk store: directory reopened");
                self.volume().is_lost.store(true, Ordering::Relaxed);
                *self.volume.write() = Arc::new(volume);
            }
            Err(error) => tracing::debug!(%error, "disk store: could not reopen the directory"),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let volume = self.volume();
        volume.close_segment();
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
                        failed("could not look up an entry")(error)
                    })
                })
                .await
            }
            found => found.map_err(|error| {
                Counters::add(&volume.counters.failed);
                failed("could not look up an entry")(error)
            }),
        }
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let volume = self.shared.volume();
        let reserved_at = volume.state_file.sequence().map_err(failed("could not read the state file"))?;
        Ok(Box::new(DiskReservation { volume, key: key.clone(), reserved_at }))
    }

    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError> {
        let key = key.clone();
        self.run_blocking(move |volume| volume.freshen(&key, id, &head)).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.run_blocking(move |volume| volume.remove(&key).map_err(failed("could not remove entries"))).await
    }

    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError> {
        let group = group.clone();
        self.run_blocking(move |volume| {
            volume.invalidate_group(&group).map_err(failed("could not remove a group"))
        })
        .await
    }

    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError> {
        let url = url.to_owned();
        self.run_blocking(move |volume| {
            volume.remove_prefix(&url).map_err(failed("could not remove entries"))
        })
        .await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.run_blocking(|volume| volume.clear().map_err(failed("could not clear the store"))).await
    }

    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError> {
        let group = group.clone();
        self.run_blocking(move |volume| {
            volume.mark_group_stale(&group, at).map_err(failed("could not mark a group stale"))
        })
        .await
    }

    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError> {
        let (url, volume) = (url.to_owned(), self.shared.volume());
        blocking(move || volume.mark_prefix_stale(&url, at)).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}

/// Runs an operation on a blocking thread of the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(operation).await.unwrap_or_else(|_| Err(closing()))
}

/// Reads bytes of a file: on this task if they are in memory, else on a blocking thread. Returns
/// fewer than `length` bytes if the file ends.
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
    let read = read.map_err(failed("could not read a stored body"))?;
    Ok(buffer.freeze(0..read))
}
