//! A server for the reverse proxy: workers, keep-alive, TLS, graceful shutdown.

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

/// How a [`ProxyServer`] serves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Threads, each with its own connections. Default: one for each core.
    pub workers: Option<usize>,
    /// How long an idle connection is kept. Default: 75 s.
    pub keep_alive: Duration,
    /// How long the head of a request may take from its first byte. Default: 10 s.
    pub request_timeout: Duration,
    /// How long requests in flight may take after a shutdown has begun. Default: 30 s.
    pub shutdown_timeout: Duration,
    /// Connections of one worker, at most. Default: 25,000.
    pub max_connections: usize,
    /// Whether SIGTERM and SIGINT shut it down. Default: yes.
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

/// A reverse proxy that listens. It is a future: awaited, it serves until it is shut down.
#[derive(Debug)]
pub struct ProxyServer {
    listener: TcpListener,
    options: ServerOptions,
    reloader: Reloader,
    #[cfg(feature = "tls")]
    tls: Option<rustls::ServerConfig>,
}

/// Has the workers make their proxies anew, each with its next request. Clones reload the same server.
#[derive(Debug, Clone, Default)]
pub struct Reloader(Arc<AtomicU64>);

impl Reloader {
    /// From the next request on. Requests that are being answered are answered as they began.
    pub fn reload(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn generation(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A worker's proxy, and which generation it is of.
struct Current<M> {
    make: M,
    reloader: Reloader,
    proxy: RefCell<(u64, Rc<ReverseProxy>)>,
}

impl<M: Fn() -> ReverseProxy> Current<M> {
    fn new(make: M, reloader: Reloader) -> Self {
        let generation = reloader.generation();
        let proxy = RefCell::new((generation, Rc::new(make())));
        Self { make, reloader, proxy }
    }

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
    /// Binds `address`; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// If it can't be bound.
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

    /// Serves over TLS, HTTP/2 and HTTP/1.1, with a certificate chain and a key in PEM.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError("the certificate file is not PEM"))?;
        if chain.is_empty() {
            return Err(TlsError("the certificate file has no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| TlsError("the key file has no private key in PEM"))?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError("the TLS library has no protocol version to offer"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|_| TlsError("the key does not belong to the certificate"))?;
        self.tls = Some(config);
        Ok(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// To have `make` of [`run`](Self::run) called again.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Begins to serve. `make` is called once in each worker, in its own runtime, and again after each
    /// [`reload`](Reloader::reload): make the origin there, so that its connections belong to the worker.
    ///
    /// # Errors
    ///
    /// If the workers can't be started.
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
        // One recipe for two kinds of stream: the service's type has the stream's in it.
        macro_rules! service {
            () => {{
                let current = Rc::new(Current::new(make.clone(), reloader.clone()));
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
                        let proxy = current.proxy();
                        async move { Ok::<_, Infallible>(proxy.answer(request).await) }
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

/// A proxy that serves. Awaited, it returns when it has been shut down and its requests are answered.
pub struct RunningProxy {
    server: Server,
}

impl fmt::Debug for RunningProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningProxy")
    }
}

impl RunningProxy {
    /// To stop it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until it is shut down.
    ///
    /// # Errors
    ///
    /// If accepting fails for good.
    pub async fn serve(self) -> io::Result<()> {
        self.server.await
    }
}

/// What is wrong with a certificate or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsError(&'static str);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for TlsError {}
