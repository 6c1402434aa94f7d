//! A running proxy of a configuration.

use std::{io::Write as _, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use larder_memory::MemoryStore;
use larder_proxy::{BoundAddress, Config, ListenAddress, Proxy, ProxyHandle};
use larder_testkit::RawOrigin;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::PATIENCE;

/// A running proxy.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) addresses: Vec<BoundAddress>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) handle: ProxyHandle,
    served: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Starts a proxy with one worker. It listens on a free port.
    pub(crate) async fn start(text: &str) -> Self {
        Self::with(&format!("listen = \"127.0.0.1:0\"\nworkers = 1\n{text}"), |proxy| proxy).await
    }

    /// Starts a proxy of a whole configuration, after a change.
    pub(crate) async fn with(text: &str, change: impl FnOnce(Proxy) -> Proxy) -> Self {
        let proxy = Proxy::from_config(parse(text), Arc::new(MemoryStore::default())).expect("valid");
        let proxy = change(proxy).bind().expect("free ports");
        let addresses = proxy.addresses().to_vec();
        let address = proxy.local_addr().unwrap_or(([0, 0, 0, 0], 0).into());
        let (admin, handle) = (proxy.admin_addr(), proxy.handle());
        Self { address, addresses, admin, handle, served: tokio::spawn(proxy.run()) }
    }

    /// Reloads, and returns the description of the changes.
    pub(crate) fn reload(&self, text: &str) -> String {
        let text = format!("listen = \"127.0.0.1:0\"\nworkers = 1\n{text}");
        self.handle.reload(parse(&text)).expect("valid").to_string()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        exchange(self.address, path).await
    }

    /// Connects to the listener at this position, which is on TCP.
    pub(crate) async fn connect(&self, position: usize) -> TcpStream {
        let ListenAddress::Tcp(address) = self.addresses[position].address() else {
            panic!("{} is no TCP address", self.addresses[position])
        };
        TcpStream::connect(address).await.expect("it accepts")
    }

    pub(crate) async fn stop(self) {
        self.handle.shutdown();
        timeout(PATIENCE, self.served).await.expect("it ends").expect("no panic").expect("no error");
    }
}

pub(crate) fn parse(text: &str) -> Config {
    Config::parse(text, |_| None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Sends a GET request, and returns the response.
pub(crate) async fn exchange(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut response)).await;
    read.expect("an answer").expect("text");
    response
}

/// Starts an origin that answers with its name.
pub(crate) fn origin(name: &'static str) -> RawOrigin {
    RawOrigin::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length";
        write!(stream, "{head}: {}\r\n\r\n{name}", name.len()).is_ok()
    })
}

/// Waits until a file contains a text, and returns its content.
pub(crate) async fn content_with(path: &Path, text: &str) -> String {
    let waiting = async {
        loop {
            let content = std::fs::read_to_string(path).unwrap_or_default();
            if content.contains(text) {
                return content;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no '{text}' in {}", path.display()))
}
