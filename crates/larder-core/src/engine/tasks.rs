//! Work that goes on without the request that began it: fills whose client is gone, revalidations.
//!
//! It is bounded in number, each chunk of it is bounded in time by what it awaits, and a shutdown can wait for it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// Counts the running tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: AtomicUsize,
    idle: Notify,
}

impl Tasks {
    /// Runs `work` on the current runtime.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(self);
        tokio::spawn(async move {
            work.await;
            drop(running);
        });
    }

    /// Returns when nothing runs any more.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// Counts down when dropped, so that a task that panics or is cancelled counts as ended.
struct Running(Arc<Tasks>);

impl Running {
    fn new(tasks: &Arc<Tasks>) -> Self {
        tasks.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
