//! [`Proxy`]: a proxy from a configuration, with its routes, origins, access log and admin
//! listener.
//!
//! `config` has the keys; `checked` validates them, with `validate`, and `origins` builds the
//! routes. `changes` compares two configurations at a reload.

mod access_writer;
mod admin;
mod certificate;
mod changes;
mod checked;
mod limits;
mod listeners;
mod metrics_text;
mod origins;
mod purge;
mod request_log;
mod shared;
mod summary;
mod validate;
mod when;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use larder_core::{Cache, CacheStore, Limits, Rules};
use larder_metrics::Counters;
use tokio::time::Instant;
use tracing_appender::non_blocking::WorkerGuard;

use self::{
    access_writer::{AccessWriter, OpenLog, Reopen},
    admin::Admin,
    checked::Checked,
    listeners::{InheritedSockets, cannot_listen},
    shared::{MetricsText, Shared, Started, StoreStats},
};
pub use self::{admin::admin_token, changes::ConfigChanges, listeners::BoundAddress, summary::ConfigSummary};
use crate::{
    ProxyOptions, Reloader, ReverseProxy, RunningProxy, ServerHandle,
    config::{Config, ConfigError},
    server::bind_tcp,
};

/// Number of connections that the system keeps for the admin listener until they are accepted.
const ADMIN_BACKLOG: u32 = 128;

/// Longest wait at the end for bodies that are being stored.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A caching reverse proxy with the settings of a [`Config`].
///
/// ```no_run
/// use std::sync::Arc;
/// use larder_memory::MemoryStore;
/// use larder_proxy::{Config, ConfigError, Proxy};
///
/// async fn serve() -> Result<(), Box<dyn std::error::Error>> {
///     let config = Config::read("larder.toml".as_ref(), |name| std::env::var(name).ok())?;
///     let proxy = Proxy::from_config(config, Arc::new(MemoryStore::default()))?.bind()?;
///     println!("listening on {}", proxy.local_addr()?);
///     proxy.run().await?;
///     Ok(())
/// }
/// ```
pub struct Proxy {
    checked: Checked,
    cache: Cache,
    counters: Arc<Counters>,
    metrics: Option<MetricsText>,
    store_stats: Option<StoreStats>,
    take_over: bool,
    sockets: InheritedSockets,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Checks everything that [`from_config`](Self::from_config) checks, and returns a description
    /// of the proxy. Opens no connection, and creates no file.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if a value is invalid, or a file that a key names cannot be read.
    pub fn check(config: Config) -> Result<ConfigSummary, ConfigError> {
        Checked::new(config).map(|checked| ConfigSummary::new(&checked))
    }

    /// Checks a configuration, and creates the proxy with this store. Opens no socket yet.
    ///
    /// With an admin listener, its metrics register with the recorder of the `metrics` crate that
    /// is installed at this point.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if a value is invalid, or a file that a key names cannot be read.
    pub fn from_config(config: Config, store: Arc<dyn CacheStore>) -> Result<Self, ConfigError> {
        let checked = Checked::new(config)?;
        let counters = Arc::new(Counters::new());
        let config = &checked.current.config;
        let mut rules = if config.private { Rules::private() } else { Rules::shared() };
        rules.store_set_cookie |= config.share_set_cookie;
        rules.store_request_errors |= config.share_request_errors;
        rules.tag_fields.clone_from(&checked.tag_fields);
        let mut limits = Limits::default()
            .with_origin_timeout(checked.current.table.max_origin_timeout())
            .with_body_timeout(checked.current.table.max_body_timeout());
        if let Some(timeout) = config.stale_if_error_timeout {
            limits = limits.with_stale_if_error_timeout(timeout);
        }
        let mut builder = Cache::builder(store).rules(rules).limits(limits);
        // Without an admin listener, no one could read the counters.
        if let Some(observer) = request_log::observer(config.admin.is_some().then_some(&counters)) {
            builder = builder.observer(observer);
        }
        Ok(Self {
            cache: builder.build(),
            checked,
            counters,
            metrics: None,
            store_stats: None,
            take_over: false,
            sockets: InheritedSockets::default(),
        })
    }

    /// Sets the function that renders the metrics of the program in the format of Prometheus, for
    /// `GET /metrics` of the admin listener. Default: none; the health of the origins is there in
    /// any case.
    #[must_use]
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// Sets the function that returns the statistics of the stores as a list in JSON, for `GET
    /// /stats` of the admin listener. Default: none.
    #[must_use]
    pub fn with_store_stats<F, R>(mut self, stats: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = String> + Send + 'static,
    {
        self.store_stats = Some(Arc::new(move || Box::pin(stats())));
        self
    }

    /// Sets whether to listen also if another proxy of the same user listens on the address
    /// ([`ListenerOptions::take_over`](crate::ListenerOptions::take_over)), also on that of the
    /// admin listener. Default: false.
    ///
    /// While both listen, each request to the admin listener reaches one of them, and a purge of a
    /// store in memory concerns that one. The old one leaves its admin listener to the new one as
    /// soon as it shuts down.
    #[must_use]
    pub fn with_take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// Adds a socket that listens already, such as one of a service manager (`LISTEN_FDS`), for
    /// listeners with `listen = "fd:NAME"`. The order of the calls is that of the positions.
    #[cfg(unix)]
    #[must_use]
    pub fn with_socket(mut self, name: impl Into<String>, socket: std::os::fd::OwnedFd) -> Self {
        self.sockets.add(name.into(), socket);
        self
    }

    /// Returns the cache, which can also be used without the proxy.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Binds the addresses, and opens the access log. From this call on, SIGTERM and SIGINT no
    /// longer end the process.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if an address or the file of the access log cannot be opened.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn bind(self) -> Result<BoundProxy, ConfigError> {
        let Self { checked, cache, counters, metrics, store_stats, take_over, sockets } = self;
        let Checked { current, token, purge_clients, listeners, .. } = checked;
        let config = current.config.clone();
        let locate = |error| config.locate(error);
        let log = AccessWriter::open(config.log.as_ref(), config.admin.is_some()).map_err(locate)?;
        let OpenLog { writer, reopen, guard } = log;
        let bound = listeners.bind(limits::server_options(&config), take_over, sockets);
        let (server, addresses) = bound.map_err(locate)?;
        listeners.warn_of_expiry();
        let admin_listener = config.admin.as_ref().map(|admin| listen_for_admin(admin.listen, take_over));
        let admin_listener = admin_listener.transpose().map_err(locate)?;
        // Each connection knows whether its client uses TLS.
        let mut options = writer.map(|log| ProxyOptions::default().with_access_log(log)).unwrap_or_default();
        if let Some(clients) = purge_clients {
            options = options.with_purges(move |head, peer| clients.permit(head, peer));
        }
        let waits = (current.table.max_origin_timeout(), current.table.max_body_timeout());
        let shared = Arc::new(Shared::new(current));
        let admin = admin_listener.map(|listener| {
            let (cache, shared, started) = (cache.clone(), Arc::clone(&shared), Instant::now());
            let certificates = listeners.certificates().cloned().collect();
            (Admin { cache, counters, metrics, store_stats, shared, certificates, started, token }, listener)
        });
        let (address, reloader) = (server.local_addr(), server.reloader());
        let (worker_shared, worker_cache) = (Arc::clone(&shared), cache.clone());
        let running = server.run(move || {
            let current = worker_shared.current();
            let options = options.clone().with_trusted_proxies(current.trusted_proxies.clone());
            let options = limits::limit_content(options, &current.config.limits);
            ReverseProxy::with_routes(worker_cache.clone(), current.table.routes(), options)
        });
        let running = running.map_err(|error| locate(ConfigError::io("listen", error)))?;
        let handle = ProxyHandle {
            shared,
            reloader,
            server: running.handle(),
            reopen,
            started: Arc::new(Started { config, limits: waits, listeners }),
        };
        Ok(BoundProxy { address, addresses, running, admin, cache, handle, guard })
    }
}

/// Binds the admin listener.
fn listen_for_admin(address: SocketAddr, take_over: bool) -> Result<TcpListener, ConfigError> {
    let listener = bind_tcp(address, ADMIN_BACKLOG, take_over);
    listener.map_err(|error| cannot_listen("admin.listen", &address, &error))
}

/// A proxy with its sockets open. It serves while [`run`](Self::run) is awaited.
pub struct BoundProxy {
    address: io::Result<SocketAddr>,
    addresses: Vec<BoundAddress>,
    running: RunningProxy,
    admin: Option<(Admin, TcpListener)>,
    cache: Cache,
    handle: ProxyHandle,
    guard: Option<WorkerGuard>,
}

impl fmt::Debug for BoundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl BoundProxy {
    /// Returns the first TCP address that the proxy listens on.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if there is none, or if the system does not report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Returns the addresses of all listeners, in their order.
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// Returns the address of the admin listener, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.1.local_addr().ok()
    }

    /// Returns a handle that reloads and shuts down the proxy.
    pub fn handle(&self) -> ProxyHandle {
        self.handle.clone()
    }

    /// Serves until the proxy has been shut down, its requests in flight have ended and bodies have
    /// been stored, for which it waits up to 5 s.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if a worker cannot be started, or if one has panicked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the proxy at once, and with it the requests in flight. Use
    /// [`handle`](Self::handle) for a graceful shutdown.
    pub async fn run(self) -> io::Result<()> {
        let Self { running, admin, cache, handle, guard, .. } = self;
        let _flush_on_drop = guard;
        let admin = async {
            if let Some((admin, listener)) = admin {
                // A successor has the address from here on: what it purges must be its own.
                admin::serve(admin, listener, handle.server.stopping()).await;
            }
            std::future::pending::<()>().await;
        };
        let health_checks = async {
            let mut changes = handle.shared.subscribe();
            loop {
                // Stops when it is dropped.
                let _checks = changes.borrow_and_update().table.start_health_checks();
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let result = tokio::select! {
            result = running.serve() => result,
            () = admin => Ok(()),
            () = health_checks => Ok(()),
        };
        cache.drain(DRAIN_TIMEOUT).await;
        result
    }
}

/// A handle that reloads and shuts down a [`BoundProxy`] from any task or thread. Clones concern
/// the same proxy.
///
/// ```no_run
/// use larder_proxy::{Config, ConfigError, ProxyHandle};
///
/// fn reload(handle: &ProxyHandle) -> Result<(), ConfigError> {
///     let config = Config::read("larder.toml".as_ref(), |name| std::env::var(name).ok())?;
///     println!("{}", handle.reload(config)?);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ProxyHandle {
    shared: Arc<Shared>,
    reloader: Reloader,
    server: ServerHandle,
    reopen: Reopen,
    started: Arc<Started>,
}

impl ProxyHandle {
    /// Applies a configuration: routes, compression, clients' directives and trusted proxies, from
    /// the next request on. Requests in flight end with the previous routes. Files that routes name
    /// and those of the certificate are read again, and the file of the access log is opened again.
    ///
    /// Returns what has changed, and which changes need a restart.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if the configuration is invalid. Nothing changes then.
    pub fn reload(&self, config: Config) -> Result<ConfigChanges, ConfigError> {
        let Checked { current, listeners, .. } = Checked::new(config)?;
        self.started.listeners.replace_certificates(&listeners);
        let changes = ConfigChanges::new(&self.started, &self.shared.current().config, &current);
        self.shared.replace(current);
        self.reloader.reload();
        self.reopen.request();
        Ok(changes)
    }

    /// Waits until the proxy begins to shut down, by a signal or by [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn stopping(&self) {
        self.server.stopping().await;
    }

    /// Stops accepting connections, closes idle ones, and lets requests in flight end within 30 s.
    pub fn shutdown(&self) {
        self.server.shutdown();
    }

    /// Closes all connections at once, also those with requests in flight.
    pub fn close(&self) {
        self.server.close();
    }
}
