//! The state that the workers, the admin listener and the handle share: the current routes, and
//! what the program provides.
//!
//! `origins` builds the routes. This module's parent replaces them after a reload.

use std::{pin::Pin, sync::Arc, time::Duration};

use larder_core::adapter::TrustedProxies;
use tokio::sync::watch;

use super::{listeners::CheckedListeners, origins::RouteTable};
use crate::config::Config;

/// Renders the metrics of the program in the format of Prometheus.
pub(super) type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Returns the statistics of the stores, as a list in JSON.
pub(super) type StoreStats = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What a reload replaces.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Config,
    pub(super) table: RouteTable,
    pub(super) trusted_proxies: TrustedProxies,
}

/// What only a restart changes.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) config: Config,
    /// The longest waits for the head and within the body of an origin's response.
    pub(super) limits: (Duration, Duration),
    pub(super) listeners: CheckedListeners,
}

/// What the workers, the admin listener and the handle share.
#[derive(Debug)]
pub(super) struct Shared(watch::Sender<Arc<Current>>);

impl Shared {
    /// Creates the state with the first configuration.
    pub(super) fn new(current: Current) -> Self {
        Self(watch::Sender::new(Arc::new(current)))
    }

    /// Returns what is in force.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.borrow())
    }

    /// Replaces what is in force.
    pub(super) fn replace(&self, current: Current) {
        self.0.send_replace(Arc::new(current));
    }

    /// Returns a receiver that is notified of each replacement.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Current>> {
        self.0.subscribe()
    }
}
