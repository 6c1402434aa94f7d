//! The public store. It decides what runs on the calling task and what on a blocking thread; the
//! operations themselves are functions of `lookup`, `commit`, `removal` and `stats`.

use std::{fmt, io, path::Path, sync::Arc};

use async_trait::async_trait;
use larder_core::{
    CacheKey, CacheStore, Candidates, EntryId, InvalidationFeed, Leases, OwnedScope, Purged, Removals,
    Reservation, Scope, StoreError, StoredHead, Timestamp,
};

use crate::{
    DiskOptions, DiskStats,
    error::{failed, inspected},
    fs::{blocking::blocking, pread::ReadMode},
    maintenance,
    pending_removal::PendingRemoval,
    shared::Shared,
    state::counters::Counters,
    stats::collect_stats,
    volume::{Volume, commit::freshen, lookup::lookup, marking::mark_stale, removal},
    writer::DiskReservation,
};

/// Stores responses in a directory, which several processes can share.
///
/// Cloning is cheap and shares the store. When the last clone is dropped, the counters are saved
/// and the segment that is being written is closed. If the directory is removed or its state file
/// is damaged, the store creates it again within about a second. Until then lookups fail or find
/// nothing, and responses are not stored.
///
/// The methods need a Tokio runtime with its timer: reads and writes that block run on its blocking
/// threads.
///
/// # Examples
///
/// ```no_run
/// use larder_disk::{DiskOptions, DiskStore};
///
/// # fn open() -> std::io::Result<DiskStore> {
/// let store = DiskStore::open("/var/cache/app", DiskOptions::default().with_max_bytes(10 << 30))?;
/// # Ok(store)
/// # }
/// ```
///
/// # Cancel safety
///
/// All futures can be dropped at any point. An operation that already runs on a blocking thread
/// completes there. A removal that is given up is carried out by the maintenance thread. Dropping a
/// writer, or the future of its commit before that runs on a blocking
/// thread, discards the entry.
#[derive(Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl DiskStore {
    /// Opens a cache directory, creating it if it does not exist. Blocks.
    ///
    /// Opening takes the same time for ten million entries as for none. It starts the maintenance
    /// thread of the store, which first reclaims what crashed processes have left. Other processes
    /// may have the same directory open; its limit is the same for all of them
    /// ([`DiskOptions::max_bytes`]).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the directory contains files that are not a
    /// Larder cache; otherwise the error of the file system if the directory cannot be created or
    /// written.
    pub fn open(path: impl AsRef<Path>, options: DiskOptions) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (shared, stopped) = Shared::open(path, options)?;
        maintenance::start(&shared, stopped);
        Ok(Self { shared })
    }

    /// Opens an existing cache directory, to look at its entries or to remove some. Blocks.
    ///
    /// Nothing is created, evicted or reclaimed, and lookups are not counted. Removals and
    /// [`mark_stale`](CacheStore::mark_stale) work as usual; [`reserve`](CacheStore::reserve)
    /// fails. If the files may only be read, lookups and statistics work.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn purge() -> Result<(), Box<dyn std::error::Error>> {
    /// use larder_core::{CacheStore as _, Scope};
    ///
    /// let store = larder_disk::DiskStore::open_existing("/var/cache/app")?;
    /// store.remove(Scope::Prefix("https://example.com/news/")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such directory, or it has no cache of
    /// this version; [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a Larder cache;
    /// [`InvalidData`](io::ErrorKind::InvalidData) if its state file is damaged, which
    /// [`open`](Self::open) repairs by removing everything; otherwise the error of the file system.
    pub fn open_existing(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { shared: Shared::open_existing(std::path::absolute(path)?)? })
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
        let volume = self.shared.volume();
        blocking(move || collect_stats(&volume).map_err(failed("could not read the index"))).await
    }

    /// Returns the open directory.
    pub(crate) fn volume(&self) -> Arc<Volume> {
        self.shared.volume()
    }

    /// Runs an operation that changes the directory on a blocking thread, once it is its turn.
    /// Counts its failure.
    async fn run_blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Arc<Volume>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let volume = self.shared.volume();
        let running = Arc::clone(&volume);
        let result = volume.write_queue.run(0, move || operation(&running)).await;
        result.inspect_err(|error| {
            if error.kind() != larder_core::StoreErrorKind::Gone {
                Counters::add(&volume.counters.failed);
            }
        })
    }
}

#[async_trait]
impl CacheStore for DiskStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let volume = self.shared.volume();
        match lookup(&volume, key, ReadMode::NonBlocking) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let key = key.clone();
                blocking(move || {
                    lookup(&volume, &key, ReadMode::Blocking).map_err(|error| {
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
        if !volume.is_maintained {
            return Err(inspected());
        }
        let reserved_at = volume.state_file.sequence().map_err(failed("could not read the state file"))?;
        Ok(Box::new(DiskReservation { volume, key: key.clone(), reserved_at }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        _keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let key = key.clone();
        self.run_blocking(move |volume| freshen(volume, &key, id, &head)).await
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        let key = key.clone();
        let evicted = self.run_blocking(move |volume| {
            removal::evict(volume, &key, id).map_err(failed("could not evict an entry"))
        });
        evicted.await
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        let mut pending = PendingRemoval::new(self.shared.volume(), scope);
        let scope = OwnedScope::of(scope);
        let removed = self.run_blocking(move |volume| {
            removal::remove(volume, scope.as_scope()).map_err(failed("could not remove entries"))
        });
        let removed = removed.await?;
        let volume = self.shared.volume();
        let syncing = Arc::clone(&volume);
        volume.removal_syncs.wait(move || removal::sync(&syncing)).await?;
        pending.is_confirmed = true;
        Ok(removed)
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        let scope = OwnedScope::of(scope);
        self.run_blocking(move |volume| mark_stale(volume, scope.as_scope(), at)).await
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.shared.is_maintained().then_some(self as &dyn Leases)
    }

    fn removals(&self) -> Option<&dyn Removals> {
        Some(self)
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}
