//! The connections to one server.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
};

use hyper::client::conn::http1::SendRequest;
use larder_core::{Body, BodyError};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until},
};

use super::{Lease, Limits, shared::SharedConnection, waiting::Waiting};
use crate::{
    connect::{Connector, Opened},
    destination::Destination,
};

/// A server and the connections to it.
pub(crate) struct Server {
    to: Destination,
    connector: Connector,
    limits: Limits,
    /// A permit for each exchange over HTTP/1.1, and for each connection of HTTP/2. An idle
    /// connection needs none: a request that has a permit takes it before it opens another.
    permits: Semaphore,
    /// Number of requests that wait for a permit.
    waiting: AtomicUsize,
    connections: Mutex<Connections>,
    /// Notified when a connection that others wait for was opened, or could not be opened.
    opened: Notify,
}

#[derive(Default)]
struct Connections {
    /// Idle connections of HTTP/1.1, in the order in which they became idle.
    idle: Vec<IdleConnection>,
    /// Connections of HTTP/2.
    shared: Vec<SharedConnection>,
    /// Number of exchanges that the origin has last allowed on a connection of HTTP/2.
    allowed: Option<usize>,
    /// Whether the last connection that was opened is of HTTP/2; `None` before the first.
    is_http2: Option<bool>,
    /// Whether a connection is being opened that may be shared.
    is_opening: bool,
    /// Whether the last such attempt has failed.
    has_failed: bool,
    /// Whether a task closes idle connections.
    has_reaper: bool,
}

/// An idle connection of HTTP/1.1.
struct IdleConnection {
    sender: SendRequest<Body>,
    opened: Instant,
    since: Instant,
}

/// The reason why a request has no connection.
#[derive(Debug)]
pub(crate) enum LeaseError {
    /// The connection could not be opened.
    Connect(BodyError),
    /// Too many requests wait for a connection.
    Busy,
}

impl Server {
    /// Creates a server without connections.
    pub(super) fn new(to: Destination, connector: Connector, limits: Limits) -> Self {
        Self {
            to,
            connector,
            limits,
            permits: Semaphore::new(limits.max_connections),
            waiting: AtomicUsize::new(0),
            connections: Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// Returns what the connections are opened to.
    pub(crate) fn destination(&self) -> &Destination {
        &self.to
    }

    /// Returns whether connections use TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.to.is_tls
    }

    /// Returns whether there are no connections, in use or idle.
    pub(super) fn is_quiet(&self) -> bool {
        let connections = self.connections();
        connections.idle.iter().all(|idle| idle.sender.is_closed())
            && connections.shared.iter().all(|shared| shared.is_expired(&self.limits, Instant::now()))
    }

    /// Takes a connection for one exchange: a shared or idle one, or a new one.
    ///
    /// With `fresh`, no idle connection is taken: the origin may have closed it.
    ///
    /// # Errors
    ///
    /// Returns a [`LeaseError`] if no connection could be opened, or if too many requests wait.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A connection that is being opened is then closed.
    pub(crate) async fn lease(self: &Arc<Self>, fresh: bool) -> Result<Lease, LeaseError> {
        if let Some(lease) = self.join_shared()? {
            return Ok(lease);
        }
        let permit = self.permit().await?;
        if !fresh && let Some(lease) = self.take_idle() {
            permit.keep();
            return Ok(lease);
        }
        // Boxed: most requests find a connection, and their futures need no room for a handshake.
        Box::pin(self.open_or_share(permit)).await
    }

    /// Opens a connection, or takes a stream of one that another request opens.
    async fn open_or_share(self: &Arc<Self>, permit: Permit<'_>) -> Result<Lease, LeaseError> {
        let mut opening = match self.connector.may_be_http2(&self.to) {
            false => None,
            true => match self.wait_for_shared().await {
                Ok(lease) => return Ok(lease),
                Err(opening) => opening,
            },
        };
        let opened = match self.connector.open(&self.to).await {
            Ok(opened) => opened,
            Err(error) => {
                if let Some(opening) = &mut opening {
                    opening.has_failed = true;
                }
                return Err(LeaseError::Connect(error));
            }
        };
        permit.keep();
        Ok(match opened {
            Opened::Http1(sender) => {
                self.connections().is_http2 = Some(false);
                Lease::http1(Arc::clone(self), sender, Instant::now(), false)
            }
            Opened::Http2(sender, allowed) => {
                let shared = SharedConnection::new(sender, allowed);
                let (sender, state) = shared.join();
                let mut connections = self.connections();
                connections.is_http2 = Some(true);
                connections.shared.push(shared);
                self.start_reaper(&mut connections);
                drop(connections);
                Lease::http2(Arc::clone(self), sender, state)
            }
        })
    }

    /// Opens a connection of HTTP/1.1 for one exchange, after which it may belong to another
    /// protocol. No idle connection is taken: a request that switches protocols is sent once.
    ///
    /// # Errors
    ///
    /// Returns a [`LeaseError`] if no connection could be opened, or if too many requests wait.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. A connection that is being opened is then closed.
    pub(crate) async fn lease_own(self: &Arc<Self>) -> Result<Lease, LeaseError> {
        let permit = self.permit().await?;
        let sender = self.connector.open_http1(&self.to).await.map_err(LeaseError::Connect)?;
        permit.keep();
        Ok(Lease::http1(Arc::clone(self), sender, Instant::now(), false))
    }

    /// Takes a permit for a connection, or waits for one.
    async fn permit(&self) -> Result<Permit<'_>, LeaseError> {
        if let Ok(permit) = self.permits.try_acquire() {
            permit.forget();
            return Ok(Permit(Some(self)));
        }
        let _waiting = Waiting::enter(&self.waiting, self.limits.max_waiting).ok_or(LeaseError::Busy)?;
        match self.permits.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(LeaseError::Busy),
        }
        Ok(Permit(Some(self)))
    }

    /// Returns a permit.
    pub(super) fn release_permit(&self) {
        self.permits.add_permits(1);
    }

    /// Starts an exchange on a connection of HTTP/2, if there is one. If all are full and no
    /// further one may be opened, the exchange waits on one of them for the end of others.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseError::Busy`] if too many exchanges wait in this way.
    fn join_shared(self: &Arc<Self>) -> Result<Option<Lease>, LeaseError> {
        if !self.connector.may_be_http2(&self.to) {
            return Ok(None);
        }
        let mut connections = self.connections();
        if let Some(lease) = self.find_shared(&mut connections) {
            return Ok(Some(lease));
        }
        if connections.shared.is_empty() || self.permits.available_permits() > 0 {
            return Ok(None);
        }
        let (allowed, now) = (connections.allowed, Instant::now());
        let waiting: usize = connections.shared.iter().map(|shared| shared.waiting(allowed)).sum();
        if waiting >= self.limits.max_waiting {
            return Err(LeaseError::Busy);
        }
        let usable = connections.shared.iter().filter(|shared| shared.is_usable(&self.limits, now));
        let joined = usable.min_by_key(|shared| shared.open()).map(SharedConnection::join);
        Ok(joined.map(|(sender, state)| Lease::http2(Arc::clone(self), sender, state)))
    }

    /// Starts an exchange on the connection with the most room.
    fn find_shared(self: &Arc<Self>, connections: &mut Connections) -> Option<Lease> {
        let now = Instant::now();
        self.remove_expired(connections, now);
        let known = connections.shared.iter().filter_map(SharedConnection::allowed).min();
        let allowed = known.or(connections.allowed);
        connections.allowed = allowed;
        let usable = connections
            .shared
            .iter()
            .filter(|shared| shared.is_usable(&self.limits, now) && shared.has_room(allowed));
        let (sender, state) = usable.min_by_key(|shared| shared.open())?.join();
        Some(Lease::http2(Arc::clone(self), sender, state))
    }

    /// Waits while another request opens a connection that can be shared.
    ///
    /// # Errors
    ///
    /// Returns the guard of this request's own opening, if it has to open a connection and others
    /// should wait for it.
    async fn wait_for_shared(self: &Arc<Self>) -> Result<Lease, Option<Opening<'_>>> {
        loop {
            let mut opened = pin!(self.opened.notified());
            {
                let mut connections = self.connections();
                if let Some(lease) = self.find_shared(&mut connections) {
                    return Ok(lease);
                }
                if connections.is_http2 == Some(false) {
                    return Err(None);
                }
                if !connections.is_opening {
                    connections.is_opening = true;
                    return Err(Some(Opening { server: self, has_failed: false }));
                }
                opened.as_mut().enable();
            }
            opened.await;
            // If the other one has failed, each request finds out by itself, all at the same time.
            if self.connections().has_failed {
                return Err(None);
            }
        }
    }

    /// Takes the idle connection that was used last.
    fn take_idle(self: &Arc<Self>) -> Option<Lease> {
        let now = Instant::now();
        let mut connections = self.connections();
        let mut busy = Vec::new();
        let mut found = None;
        while let Some(idle) = connections.idle.pop() {
            if now.duration_since(idle.since) >= self.limits.idle_timeout {
                // Those below it are idle for longer.
                connections.idle.clear();
                break;
            }
            if idle.sender.is_closed() || now.duration_since(idle.opened) >= self.limits.max_age {
                continue;
            }
            if idle.sender.is_ready() {
                found = Some(idle);
                break;
            }
            // Its task has not yet read the end of the response.
            busy.push(idle);
        }
        connections.idle.extend(busy.into_iter().rev());
        drop(connections);
        let IdleConnection { sender, opened, .. } = found?;
        Some(Lease::http1(Arc::clone(self), sender, opened, true))
    }

    /// Puts a connection of HTTP/1.1 back after its exchange, and releases the permit.
    pub(super) fn give_back(self: &Arc<Self>, sender: SendRequest<Body>, opened: Instant) {
        let since = Instant::now();
        if !sender.is_closed() && since.duration_since(opened) < self.limits.max_age {
            let mut connections = self.connections();
            if connections.idle.len() < self.limits.idle_connections {
                connections.idle.push(IdleConnection { sender, opened, since });
                self.start_reaper(&mut connections);
            }
        }
        self.release_permit();
    }

    /// Removes connections of HTTP/2 that have ended, or were not used for long.
    fn remove_expired(&self, connections: &mut Connections, now: Instant) {
        let before = connections.shared.len();
        connections.shared.retain(|shared| !shared.is_expired(&self.limits, now));
        self.permits.add_permits(before - connections.shared.len());
    }

    /// Starts the task that closes idle connections, unless it runs.
    fn start_reaper(self: &Arc<Self>, connections: &mut Connections) {
        if !connections.has_reaper
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            connections.has_reaper = true;
            runtime.spawn(reap(Arc::downgrade(self)));
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that were idle for too long, until none is left.
async fn reap(server: Weak<Server>) {
    loop {
        let next = {
            let Some(server) = server.upgrade() else { return };
            let now = Instant::now();
            let mut connections = server.connections();
            let timeout = server.limits.idle_timeout;
            connections
                .idle
                .retain(|idle| !idle.sender.is_closed() && now.duration_since(idle.since) < timeout);
            server.remove_expired(&mut connections, now);
            let oldest = connections.idle.first().map(|idle| idle.since + timeout);
            match (oldest, connections.shared.is_empty()) {
                (None, true) => {
                    connections.has_reaper = false;
                    return;
                }
                (Some(oldest), true) => oldest,
                (oldest, false) => oldest.unwrap_or(now + timeout).min(now + timeout),
            }
        };
        sleep_until(next.max(Instant::now() + std::time::Duration::from_millis(10))).await;
    }
}

/// A permit for a connection. It is released unless it is kept by a lease.
struct Permit<'s>(Option<&'s Server>);

impl Permit<'_> {
    /// Leaves the permit to a lease, which releases it.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(server) = self.0 {
            server.release_permit();
        }
    }
}

/// The request that opens a connection for which others wait.
struct Opening<'s> {
    server: &'s Server,
    has_failed: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut connections = self.server.connections();
        connections.is_opening = false;
        connections.has_failed = self.has_failed;
        drop(connections);
        self.server.opened.notify_waiters();
    }
}
