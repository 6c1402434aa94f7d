//! Owns the state that all clones of a store share: the open directory, and what is needed to open
//! it again. When to reopen it is decided in `maintenance`.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, Sender, channel},
    },
};

use parking_lot::RwLock;

use crate::{DiskOptions, volume::Volume};

/// The state that all clones of a store share.
pub(crate) struct Shared {
    path: PathBuf,
    options: DiskOptions,
    volume: RwLock<Arc<Volume>>,
    /// Ends the maintenance thread, if there is one, when it is dropped.
    stop: Option<Sender<()>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Shared {
    /// Opens the directory. The receiver disconnects when the state is dropped, which ends the
    /// maintenance thread.
    pub(crate) fn open(path: PathBuf, options: DiskOptions) -> io::Result<(Arc<Self>, Receiver<()>)> {
        let volume = RwLock::new(Arc::new(Volume::open(&path, options.clone())?));
        let (stop, stopped) = channel();
        Ok((Arc::new(Self { path, options, volume, stop: Some(stop) }), stopped))
    }

    /// Opens an existing directory, without a maintenance thread.
    pub(crate) fn open_existing(path: PathBuf) -> io::Result<Arc<Self>> {
        let volume = RwLock::new(Arc::new(Volume::open_existing(&path)?));
        Ok(Arc::new(Self { path, options: DiskOptions::default(), volume, stop: None }))
    }

    /// Returns whether this process stores entries, and evicts for them.
    pub(crate) fn is_maintained(&self) -> bool {
        self.stop.is_some()
    }

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
        volume.leases.close(&volume.directory);
    }
}
