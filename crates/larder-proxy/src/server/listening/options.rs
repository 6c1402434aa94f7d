//! Defines the options of one listener of a [`ProxyServer`](crate::ProxyServer).

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use larder_core::adapter::TrustedProxies;

#[cfg(feature = "tls")]
use crate::Certificates;
use crate::HttpsRedirect;

/// Where a listener waits for connections.
///
/// ```
/// use larder_proxy::ListenAddress;
///
/// assert_eq!(ListenAddress::Tcp(([127, 0, 0, 1], 8080).into()).to_string(), "127.0.0.1:8080");
/// assert_eq!(ListenAddress::Unix("/run/larder.sock".into()).to_string(), "unix:/run/larder.sock");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket. Only on Unix systems.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Options of one listener of a [`ProxyServer`](crate::ProxyServer).
///
/// ```
/// use larder_proxy::{HttpsRedirect, ListenerOptions};
///
/// // Port 80 redirects to HTTPS; a load balancer connects to a Unix socket and reports its clients.
/// let public = ListenerOptions::tcp(([0, 0, 0, 0], 80).into()).with_redirect(HttpsRedirect::default());
/// let balanced = ListenerOptions::unix("/run/larder.sock").with_unix_mode(0o666);
/// # let _ = (public, balanced);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerOptions {
    /// Where the listener waits for connections. Port 0 selects a free port.
    pub address: ListenAddress,
    /// Permissions of the file of a Unix socket: who may connect. Default: `0o660`, the owner and
    /// the group.
    pub unix_mode: u32,
    /// Whether the listener may take over the address of a process that still listens on it, for a
    /// restart without a gap: start the new process, wait until it listens, then stop the old one.
    /// Default: false, an address in use is an error.
    ///
    /// Over TCP, this works on Linux, for processes of one user that both are a
    /// [`ProxyServer`](crate::ProxyServer); until the old one stops, both get connections. A Unix
    /// socket is replaced at once.
    pub take_over: bool,
    /// The proxies in front that send a header of the PROXY protocol, version 1 or 2, before
    /// anything else on each connection. The address in it then counts as that of the client: in
    /// the access log, in forwarded fields, and for limits. Default: none, the protocol is off. If
    /// a header of version 2 reports that the client uses TLS (`PP2_TYPE_SSL`), its scheme is
    /// `https`.
    ///
    /// If it is on, a connection without a valid header is closed, and so is one from an address
    /// that is not in this set. On a Unix socket, the set is not looked at: the permissions of the
    /// file decide who may connect. A header may have 107 bytes in version 1 and 4 KiB in
    /// version 2, and has to arrive within 5 s.
    pub proxy_protocol: Option<TrustedProxies>,
    /// The certificates of the listener. Default: none, which is HTTP without TLS.
    #[cfg(feature = "tls")]
    pub certificates: Option<Certificates>,
    /// Redirects all requests to HTTPS instead of serving them. Default: none.
    pub redirect: Option<HttpsRedirect>,
}

impl ListenerOptions {
    /// Creates the options of a listener on an IP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(ListenAddress::Tcp(address))
    }

    /// Creates the options of a listener on a Unix socket. Its clients count as being at 127.0.0.1.
    ///
    /// A file of a socket that no process listens on is replaced, and the file is removed when the
    /// server stops.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(ListenAddress::Unix(path.into()))
    }

    fn new(address: ListenAddress) -> Self {
        Self {
            address,
            unix_mode: 0o660,
            take_over: false,
            proxy_protocol: None,
            #[cfg(feature = "tls")]
            certificates: None,
            redirect: None,
        }
    }

    /// Checks what would make every connection or request fail.
    pub(super) fn check(&self) -> io::Result<()> {
        let invalid = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        let is_tcp = matches!(self.address, ListenAddress::Tcp(_));
        if is_tcp && self.proxy_protocol.as_ref().is_some_and(TrustedProxies::is_empty) {
            return invalid("the PROXY protocol needs the networks of the proxies that send it".to_owned());
        }
        match self.redirect.as_ref().and_then(HttpsRedirect::invalid_host) {
            Some(host) => invalid(format!("{host:?} is not a host to redirect to, such as www.example.com")),
            None => Ok(()),
        }
    }

    /// Sets where the listener waits for connections ([`address`](Self::address)).
    #[must_use]
    pub fn with_address(mut self, address: ListenAddress) -> Self {
        self.address = address;
        self
    }

    /// Sets the permissions of the file of a Unix socket ([`unix_mode`](Self::unix_mode)).
    #[must_use]
    pub fn with_unix_mode(mut self, unix_mode: u32) -> Self {
        self.unix_mode = unix_mode;
        self
    }

    /// Sets whether the address may be taken over from another process
    /// ([`take_over`](Self::take_over)).
    #[must_use]
    pub fn with_take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// Sets the proxies in front that send a header of the PROXY protocol
    /// ([`proxy_protocol`](Self::proxy_protocol)).
    #[must_use]
    pub fn with_proxy_protocol(mut self, proxy_protocol: TrustedProxies) -> Self {
        self.proxy_protocol = Some(proxy_protocol);
        self
    }

    /// Sets the certificates of the listener, which enables TLS with HTTP/2 and HTTP/1.1
    /// ([`certificates`](Self::certificates)).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Sets the redirection of all requests to HTTPS ([`redirect`](Self::redirect)).
    #[must_use]
    pub fn with_redirect(mut self, redirect: HttpsRedirect) -> Self {
        self.redirect = Some(redirect);
        self
    }
}
