//! Limits the encoders and decoders that exist at the same time, since each has several MiB of
//! memory for as long as a client takes to read its response.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Counts encoders and decoders. Clones count together.
#[derive(Clone)]
pub(crate) struct Coders(Arc<Shared>);

struct Shared {
    /// Those of bodies that are read piece by piece.
    streams: AtomicUsize,
    /// Whether the limit was reached since the last time that few of them existed.
    is_reported: AtomicBool,
    /// For content in memory: as many as can run at the same time. Others wait.
    whole: Semaphore,
}

impl Default for Coders {
    fn default() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Shared {
            streams: AtomicUsize::new(0),
            is_reported: AtomicBool::new(false),
            whole: Semaphore::new(parallelism),
        }))
    }
}

impl fmt::Debug for Coders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coders").field(&self.0.streams).finish()
    }
}

impl Coders {
    /// Counts one more for a body that is read piece by piece. Returns `None` if there are `max` of
    /// them already, which is logged once until there are half as many.
    pub(crate) fn stream(&self, max: usize) -> Option<CoderPermit> {
        let streams = &self.0.streams;
        let counted = streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1));
        if counted.is_ok_and(|before| before < max / 2) {
            self.0.is_reported.store(false, Ordering::Relaxed);
        }
        if counted.is_err() && !self.0.is_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_encoders = max,
                "as many responses are encoded as may be: further ones are sent without a content coding"
            );
        }
        counted.is_ok().then(|| CoderPermit(Arc::clone(&self.0)))
    }

    /// Waits until content in memory may be encoded.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub(crate) async fn whole(&self) -> Option<SemaphorePermit<'_>> {
        self.0.whole.acquire().await.ok()
    }
}

/// An encoder or decoder that is counted until this is dropped.
pub(crate) struct CoderPermit(Arc<Shared>);

impl Drop for CoderPermit {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
