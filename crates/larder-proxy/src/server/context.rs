//! What the connections of a worker share.

use std::{cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{clients::ClientCounts, options::ServerOptions, reload::WorkerProxy};

/// Shortest time between two warnings about a limit.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What the connections of a worker share.
pub(super) struct ConnectionContext<M> {
    pub(super) options: ServerOptions,
    pub(super) proxy: WorkerProxy<M>,
    pub(super) clients: Arc<ClientCounts>,
    pub(super) warnings: Rc<Warnings>,
}

/// Writes warnings about connections, and leaves out those that follow shortly.
#[derive(Debug, Default)]
pub(super) struct Warnings(Cell<Option<Instant>>);

impl Warnings {
    /// Writes a warning, unless there was one shortly before.
    pub(super) fn write(&self, message: &dyn fmt::Display) {
        if self.0.get().is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
            self.0.set(Some(Instant::now()));
            tracing::warn!("{message}");
        }
    }
}
