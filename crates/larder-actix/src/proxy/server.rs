//! The server of the reverse proxy: workers, keep-alive, TLS, graceful shutdown and reload.
//!
//! How a request is handled is in [`ReverseProxy`].

use std::{
    cell::RefCell,
    convert::Infallible,
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_http::{HttpService, KeepAlive, Request};
use actix_server::{Server, ServerHandle};
use actix_service::fn_service;

use super::ReverseProxy;

/// Options of a [`ProxyServer`].
///
/// ```
/// let options = larder_actix::ServerOptions::default().with_workers(2).with_signals(false);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Number of worker threads, each with its own connections. Values are limited to 1 to 512.
    /// Default: one for each available core.
    pub workers: Option<usize>,
    /// Time after which an idle connection is closed; 0 disables keep-alive. Default: 75 s.
    pub keep_alive: Duration,
    /// Longest time from the opening of a connection to the end of the first request's headers
    /// (over HTTP/2, of the handshake); 0 disables the timeout. Default: 10 s. When it passes, the
    /// connection is closed, after a 408 over HTTP/1. Later requests on the connection have no such
    /// limit.
    pub request_timeout: Duration,
    /// Time for requests in flight to end after a shutdown has begun, in whole seconds. Default:
    /// 30 s. When it passes, their connections are closed.
    pub shutdown_timeout: Duration,
    /// Maximum number of connections of one worker. Default: 25,000. When every worker has that
    /// many, no connection is accepted until one is closed.
    pub max_connections: usize,
    /// Whether SIGTERM and SIGINT shut down the server. Default: true.
    pub signals: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            workers: None,
            keep_alive: Duration::from_secs(75),
            request_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            max_connections: 25_000,
            signals: true,
        }
    }
}

impl ServerOptions {
    /// Sets the number of worker threads ([`workers`](Self::workers)).
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets the time after which an idle connection is closed ([`keep_alive`](Self::keep_alive)).
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets the longest time from the opening of a connection to the end of the first request's
    /// headers ([`request_timeout`](Self::request_timeout)).
    #[must_use]
    pub fn with_request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets the time for requests in flight to end after a shutdown has begun
    /// ([`shutdown_timeout`](Self::shutdown_timeout)).
    #[must_use]
    pub fn with_shutdown_timeout(mut self, shutdown_timeout: Duration) -> Self {
        self.shutdown_timeout = shutdown_timeout;
        self
    }

    /// Sets the maximum number of connections of one worker
    /// ([`max_connections`](Self::max_connections)).
    #[must_use]
    pub fn with_max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets whether SIGTERM and SIGINT shut down the server ([`signals`](Self::signals)).
    #[must_use]
    pub fn with_signals(mut self, signals: bool) -> Self {
        self.signals = signals;
        self
    }
}

/// A server for a [`ReverseProxy`]: a listening socket and its options.
///
/// [`run`](Self::run) configures the workers, and [`RunningProxy::serve`] serves until shutdown.
///
/// ```no_run
/// use std::sync::Arc;
/// use larder_actix::{ProxyOptions, ProxyServer, ReverseProxy, ServerOptions};
/// use larder_core::{Cache, Origin};
/// use larder_memory::MemoryStore;
///
/// async fn serve(make_origin: fn() -> Arc<dyn Origin>) -> std::io::Result<()> {
///     let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
///     let address = ([127, 0, 0, 1], 8080).into();
///     ProxyServer::bind(address, ServerOptions::default())?
///         .run(move || ReverseProxy::new(cache.clone(), make_origin(), ProxyOptions::default()))?
///         .serve()
///         .await
/// }
/// ```
pub struct ProxyServer {
    listener: TcpListener,
    options: ServerOptions,
    reloader: Reloader,
    #[cfg(feature = "tls")]
    tls: Option<rustls::ServerConfig>,
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A handle that makes the workers of a [`ProxyServer`] create their [`ReverseProxy`] again, for
/// example with a changed configuration; from [`ProxyServer::reloader`]. Clones reload the same
/// server.
#[derive(Debug, Clone, Default)]
pub struct Reloader(Arc<AtomicU64>);

impl Reloader {
    /// Makes each worker create its proxy again at its next request. Requests in flight continue
    /// with the previous proxy.
    pub fn reload(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of reloads so far.
    fn generation(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The proxy of one worker, with the generation at which it was created.
struct WorkerProxy<M> {
    make: M,
    reloader: Reloader,
    proxy: RefCell<(u64, Rc<ReverseProxy>)>,
}

impl<M: Fn() -> ReverseProxy> WorkerProxy<M> {
    /// Creates the worker's first proxy.
    fn new(make: M, reloader: Reloader) -> Self {
        let generation = reloader.generation();
        let proxy = RefCell::new((generation, Rc::new(make())));
        Self { make, reloader, proxy }
    }

    /// Returns the proxy; creates it again after a reload.
    fn proxy(&self) -> Rc<ReverseProxy> {
        let generation = self.reloader.generation();
        let mut current = self.proxy.borrow_mut();
        if current.0 != generation {
            *current = (generation, Rc::new((self.make)()));
        }
        Rc::clone(&current.1)
    }
}

impl ProxyServer {
    /// Binds a TCP address and listens on it; port 0 selects a free port.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the address cannot be bound.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            options,
            reloader: Reloader::default(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Enables TLS, with HTTP/2 and HTTP/1.1.
    ///
    /// `certificates` is the certificate chain, with the server's certificate first, and `key` is
    /// its private key, both in PEM. Also set [`ProxyOptions::https`](crate::ProxyOptions::https).
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] if one of them cannot be parsed, or if they do not match.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError("the certificate file is not valid PEM"))?;
        if chain.is_empty() {
            return Err(TlsError("the certificate file contains no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| TlsError("the key file contains no private key in PEM"))?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError("the TLS library supports no protocol version"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|_| {
            TlsError("the private key does not match the certificate, or its type is not supported")
        })?;
        self.tls = Some(config);
        Ok(self)
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the system does not report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns a handle that makes the workers call the closure of [`run`](Self::run) again.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Configures the workers; they start when [`RunningProxy::serve`] is awaited.
    ///
    /// `make` is called once in each worker, within the worker's runtime, and again after each
    /// [`reload`](Reloader::reload). Create the origin in it, so that its connections belong to the
    /// worker.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the listening socket cannot be used.
    pub fn run<M>(self, make: M) -> io::Result<RunningProxy>
    where
        M: Fn() -> ReverseProxy + Send + Clone + 'static,
    {
        let options = self.options;
        let mut builder = Server::build()
            .shutdown_timeout(options.shutdown_timeout.as_secs())
            .max_concurrent_connections(options.max_connections);
        if let Some(workers) = options.workers {
            builder = builder.workers(workers.clamp(1, 512));
        }
        if !options.signals {
            builder = builder.disable_signals();
        }
        let shutdown = builder.graceful_shutdown_signal();
        let reloader = self.reloader;
        let (keep_alive, request_timeout) = (options.keep_alive, options.request_timeout);
        // A macro, because the service has another type over TLS than over TCP.
        macro_rules! service {
            () => {{
                let worker = Rc::new(WorkerProxy::new(make.clone(), reloader.clone()));
                let shutdown = shutdown.clone();
                HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let shutdown = shutdown.clone();
                        async move { shutdown.notified().await }
                    })
                    .keep_alive(match keep_alive.is_zero() {
                        true => KeepAlive::Disabled,
                        false => KeepAlive::Timeout(keep_alive),
                    })
                    .client_request_timeout(request_timeout)
                    .tcp_nodelay(true)
                    .finish(fn_service(move |request: Request| {
                        let proxy = worker.proxy();
                        async move { Ok::<_, Infallible>(proxy.handle(request).await) }
                    }))
            }};
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            let service = move || service!().rustls_0_23(tls.clone());
            return Ok(RunningProxy { server: builder.listen("larder-tls", self.listener, service)?.run() });
        }
        let service = move || service!().tcp();
        Ok(RunningProxy { server: builder.listen("larder", self.listener, service)?.run() })
    }
}

/// A proxy that is ready to serve. It serves while [`serve`](Self::serve) is awaited.
pub struct RunningProxy {
    server: Server,
}

impl fmt::Debug for RunningProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningProxy")
    }
}

impl RunningProxy {
    /// Returns a handle that can pause, resume and stop the server from any task or thread.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Starts the workers, and serves until the server has been shut down and its requests in
    /// flight have ended.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the workers cannot be started.
    ///
    /// # Panics
    ///
    /// Panics outside of an actix or tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the workers at once, and with them the requests in flight. Use
    /// [`handle`](Self::handle) for a graceful shutdown.
    pub async fn serve(self) -> io::Result<()> {
        self.server.await
    }
}

/// The error of a certificate or private key that cannot be used. Its message states the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TlsError(&'static str);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::TlsError;

    #[test]
    fn an_error_prints_its_text() {
        assert_eq!(format!("{:?}", TlsError("no certificate")), "no certificate");
    }
}
