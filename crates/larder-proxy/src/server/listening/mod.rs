//! The listening sockets of a server: how they are bound, how a worker accepts from all of them,
//! and how they end.
//!
//! `options` describes a listener, `tcp` and `unix` bind it, `preamble` reads the header of the
//! PROXY protocol.

mod options;
mod preamble;
mod proxy_header;
mod tcp;
#[cfg(unix)]
mod unix;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    rc::Rc,
    task::{Context, Poll},
};

pub(super) use self::preamble::{PreambleError, read_header};
#[cfg(feature = "config")]
pub(super) use self::tcp::bind as bind_tcp;
pub use self::{
    options::{ListenAddress, ListenerOptions},
    proxy_header::{InvalidProxyHeader, ProxyHeader},
};
use super::stream::RawStream;

/// The address that counts as that of a client on a Unix socket: it is on this machine.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A listener with its first socket.
#[derive(Debug)]
pub(super) struct BoundListener {
    socket: ListeningSocket,
    pub(super) options: ListenerOptions,
}

/// A listening socket.
#[derive(Debug)]
enum ListeningSocket {
    /// A socket of this server's own.
    Tcp(TcpListener),
    /// A socket that another process may use too, such as the service manager that has opened it.
    SharedTcp(TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, Option<unix::SocketFile>),
}

impl BoundListener {
    /// Binds a listener and listens on it.
    pub(super) fn bind(options: ListenerOptions, backlog: u32) -> io::Result<Self> {
        options.check()?;
        let socket = match &options.address {
            ListenAddress::Tcp(address) => {
                ListeningSocket::Tcp(tcp::bind(*address, backlog, options.take_over)?)
            }
            #[cfg(unix)]
            ListenAddress::Unix(path) => {
                let (socket, file) = unix::bind(path, options.unix_mode, backlog, options.take_over)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
                ListeningSocket::Unix(socket, Some(file))
            }
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { socket, options })
    }

    /// Takes a socket that listens already. Its address replaces that of the options.
    #[cfg(unix)]
    pub(super) fn adopt(socket: std::os::fd::OwnedFd, mut options: ListenerOptions) -> io::Result<Self> {
        options.check()?;
        let socket = socket2::Socket::from(socket);
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the inherited socket does not listen"));
        }
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let socket = if address.is_unix() {
            options.address = ListenAddress::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned());
            ListeningSocket::Unix(socket.into(), None)
        } else {
            let invalid =
                || io::Error::new(io::ErrorKind::InvalidInput, "the inherited socket is not for TCP");
            options.address = ListenAddress::Tcp(address.as_socket().ok_or_else(invalid)?);
            ListeningSocket::SharedTcp(socket.into())
        };
        Ok(Self { socket, options })
    }

    /// Returns the address, with the port that the system has chosen.
    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.socket {
            ListeningSocket::Tcp(socket) | ListeningSocket::SharedTcp(socket) => {
                ListenAddress::Tcp(socket.local_addr()?)
            }
            #[cfg(unix)]
            ListeningSocket::Unix(_, Some(file)) => ListenAddress::Unix(file.path().to_owned()),
            #[cfg(unix)]
            ListeningSocket::Unix(..) => self.options.address.clone(),
        })
    }

    /// Returns the listener of one more worker.
    pub(super) fn another(&self, backlog: u32) -> io::Result<Self> {
        let socket = match &self.socket {
            ListeningSocket::Tcp(first) => ListeningSocket::Tcp(tcp::another(first, backlog)?),
            ListeningSocket::SharedTcp(first) => ListeningSocket::SharedTcp(first.try_clone()?),
            // The workers share the socket. The system wakes all that wait, and the first accepts:
            // passing connections between runtimes would cost more.
            #[cfg(unix)]
            ListeningSocket::Unix(first, file) => ListeningSocket::Unix(first.try_clone()?, file.clone()),
        };
        Ok(Self { socket, options: self.options.clone() })
    }
}

/// What the connections of one listener of a worker share.
#[derive(Debug)]
pub(super) struct ListenerContext {
    pub(super) options: ListenerOptions,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsAcceptor>,
}

impl ListenerContext {
    /// Returns whether clients use TLS.
    pub(super) fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Returns the redirection of the listener, if it has one.
    pub(super) fn redirect(&self) -> Option<&crate::HttpsRedirect> {
        self.options.redirect.as_ref()
    }
}

/// Accepts TLS connections.
#[cfg(feature = "tls")]
pub(super) struct TlsAcceptor(pub(super) tokio_rustls::TlsAcceptor);

#[cfg(feature = "tls")]
impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: RawStream,
    /// The address of the other end. On a Unix socket, the loopback address.
    pub(super) peer: IpAddr,
    /// Whether it came over a Unix socket.
    pub(super) is_unix: bool,
    pub(super) listener: Rc<ListenerContext>,
}

/// The listeners of one worker. It accepts from each in turn.
#[derive(Debug)]
pub(super) struct Listeners {
    listeners: Vec<(Acceptor, Rc<ListenerContext>)>,
    /// The one that is looked at first.
    first: usize,
}

/// A listening socket in the worker's runtime.
#[derive(Debug)]
enum Acceptor {
    Tcp(tokio::net::TcpListener),
    SharedTcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Option<unix::SocketFile>),
}

impl Listeners {
    /// Registers the sockets with the runtime of the worker.
    pub(super) fn new(bound: Vec<(BoundListener, ListenerContext)>) -> io::Result<Self> {
        let register = |(bound, context): (BoundListener, ListenerContext)| {
            let acceptor = match bound.socket {
                ListeningSocket::Tcp(socket) => Acceptor::Tcp(tokio::net::TcpListener::from_std(socket)?),
                ListeningSocket::SharedTcp(socket) => {
                    Acceptor::SharedTcp(tokio::net::TcpListener::from_std(socket)?)
                }
                #[cfg(unix)]
                ListeningSocket::Unix(socket, file) => {
                    Acceptor::Unix(tokio::net::UnixListener::from_std(socket)?, file)
                }
            };
            Ok((acceptor, Rc::new(context)))
        };
        Ok(Self { listeners: bound.into_iter().map(register).collect::<io::Result<_>>()?, first: 0 })
    }

    /// Accepts one connection.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.listeners.len();
        for at in (0..count).map(|offset| (self.first + offset) % count) {
            let (acceptor, context) = &self.listeners[at];
            if let Poll::Ready(accepted) = acceptor.poll_accept(cx) {
                self.first = (at + 1) % count;
                return Poll::Ready(accepted.map(|socket| socket.of(context)));
            }
        }
        Poll::Pending
    }

    /// Lets no further connections begin. Those that have begun can still be accepted.
    pub(super) fn stop(&self) {
        for (acceptor, _) in &self.listeners {
            match acceptor {
                Acceptor::Tcp(socket) => tcp::stop_handshakes(&socket2::SockRef::from(socket)),
                // The other process goes on with it.
                Acceptor::SharedTcp(_) => {}
                #[cfg(unix)]
                Acceptor::Unix(_, file) => {
                    if let Some(file) = file {
                        file.remove();
                    }
                }
            }
        }
    }

    /// Closes the listeners. Returns the connections that waited to be accepted, unless another
    /// process goes on with the socket.
    pub(super) fn close(self) -> Vec<Accepted> {
        let mut waiting = Vec::new();
        for (acceptor, listener) in self.listeners {
            waiting.extend(acceptor.close().into_iter().map(|socket| socket.of(&listener)));
        }
        waiting
    }
}

/// An accepted socket, and the address of its other end.
struct AcceptedSocket {
    stream: RawStream,
    peer: IpAddr,
    is_unix: bool,
}

impl AcceptedSocket {
    fn tcp((stream, peer): (tokio::net::TcpStream, SocketAddr)) -> Self {
        Self { stream: RawStream::tcp(stream), peer: peer.ip(), is_unix: false }
    }

    #[cfg(unix)]
    fn unix(stream: tokio::net::UnixStream) -> Self {
        Self { stream: RawStream::unix(stream), peer: LOCAL, is_unix: true }
    }

    /// Adds the listener that it came from.
    fn of(self, listener: &Rc<ListenerContext>) -> Accepted {
        let Self { stream, peer, is_unix } = self;
        Accepted { stream, peer, is_unix, listener: Rc::clone(listener) }
    }
}

impl Acceptor {
    /// Accepts one connection.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedSocket>> {
        match self {
            Self::Tcp(socket) | Self::SharedTcp(socket) => socket.poll_accept(cx).map_ok(AcceptedSocket::tcp),
            #[cfg(unix)]
            Self::Unix(socket, _) => {
                socket.poll_accept(cx).map_ok(|(stream, _)| AcceptedSocket::unix(stream))
            }
        }
    }

    /// Closes the socket. Returns the connections that waited: what the runtime knows of them may
    /// be out of date, so the system is called.
    fn close(self) -> Vec<AcceptedSocket> {
        match self {
            Self::Tcp(socket) => waiting(socket.into_std(), |socket| {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(AcceptedSocket::tcp((tokio::net::TcpStream::from_std(stream)?, peer)))
            }),
            #[cfg(unix)]
            Self::Unix(socket, Some(_)) => waiting(socket.into_std(), |socket| {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(stream).map(AcceptedSocket::unix)
            }),
            #[cfg(unix)]
            Self::Unix(_, None) => Vec::new(),
            Self::SharedTcp(_) => Vec::new(),
        }
    }
}

/// Accepts until the system has no more.
fn waiting<S>(
    socket: io::Result<S>,
    accept: impl Fn(&S) -> io::Result<AcceptedSocket>,
) -> Vec<AcceptedSocket> {
    let Ok(socket) = socket else { return Vec::new() };
    std::iter::from_fn(|| accept(&socket).ok()).collect()
}
