//! Lets operations that change one file at the same time share its syncs. Those that wait occupy no
//! thread.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use larder_core::StoreError;
use tokio::sync::Mutex;

use crate::{error::failed, fs::blocking::blocking};

/// The syncs of one file.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    /// Number of operations that have requested a sync.
    requested: AtomicU64,
    /// Number of operations that a sync has covered. Locked during a sync.
    covered: Arc<Mutex<u64>>,
}

impl SharedSync {
    /// Waits until everything that this process has written before is on the disk. `sync` runs on a
    /// blocking thread, unless another operation has run it meanwhile.
    pub(crate) async fn wait(
        &self,
        sync: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mine = self.requested.fetch_add(1, Ordering::AcqRel) + 1;
        let mut covered = Arc::clone(&self.covered).lock_owned().await;
        if *covered >= mine {
            return Ok(());
        }
        let covers = self.requested.load(Ordering::Acquire);
        // The thread holds the lock: if this future is dropped, the next sync waits for this one.
        blocking(move || {
            sync().map_err(failed("could not sync to the disk"))?;
            *covered = covers;
            Ok(())
        })
        .await
    }
}
