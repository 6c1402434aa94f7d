//! The connections to origins: reused, limited in number and age, and closed when idle.
//!
//! [`Pool`] has a [`Server`] for each destination. A request takes a [`Lease`] from it: an idle
//! connection of HTTP/1.1, a stream on a shared one of HTTP/2, or a new one. The lease gives the
//! connection back when the response has ended.

mod lease;
mod server;
mod shared;
mod waiting;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(crate) use lease::Lease;
pub(crate) use server::{LeaseError, Server};

use crate::{
    HyperOptions, OptionsError, connect::Connector, destination::Destination, options::check_server,
};

/// Number of destinations from which on those without connections are forgotten.
const MAX_QUIET_DESTINATIONS: usize = 256;

/// Limits of the connections to one destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) idle_timeout: Duration,
    pub(crate) idle_connections: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_waiting: usize,
    pub(crate) max_age: Duration,
}

/// The connections to all destinations.
pub(crate) struct Pool {
    connector: Connector,
    limits: Limits,
    /// The server of [`HyperOptions::to`], which needs no lookup.
    fixed: Option<Arc<Server>>,
    others: Mutex<Others>,
}

/// The servers that requests have named.
#[derive(Default)]
struct Others {
    servers: HashMap<Destination, Arc<Server>>,
    /// Number of servers at which the quiet ones are forgotten.
    sweep_at: usize,
}

impl Pool {
    /// Creates a pool without connections.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionsError`] if the options for TLS or the URI of the fixed server are
    /// invalid.
    pub(crate) fn new(options: &HyperOptions) -> Result<Self, OptionsError> {
        let connector = Connector::new(options)?;
        let limits = Limits {
            idle_timeout: options.idle_timeout,
            idle_connections: options.idle_connections,
            max_connections: options.max_connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS),
            max_waiting: options.max_waiting,
            max_age: options.max_age,
        };
        options.to.as_ref().map(check_server).transpose()?;
        let fixed = options.to.as_ref().and_then(Destination::of);
        let fixed = fixed.map(|to| Arc::new(Server::new(to, connector.clone(), limits)));
        Ok(Self { connector, limits, fixed, others: Mutex::default() })
    }

    /// Returns the server for requests: the fixed one, or that of `uri`. `None` if the URI has no
    /// host.
    pub(crate) fn server(&self, uri: &http::Uri) -> Option<Arc<Server>> {
        if let Some(fixed) = &self.fixed {
            return Some(Arc::clone(fixed));
        }
        let to = Destination::of(uri)?;
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = others.servers.get(&to) {
            return Some(Arc::clone(server));
        }
        if others.servers.len() >= others.sweep_at.max(MAX_QUIET_DESTINATIONS) {
            others.servers.retain(|_, server| Arc::strong_count(server) > 1 || !server.is_quiet());
            others.sweep_at = others.servers.len() * 2;
        }
        let server = Arc::new(Server::new(to.clone(), self.connector.clone(), self.limits));
        others.servers.insert(to, Arc::clone(&server));
        Some(server)
    }
}
