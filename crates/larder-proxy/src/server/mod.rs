//! The server of the reverse proxy: workers, connections with their timeouts and limits, TLS,
//! graceful shutdown and reload. How a request is handled is in [`ReverseProxy`].
//!
//! ```text
//! ProxyServer ─► RunningProxy ─► worker (a thread) ─► connection ─► hyper ─► ReverseProxy::handle
//!                                   │                    ├─ socket ──┐
//!                                   └─ limits            ├─ streams ─┴─► activity ◄─ timeouts
//!                                                        └─ tunnel, after a switch of protocols
//! ```

mod activity;
mod connection;
mod limits;
mod listener;
mod options;
mod reload;
mod shutdown;
mod socket;
mod streams;
mod timeouts;
mod tls;
mod tunnel;
mod worker;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    thread,
};

use tokio::sync::mpsc;

pub use self::{options::ServerOptions, reload::Reloader, shutdown::ServerHandle, tls::TlsError};
use self::{shutdown::Signals, worker::WorkerSetup};
use crate::ReverseProxy;

/// A server for a [`ReverseProxy`]: a listening socket and its options.
///
/// It serves HTTP/1.1 and HTTP/2; without TLS, HTTP/2 to clients that begin with it. [`run`](Self::run)
/// configures the workers, and [`RunningProxy::serve`] serves until shutdown.
///
/// ```no_run
/// use std::sync::Arc;
/// use larder_core::{Cache, Origin};
/// use larder_memory::MemoryStore;
/// use larder_proxy::{ProxyOptions, ProxyServer, ReverseProxy, ServerOptions};
///
/// async fn serve(make_origin: fn() -> Arc<dyn Origin>) -> std::io::Result<()> {
///     let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
///     let options = ProxyOptions::default();
///     let address = ([127, 0, 0, 1], 8080).into();
///     ProxyServer::bind(address, ServerOptions::default())?
///         .run(move || ReverseProxy::new(cache.clone(), make_origin(), options.clone()))?
///         .serve()
///         .await
/// }
/// ```
pub struct ProxyServer {
    listener: TcpListener,
    options: ServerOptions,
    reloader: Reloader,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl ProxyServer {
    /// Binds a TCP address and listens on it; port 0 selects a free port.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the address cannot be bound.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        Ok(Self {
            listener: listener::bind(address, options.backlog)?,
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
        self.tls = Some(tls::config(certificates, key)?.into());
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

    /// Configures the workers; they start when [`RunningProxy::serve`] is awaited. From this call
    /// on, SIGTERM and SIGINT no longer end the process, also if the proxy is never served, unless
    /// [`ServerOptions::signals`] is false.
    ///
    /// `make` is called once in each worker, within the worker's runtime, and again after each
    /// [`reload`](Reloader::reload). Create the origin in it, so that its connections belong to the
    /// worker.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the sockets of the workers cannot be created, or signals cannot be
    /// received.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime if [`ServerOptions::signals`] is true.
    pub fn run<M>(self, make: M) -> io::Result<RunningProxy>
    where
        M: Fn() -> ReverseProxy + Send + Clone + 'static,
    {
        let options = self.options;
        let mut listeners = Vec::new();
        for _ in 1..options.worker_count() {
            listeners.push(listener::another(&self.listener, options.backlog)?);
        }
        listeners.push(self.listener);
        let signals = options.signals.then(Signals::new).transpose()?;
        let handle = ServerHandle::new();
        let stages = handle.subscribe();
        let setup = WorkerSetup {
            options,
            make,
            reloader: self.reloader,
            stages,
            #[cfg(feature = "tls")]
            tls: self.tls,
        };
        let workers = listeners.into_iter().map(|listener| {
            let setup = setup.clone();
            Box::new(move || worker::run(listener, setup)) as WorkerMain
        });
        Ok(RunningProxy { workers: workers.collect(), signals, handle })
    }
}

/// Runs a worker on the thread that calls it.
type WorkerMain = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A proxy that is ready to serve. It serves while [`serve`](Self::serve) is awaited.
pub struct RunningProxy {
    workers: Vec<WorkerMain>,
    signals: Option<Signals>,
    handle: ServerHandle,
}

impl fmt::Debug for RunningProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningProxy")
    }
}

/// Reports the end of a worker when it is dropped, also by a panic.
struct WorkerEnd {
    ended: mpsc::UnboundedSender<io::Result<()>>,
    result: io::Result<()>,
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // Without a receiver, no one waits for the end.
        let _ = self.ended.send(result);
    }
}

/// Closes all connections when it is dropped.
struct CloseOnDrop(ServerHandle);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl RunningProxy {
    /// Returns a handle that can shut down the server from any task or thread.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Starts the workers, and serves until the server has been shut down and its requests in
    /// flight have ended.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if a worker cannot be started, or if one has panicked. The others are
    /// shut down then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the workers at once, and with them the requests in flight. Use
    /// [`handle`](Self::handle) for a graceful shutdown.
    pub async fn serve(self) -> io::Result<()> {
        let Self { workers, mut signals, handle } = self;
        let _close_on_drop = CloseOnDrop(handle.clone());
        let (ended, mut ends) = mpsc::unbounded_channel();
        for (number, worker) in workers.into_iter().enumerate() {
            let ended = ended.clone();
            let main = move || {
                let mut end = WorkerEnd { ended, result: Err(io::Error::other("a worker has panicked")) };
                end.result = worker();
            };
            thread::Builder::new().name(format!("larder-worker-{number}")).spawn(main)?;
        }
        drop(ended);
        let mut stopped = handle.subscribe();
        let mut result = Ok(());
        loop {
            let signal = async {
                match &mut signals {
                    Some(signals) => signals.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                end = ends.recv() => match end {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        handle.shutdown();
                        result = result.and(Err(error));
                    }
                    // Every worker has ended.
                    None => return result,
                },
                () = signal => {
                    if *stopped.borrow_and_update() == shutdown::Stage::Running {
                        handle.shutdown();
                    } else {
                        handle.close();
                    }
                }
            }
        }
    }
}
