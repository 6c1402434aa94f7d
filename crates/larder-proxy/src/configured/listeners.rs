//! Checks the listeners of a configuration, binds them, and replaces their certificates at a
//! reload.

use std::{fmt, io};

use http::StatusCode;

use super::{
    certificate::Certificate,
    validate::{DEFAULT_ADDRESS, networks},
};
use crate::{
    HttpsRedirect, ListenAddress, ListenerOptions, ProxyServer, ServerOptions,
    config::{Config, ConfigError, ListenConfig, ListenerConfig, ListenerTlsConfig, RedirectConfig},
};

/// The listeners of a configuration that has been checked.
#[derive(Debug)]
pub(super) struct CheckedListeners {
    listeners: Vec<CheckedListener>,
    /// The certificates of `[tls]`.
    shared: Option<Certificate>,
}

/// A listener that has been checked.
#[derive(Debug)]
struct CheckedListener {
    /// Its key, such as `listener[0].listen`.
    key: String,
    listen: ListenConfig,
    options: ListenerOptions,
    certificate: Option<Certificate>,
    has_own_certificate: bool,
}

/// Sockets that the service manager has opened, with their names, in its order.
#[derive(Default)]
pub(super) struct InheritedSockets(Vec<(String, Option<InheritedSocket>)>);

#[cfg(unix)]
type InheritedSocket = std::os::fd::OwnedFd;
#[cfg(not(unix))]
type InheritedSocket = std::convert::Infallible;

/// An address that a [`BoundProxy`](crate::BoundProxy) listens on. Its text is
/// `https://[::]:443`, `http://127.0.0.1:8080` or `unix:/run/larder.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundAddress {
    address: ListenAddress,
    is_tls: bool,
}

impl BoundAddress {
    /// Returns the address.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Returns whether clients use TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.is_tls) {
            (ListenAddress::Tcp(address), true) => write!(f, "https://{address}"),
            (ListenAddress::Tcp(address), false) => write!(f, "http://{address}"),
            (address, _) => address.fmt(f),
        }
    }
}

impl InheritedSockets {
    /// Adds a socket.
    #[cfg(unix)]
    pub(super) fn add(&mut self, name: String, socket: InheritedSocket) {
        self.0.push((name, Some(socket)));
    }

    /// Takes the socket at a position, or those with a name.
    #[cfg(unix)]
    fn take(&mut self, wanted: &str) -> Vec<InheritedSocket> {
        let position = wanted.parse::<usize>().ok();
        let sockets = self.0.iter_mut().enumerate();
        let is_wanted = |at: usize, name: &str| position.map_or(name == wanted, |position| position == at);
        let wanted = sockets.filter(|(at, (name, _))| is_wanted(*at, name));
        wanted.filter_map(|(_, (_, socket))| socket.take()).collect()
    }

    /// Logs the sockets that no listener has taken: their clients would wait for ever.
    fn warn_of_unused(&self) {
        for (position, (name, socket)) in self.0.iter().enumerate() {
            if socket.is_some() {
                tracing::warn!(
                    position,
                    name,
                    "an inherited socket is not used: add a [[listener]] with listen = \"fd:{position}\""
                );
            }
        }
    }
}

impl CheckedListeners {
    /// Checks the listeners of a configuration, and reads their certificates.
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let shared = config.tls.as_ref().map(Certificate::read).transpose();
        let shared = shared.map_err(|error| error.within("tls"))?;
        let mut listeners = Vec::new();
        if config.listen.is_some() || config.listener.is_empty() {
            let address = config.listen.unwrap_or(DEFAULT_ADDRESS);
            listeners.push(CheckedListener {
                key: "listen".to_owned(),
                listen: ListenConfig::Tcp(address),
                options: ListenerOptions::tcp(address),
                certificate: shared.clone(),
                has_own_certificate: false,
            });
        } else if shared.is_some()
            && !config.listener.iter().any(|listener| listener.tls == ListenerTlsConfig::Shared)
        {
            let message = "no listener uses these certificates; set listen, or tls = true in a [[listener]]";
            return Err(ConfigError::new("tls", message));
        }
        for (index, listener) in config.listener.iter().enumerate() {
            let checked = CheckedListener::new(index, listener, shared.as_ref());
            listeners.push(checked.map_err(|error| error.within(&format!("listener[{index}]")))?);
        }
        for (index, listener) in listeners.iter().enumerate() {
            let has_free_port = matches!(listener.listen, ListenConfig::Tcp(address) if address.port() == 0);
            if !has_free_port && listeners[..index].iter().any(|other| other.listen == listener.listen) {
                let message = format!("there is another listener on {}", listener.listen);
                return Err(ConfigError::new(&*listener.key, message));
            }
        }
        Ok(Self { listeners, shared })
    }

    /// Binds the listeners. Returns the server, and whether clients use TLS on each of its
    /// listeners.
    pub(super) fn bind(
        &self,
        options: ServerOptions,
        take_over: bool,
        mut sockets: InheritedSockets,
    ) -> Result<(ProxyServer, Vec<BoundAddress>), ConfigError> {
        let mut server = ProxyServer::new(options);
        let mut is_tls = Vec::new();
        for listener in &self.listeners {
            let count = is_tls.len();
            let options = listener.options.clone().with_take_over(take_over);
            let options = match &listener.certificate {
                Some(certificate) => certificate.serve(options),
                None => options,
            };
            server = match &listener.listen {
                ListenConfig::Inherited(name) => {
                    inherit(server, (listener, options), name, &mut sockets, &mut is_tls)?
                }
                listen => {
                    is_tls.push(listener.certificate.is_some());
                    let server = server.listen(options);
                    server.map_err(|error| cannot_listen(&listener.key, listen, &error))?
                }
            };
            debug_assert!(is_tls.len() > count);
        }
        sockets.warn_of_unused();
        let addresses = server.local_addrs().map_err(|error| ConfigError::io("listen", error))?;
        let addresses = addresses.into_iter().zip(is_tls);
        let addresses = addresses.map(|(address, is_tls)| BoundAddress { address, is_tls });
        Ok((server, addresses.collect()))
    }

    /// Logs the certificates that expire soon.
    pub(super) fn warn_of_expiry(&self) {
        self.certificates().for_each(Certificate::warn_of_expiry);
    }

    /// Returns the certificates of all listeners, each once.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let own = self.listeners.iter().filter(|listener| listener.has_own_certificate);
        self.shared.iter().chain(own.filter_map(|listener| listener.certificate.as_ref()))
    }

    /// Serves with the certificates that were read for a new configuration, from the next
    /// connection on, on the listeners that are the same.
    pub(super) fn replace_certificates(&self, new: &Self) {
        if let (Some(old), Some(new)) = (&self.shared, &new.shared) {
            old.replace(new);
        }
        for old in self.listeners.iter().filter(|listener| listener.has_own_certificate) {
            let is_same = |new: &&CheckedListener| {
                new.has_own_certificate && new.key == old.key && new.listen == old.listen
            };
            let new = new.listeners.iter().find(is_same);
            if let (Some(old), Some(new)) = (&old.certificate, new.and_then(|new| new.certificate.as_ref())) {
                old.replace(new);
            }
        }
    }
}

impl CheckedListener {
    /// Checks a table `[[listener]]`.
    fn new(
        index: usize,
        listener: &ListenerConfig,
        shared: Option<&Certificate>,
    ) -> Result<Self, ConfigError> {
        let address = match &listener.listen {
            ListenConfig::Tcp(address) => ListenAddress::Tcp(*address),
            ListenConfig::Unix(_) if cfg!(not(unix)) => {
                return Err(ConfigError::new("listen", "there are no Unix sockets on this system"));
            }
            ListenConfig::Inherited(_) if cfg!(not(unix)) => {
                return Err(ConfigError::new("listen", "there are no inherited sockets on this system"));
            }
            ListenConfig::Unix(path) => ListenAddress::Unix(path.clone()),
            // It is replaced by that of the socket.
            ListenConfig::Inherited(_) => ListenAddress::Tcp(DEFAULT_ADDRESS),
        };
        let is_unix = matches!(listener.listen, ListenConfig::Unix(_));
        let mut options = ListenerOptions::tcp(DEFAULT_ADDRESS).with_address(address);
        if let Some(mode) = listener.unix_mode {
            if !is_unix {
                return Err(ConfigError::new("unix_mode", "the listener is not on a Unix socket"));
            }
            if mode > 0o777 {
                let message = format!("{mode:#o} is not a mode; write it in octal, e.g. 0o660");
                return Err(ConfigError::new("unix_mode", message));
            }
            options = options.with_unix_mode(mode);
        }
        if let Some(senders) = &listener.proxy_protocol {
            let senders = networks("proxy_protocol", senders)?;
            if senders.is_empty() && !is_unix {
                let message = "the list is empty; name the networks of the proxies, e.g. [\"10.0.0.0/8\"]";
                return Err(ConfigError::new("proxy_protocol", message));
            }
            options = options.with_proxy_protocol(senders);
        }
        let certificate = match &listener.tls {
            ListenerTlsConfig::Off => None,
            ListenerTlsConfig::Shared => Some(shared.cloned().ok_or_else(|| {
                let message = "there is no table [tls] at the top level; name cert and key here instead";
                ConfigError::new("tls", message)
            })?),
            ListenerTlsConfig::Own(tls) => Some(Certificate::read(tls).map_err(|error| error.within("tls"))?),
        };
        if let Some(redirect) = &listener.redirect {
            if certificate.is_some() {
                let message = "clients of this listener use TLS already; remove redirect, or tls";
                return Err(ConfigError::new("redirect", message));
            }
            options = options.with_redirect(redirection(redirect).map_err(|error| error.within("redirect"))?);
        }
        Ok(Self {
            key: format!("listener[{index}].listen"),
            listen: listener.listen.clone(),
            options,
            certificate,
            has_own_certificate: matches!(listener.tls, ListenerTlsConfig::Own(_)),
        })
    }
}

/// Checks a redirection.
fn redirection(redirect: &RedirectConfig) -> Result<HttpsRedirect, ConfigError> {
    let mut options = HttpsRedirect::default().with_acme_challenges(redirect.acme_challenges);
    if let Some(status) = redirect.status {
        let known = StatusCode::from_u16(status).ok().filter(|_| matches!(status, 301 | 302 | 307 | 308));
        let message = || ConfigError::new("status", format!("{status} is none of 301, 302, 307 and 308"));
        options = options.with_status(known.ok_or_else(message)?);
    }
    if let Some(host) = &redirect.host {
        options = options.with_host(host);
        if options.invalid_host().is_some() {
            let message = format!("'{host}' is not a host name; write it without scheme, port and path");
            return Err(ConfigError::new("host", message));
        }
    }
    match redirect.port {
        Some(0) => Err(ConfigError::new("port", "0 is not a port that clients can connect to")),
        Some(port) => Ok(options.with_port(port)),
        None => Ok(options),
    }
}

/// Adds the inherited sockets of a listener to the server.
#[cfg(unix)]
fn inherit(
    mut server: ProxyServer,
    (listener, options): (&CheckedListener, ListenerOptions),
    name: &str,
    sockets: &mut InheritedSockets,
    is_tls: &mut Vec<bool>,
) -> Result<ProxyServer, ConfigError> {
    let taken = sockets.take(name);
    if taken.is_empty() {
        let names: Vec<&str> = sockets.0.iter().map(|(name, _)| &**name).collect();
        let others = match &*names {
            [] => "none was passed (LISTEN_FDS)".to_owned(),
            names => format!("passed were {} with the names {}", names.len(), names.join(", ")),
        };
        let message = format!("there is no inherited socket for {}: {others}", listener.listen);
        return Err(ConfigError::io(&listener.key, message));
    }
    for socket in taken {
        is_tls.push(listener.certificate.is_some());
        let adopted = server.adopt(socket, options.clone());
        server = adopted.map_err(|error| cannot_listen(&listener.key, &listener.listen, &error))?;
    }
    Ok(server)
}

/// Returns the server: there are no inherited sockets on this system.
#[cfg(not(unix))]
fn inherit(
    server: ProxyServer,
    _: (&CheckedListener, ListenerOptions),
    _: &str,
    _: &mut InheritedSockets,
    _: &mut Vec<bool>,
) -> Result<ProxyServer, ConfigError> {
    Ok(server)
}

/// Creates the error of an address that cannot be bound.
pub(super) fn cannot_listen(key: &str, address: &dyn fmt::Display, error: &io::Error) -> ConfigError {
    ConfigError::io(key, format!("can't listen on {address} (try another address or port): {error}"))
}
