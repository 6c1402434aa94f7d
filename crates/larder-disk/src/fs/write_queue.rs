//! Lets writers wait in one queue, which is bounded: for the lock of the directory, which a process
//! that is stopped may hold, and for a slow disk. A writer in the queue occupies no thread.

use std::{sync::Arc, time::Duration};

use larder_core::StoreError;
use tokio::{sync::Semaphore, time::timeout};

use crate::{error::busy, fs::blocking::blocking};

/// Number of operations that run, or wait for the lock, on a blocking thread at the same time.
const RUNNING: usize = 8;
/// Bytes that one unit of the queue's length stands for.
const UNIT: usize = 8 << 10;
/// Length of the queue in units: 32 MiB of bodies, or 4096 operations.
const WAITING: usize = 4096;
/// Longest wait for a thread. After that the operation fails.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The queue of one store.
#[derive(Debug)]
pub(crate) struct WriteQueue {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for WriteQueue {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(RUNNING)), waiting: Semaphore::new(WAITING) }
    }
}

impl WriteQueue {
    /// Runs an operation that writes `bytes` bytes on a blocking thread, once it is its turn.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](larder_core::StoreErrorKind::Unavailable) if the queue is full, or if it is
    /// not its turn within two seconds; the error of the operation.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        operation: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let running = if let Ok(running) = Arc::clone(&self.running).try_acquire_owned() {
            running
        } else {
            let units = u32::try_from(1 + bytes / UNIT).unwrap_or(u32::MAX);
            let Ok(_waiting) = self.waiting.try_acquire_many(units) else {
                return Err(busy("too many operations wait for the cache directory"));
            };
            match timeout(MAX_WAIT, Arc::clone(&self.running).acquire_owned()).await {
                Ok(Ok(running)) => running,
                _ => return Err(busy("the cache directory did not become free within 2 s")),
            }
        };
        blocking(move || {
            let result = operation();
            drop(running);
            result
        })
        .await
    }
}
