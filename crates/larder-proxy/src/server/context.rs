//! What the connections of a worker share.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use larder_core::LogThrottle;

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
#[derive(Debug)]
pub(super) struct Warnings([LogThrottle; 4]);

impl Default for Warnings {
    fn default() -> Self {
        Self([const { LogThrottle::new(WARNING_INTERVAL) }; 4])
    }
}

impl Warnings {
    /// Writes a warning, unless there was one of its kind shortly before.
    pub(super) fn write(&self, kind: Warning, message: &dyn fmt::Display) {
        if let Some(events) = self.0[kind as usize].admit(1) {
            tracing::warn!(events, "{message}");
        }
    }
}
