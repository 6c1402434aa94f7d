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

/// What a warning is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Warning {
    /// The worker has as many connections as it may have.
    Full,
    /// A client has as many connections as it may have.
    Client,
    /// A connection does not begin as the PROXY protocol has to.
    ProxyProtocol,
    /// The system has refused a connection.
    Accept,
}

/// Writes warnings about connections, and leaves out those that follow one of their kind shortly.
#[derive(Debug, Default)]
pub(super) struct Warnings([Cell<Option<Instant>>; 4]);

impl Warnings {
    /// Writes a warning, unless there was one of its kind shortly before.
    pub(super) fn write(&self, kind: Warning, message: &dyn fmt::Display) {
        let last = &self.0[kind as usize];
        if last.get().is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
            last.set(Some(Instant::now()));
            tracing::warn!("{message}");
        }
    }
}
