//! A proxy on a real socket, and clients of each protocol.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod client;
pub(crate) mod frames;
#[cfg(feature = "config")]
pub(crate) mod running;
pub(crate) mod websocket;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use http::{Response, StatusCode};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use larder_core::{Cache, Limits, Origin};
use larder_memory::MemoryStore;
use larder_origin::{HyperOptions, HyperOrigin, UrlRewrite};
use larder_proxy::{
    ListenAddress, ListenerOptions, ProxyOptions, ProxyServer, Reloader, ReverseProxy, Route, ServerHandle,
    ServerOptions,
};
use larder_testkit::RawOrigin;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::client::{Client, Reply, Sender};

/// Longest wait of a test for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A protocol that the proxy serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http1Tls,
    Http2Tls,
    /// HTTP/2 without TLS.
    H2c,
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2Tls, Self::H2c];

    pub(crate) fn is_http_2(self) -> bool {
        matches!(self, Self::Http2Tls | Self::H2c)
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }
}

/// A running proxy. It is closed when this is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) cache: Cache,
    pub(crate) handle: ServerHandle,
    pub(crate) reloader: Reloader,
    /// The addresses of all listeners.
    pub(crate) addresses: Vec<ListenAddress>,
    protocol: Protocol,
    certificate: Vec<u8>,
    served: Option<thread::JoinHandle<()>>,
}

/// How a proxy is started.
pub(crate) struct Setup {
    pub(crate) protocol: Protocol,
    pub(crate) server: ServerOptions,
    pub(crate) proxy: ProxyOptions,
    pub(crate) limits: Limits,
    pub(crate) listen: SocketAddr,
    /// Whether the route passes requests to switch protocols.
    pub(crate) upgrades: bool,
    /// Listeners besides the first.
    pub(crate) listeners: Vec<ListenerOptions>,
}

impl Setup {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            server: ServerOptions::default().with_workers(1).with_signals(false),
            proxy: ProxyOptions::default().with_https(protocol.is_tls()),
            limits: Limits::default(),
            listen: ([127, 0, 0, 1], 0).into(),
            upgrades: true,
            listeners: Vec::new(),
        }
    }

    /// Adds a listener.
    pub(crate) fn listener(mut self, listener: ListenerOptions) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Changes the options of the server.
    pub(crate) fn server(mut self, change: impl FnOnce(ServerOptions) -> ServerOptions) -> Self {
        self.server = change(self.server);
        self
    }

    /// Changes the options of the proxy.
    pub(crate) fn proxy(mut self, change: impl FnOnce(ProxyOptions) -> ProxyOptions) -> Self {
        self.proxy = change(self.proxy);
        self
    }

    /// Starts a proxy in front of a server over HTTP.
    pub(crate) fn in_front_of(self, origin: &RawOrigin) -> Proxy {
        self.to(HyperOptions::to(&origin.url()).expect("a URL"))
    }

    /// Starts a proxy in front of a server over HTTP with these options.
    pub(crate) fn to(self, options: HyperOptions) -> Proxy {
        self.start(move || Arc::new(HyperOrigin::new(options.clone()).expect("valid options")) as _)
    }

    /// Starts a proxy in front of a path of a server over HTTP, of which the URLs become public.
    pub(crate) fn in_front_of_path(self, origin: &RawOrigin, path: &str) -> Proxy {
        let url = format!("{}{path}", origin.url());
        self.start(move || {
            let options = HyperOptions::to(&url).expect("a URL");
            let server = HyperOrigin::new(options.clone()).expect("valid options");
            Arc::new(UrlRewrite::new(Arc::new(server), &options)) as _
        })
    }

    /// Starts a proxy in front of an origin without a network.
    pub(crate) fn with(self, origin: Arc<dyn Origin>) -> Proxy {
        self.start(move || Arc::clone(&origin))
    }

    fn start(self, make: impl Fn() -> Arc<dyn Origin> + Send + Clone + 'static) -> Proxy {
        let upgrades = self.upgrades;
        self.with_route(move || Route::to(make()).upgrades(upgrades))
    }

    /// Starts a proxy with one route.
    pub(crate) fn with_route(self, make: impl Fn() -> Route + Send + Clone + 'static) -> Proxy {
        let Self { protocol, server, proxy, limits, listen, listeners, .. } = self;
        let cache = Cache::builder(Arc::new(MemoryStore::default())).limits(limits).build();
        let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let mut server = ProxyServer::bind(listen, server).expect("a free port");
        if protocol.is_tls() {
            let (cert, key) = (generated.cert.pem(), generated.signing_key.serialize_pem());
            server = server.tls(cert.as_bytes(), key.as_bytes()).expect("they match");
        }
        for listener in listeners {
            server = server.listen(listener).expect("a free address");
        }
        let (address, reloader) = (server.local_addr().expect("an address"), server.reloader());
        let addresses = server.local_addrs().expect("addresses");
        let (sender, handle) = mpsc::channel();
        let worker_cache = cache.clone();
        let served = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let make =
                    move || ReverseProxy::with_routes(worker_cache.clone(), vec![make()], proxy.clone());
                let running = server.run(make).expect("sockets");
                sender.send(running.handle()).expect("the test waits");
                running.serve().await.expect("the workers start");
            });
        });
        let handle = handle.recv().expect("it runs");
        let certificate = generated.cert.der().to_vec();
        Proxy { address, cache, handle, reloader, addresses, protocol, certificate, served: Some(served) }
    }
}

impl Proxy {
    /// Returns the TCP address of the listener at this position.
    pub(crate) fn address_of(&self, position: usize) -> SocketAddr {
        match &self.addresses[position] {
            ListenAddress::Tcp(address) => *address,
            other => panic!("{other} is no TCP address"),
        }
    }

    /// Waits until the server has ended.
    pub(crate) fn join(&mut self) {
        if let Some(served) = self.served.take() {
            served.join().expect("it serves without a panic");
        }
    }

    /// Opens a connection without TLS.
    pub(crate) async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.expect("it accepts");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Opens a connection, over TLS if the protocol has it.
    pub(crate) async fn open(&self) -> Box<dyn Stream> {
        let tcp = self.tcp().await;
        if !self.protocol.is_tls() {
            return Box::new(tcp);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone().into()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols =
            vec![if self.protocol.is_http_2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").expect("a name");
        Box::new(connector.connect(name, tcp).await.expect("a handshake"))
    }

    /// Opens a connection of the protocol.
    pub(crate) async fn client(&self) -> Client {
        let io = TokioIo::new(self.open().await);
        let sender = if self.protocol.is_http_2() {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("a handshake");
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Client { sender, scheme: if self.protocol.is_tls() { "https" } else { "http" } }
    }

    /// Sends a GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.client().await.get(path).await
    }

    /// Sends bytes unchanged on a connection without TLS, and reads until it is closed.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.tcp().await;
        // The proxy may close the connection before everything is sent.
        let _ = stream.write_all(bytes.as_ref()).await;
        read_to_end(&mut stream).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(served) = self.served.take() {
            let ended = served.join();
            assert!(ended.is_ok() || thread::panicking(), "the server has panicked");
        }
    }
}

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Reads until the connection is closed.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one response with `Content-Length` from a connection that stays open.
pub(crate) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("an answer").expect("open");
        bytes.push(byte);
    }
    let head = String::from_utf8(bytes).expect("text");
    let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.expect("the content");
    head + &String::from_utf8(content).expect("text")
}

/// Returns the first value of a header of a response in text.
pub(crate) fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Returns the status code of a response in text; 0 for none.
pub(crate) fn status(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The address of the tests' clients.
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Returns a response that may be stored for a minute.
pub(crate) fn storable(content: impl Into<larder_core::Body>) -> Response<larder_core::Body> {
    let mut response = Response::new(content.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("cache-control", http::HeaderValue::from_static("max-age=60"));
    response
}

/// Runs tests of these names once for each protocol.
#[macro_export]
macro_rules! on_each_protocol {
    ($($name:ident)*) => {
        $crate::on_each_protocol!(@ http_1 Http1 $($name)*);
        $crate::on_each_protocol!(@ http_1_tls Http1Tls $($name)*);
        $crate::on_each_protocol!(@ http_2_tls Http2Tls $($name)*);
        $crate::on_each_protocol!(@ h2c H2c $($name)*);
    };
    (@ $module:ident $protocol:ident $($name:ident)*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name($crate::setting::Protocol::$protocol).await;
                }
            )*
        }
    };
}
