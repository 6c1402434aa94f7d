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
mod admission;
mod certificates;
mod clients;
mod connection;
mod context;
mod descriptors;
mod limits;
mod listening;
mod options;
mod reload;
mod shutdown;
mod socket;
mod stream;
mod streams;
mod timeouts;
mod tunnel;
mod worker;

use std::{fmt, io, net::SocketAddr, thread};

use tokio::sync::mpsc;

#[cfg(feature = "tls")]
use self::certificates::CertificateWatch;
#[cfg(feature = "tls")]
pub use self::certificates::{CertificateExpiry, CertificateFiles, Certificates};
pub use self::{
    certificates::TlsError,
    listening::{InvalidProxyHeader, ListenAddress, ListenerOptions, ProxyHeader},
    options::ServerOptions,
    reload::Reloader,
    shutdown::ServerHandle,
};
use self::{
    clients::ClientCounts,
    listening::BoundListener,
    shutdown::Signals,
    worker::{WorkerListener, WorkerSetup},
};
use crate::ReverseProxy;

/// A server for a [`ReverseProxy`]: listening sockets and options.
///
/// It serves HTTP/1.1 and HTTP/2; without TLS, HTTP/2 to clients that begin with it. [`run`](Self::run)
/// configures the workers, and [`RunningProxy::serve`] serves until shutdown.
///
/// ```no_run
/// use std::sync::Arc;
/// use larder_core::{Cache, Origin};
/// use larder_memory::MemoryStore;
/// use larder_proxy::{ListenerOptions, ProxyOptions, ProxyServer, ReverseProxy, ServerOptions};
///
/// async fn serve(make_origin: fn() -> Arc<dyn Origin>) -> std::io::Result<()> {
///     let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
///     let options = ProxyOptions::default();
///     let address = ([127, 0, 0, 1], 8080).into();
///     ProxyServer::bind(address, ServerOptions::default())?
///         .listen(ListenerOptions::unix("/run/larder.sock"))?
///         .run(move || ReverseProxy::new(cache.clone(), make_origin(), options.clone()))?
///         .serve()
///         .await
/// }
/// ```
pub struct ProxyServer {
    listeners: Vec<BoundListener>,
    options: ServerOptions,
    reloader: Reloader,
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl ProxyServer {
    /// Creates a server without listeners: add them with [`listen`](Self::listen).
    pub fn new(options: ServerOptions) -> Self {
        Self { listeners: Vec::new(), options, reloader: Reloader::default() }
    }

    /// Binds a TCP address and listens on it; port 0 selects a free port.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the address cannot be bound.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        Self::new(options).listen(ListenerOptions::tcp(address))
    }

    /// Adds a listener. From this call on, the system accepts connections for it; they are served
    /// when [`RunningProxy::serve`] is awaited.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the address is in use, also by this server, or cannot be bound for
    /// another reason; and if the options are of no use: the PROXY protocol without networks, or a
    /// redirection to what is not a host.
    pub fn listen(mut self, listener: ListenerOptions) -> io::Result<Self> {
        // The system would admit it if the address may be taken over.
        if self.local_addrs()?.contains(&listener.address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.push(BoundListener::bind(listener, self.options.backlog)?);
        Ok(self)
    }

    /// Adds a listener on a socket that listens already, such as one of a service manager (socket
    /// activation). The address in `listener` is replaced by that of the socket. The workers share
    /// the socket. At a shutdown, connections that wait to be accepted stay with the process that
    /// has opened the socket.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the socket does not listen, or is neither for TCP nor a Unix socket;
    /// and if the options are of no use, as [`listen`](Self::listen) does.
    #[cfg(unix)]
    pub fn adopt(mut self, socket: std::os::fd::OwnedFd, listener: ListenerOptions) -> io::Result<Self> {
        self.listeners.push(BoundListener::adopt(socket, listener)?);
        Ok(self)
    }

    /// Enables TLS, with HTTP/2 and HTTP/1.1, on the listeners added so far that have neither
    /// certificates nor a redirection.
    ///
    /// `certificates` is the certificate chain, with the server's certificate first, and `key` is
    /// its private key, both in PEM. Use [`ListenerOptions::certificates`] for several, and for
    /// certificates that are renewed while the server runs.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] if one of them cannot be parsed, or if they do not match.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificates = Certificates::from_pem(certificates, key)?;
        for BoundListener { options, .. } in &mut self.listeners {
            if options.certificates.is_none() && options.redirect.is_none() {
                options.certificates = Some(certificates.clone());
            }
        }
        Ok(self)
    }

    /// Returns the address of the first listener on a TCP address.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if there is none, or if the system does not report the address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        for address in self.local_addrs()? {
            if let ListenAddress::Tcp(address) = address {
                return Ok(address);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the server has no listener on a TCP address"))
    }

    /// Returns the addresses of all listeners, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// Returns an I/O error if the system does not report an address.
    pub fn local_addrs(&self) -> io::Result<Vec<ListenAddress>> {
        self.listeners.iter().map(BoundListener::address).collect()
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
        let Self { listeners, options, reloader } = self;
        if listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the server has no listener"));
        }
        #[cfg(feature = "tls")]
        let certificates = listeners.iter().filter_map(|listener| listener.options.certificates.clone());
        #[cfg(feature = "tls")]
        let watched = (certificates.collect(), options.certificate_interval);
        let sockets = sockets_of_workers(listeners, &options)?;
        let signals = options.signals.then(Signals::new).transpose()?;
        let handle = ServerHandle::new();
        let setup = WorkerSetup {
            max_connections: descriptors::connections_per_worker(&options),
            clients: ClientCounts::new(options.max_connections_per_client),
            options,
            make,
            reloader,
            stages: handle.subscribe(),
        };
        let workers = sockets.into_iter().map(|listeners| {
            let setup = setup.clone();
            Box::new(move || worker::run(listeners, setup)) as WorkerMain
        });
        Ok(RunningProxy {
            workers: workers.collect(),
            signals,
            handle,
            #[cfg(feature = "tls")]
            watched,
        })
    }
}

/// Returns the sockets of each worker.
fn sockets_of_workers(
    listeners: Vec<BoundListener>,
    options: &ServerOptions,
) -> io::Result<Vec<Vec<WorkerListener>>> {
    let mut workers: Vec<Vec<_>> = (0..options.worker_count()).map(|_| Vec::new()).collect();
    for listener in listeners {
        #[cfg(feature = "tls")]
        let tls = match &listener.options.certificates {
            Some(certificates) => {
                Some(std::sync::Arc::new(certificates.server_config().map_err(io::Error::other)?))
            }
            None => None,
        };
        let bind = |bound| WorkerListener {
            bound,
            #[cfg(feature = "tls")]
            tls: tls.clone(),
        };
        for worker in &mut workers[1..] {
            worker.push(bind(listener.another(options.backlog)?));
        }
        workers[0].push(bind(listener));
    }
    Ok(workers)
}

/// Binds a listening socket for another server of this program.
#[cfg(feature = "config")]
pub(crate) fn bind_tcp(
    address: SocketAddr,
    backlog: u32,
    take_over: bool,
) -> io::Result<std::net::TcpListener> {
    listening::bind_tcp(address, backlog, take_over)
}

/// Runs a worker on the thread that calls it.
type WorkerMain = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A proxy that is ready to serve. It serves while [`serve`](Self::serve) is awaited.
pub struct RunningProxy {
    workers: Vec<WorkerMain>,
    signals: Option<Signals>,
    handle: ServerHandle,
    #[cfg(feature = "tls")]
    watched: (Vec<Certificates>, std::time::Duration),
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
        #[cfg(feature = "tls")]
        let _watch = CertificateWatch::start(self.watched.0, self.watched.1)?;
        let Self { workers, mut signals, handle, .. } = self;
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
