//! TLS connections, made here and not by the redis crate, which would install a crypto provider for
//! the whole process.

use std::{io, sync::Arc};

use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, RedisError,
    io::tcp::{TcpSettings, socket2::SockRef},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::RedisOptions;

/// What is needed for TLS connections to one server.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    host: String,
    port: u16,
    config: Arc<ClientConfig>,
    settings: TcpSettings,
}

impl Tls {
    /// Returns the settings for a server, or `None` if it is reached without TLS.
    ///
    /// # Errors
    ///
    /// Returns an error if a certificate authority or the host is invalid, or if the URL disables
    /// the check of certificates.
    pub(super) fn of(info: &ConnectionInfo, options: &RedisOptions) -> Result<Option<Self>, RedisError> {
        let ConnectionAddr::TcpTls { host, port, insecure, .. } = info.addr() else { return Ok(None) };
        if *insecure {
            return Err((ErrorKind::InvalidClientConfig, "certificates are always checked").into());
        }
        let (host, port, settings) = (host.clone(), *port, info.tcp_settings().clone());
        Ok(Some(Self { host, port, config: Arc::new(config(options)?), settings }))
    }

    /// Connects. Callers limit the time.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, RedisError> {
        // An IPv6 address may stand in brackets.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await?;
        self.configure(&stream)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| invalid("the host is not a name for TLS", &error))?;
        Ok(TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?)
    }

    /// Applies the settings of TCP.
    fn configure(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.settings.nodelay())?;
        let socket = SockRef::from(stream);
        if let Some(keepalive) = self.settings.keepalive() {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        socket.set_tcp_user_timeout(self.settings.user_timeout())?;
        Ok(())
    }
}

/// Returns the configuration: the provider that the program has installed, else aws-lc-rs; the
/// configured certificate authorities, else those of Mozilla.
fn config(options: &RedisOptions) -> Result<ClientConfig, RedisError> {
    let mut roots = RootCertStore::empty();
    if options.root_certificates.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in CertificateDer::pem_slice_iter(&options.root_certificates) {
        let certificate = certificate.map_err(|error| invalid("a root certificate is not PEM", &error))?;
        roots.add(certificate).map_err(|error| invalid("a root certificate is invalid", &error))?;
    }
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("the crypto provider has no usable TLS version", &error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Returns the error of a connection that took too long.
pub(super) fn timed_out() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "connecting took too long").into()
}

fn invalid(what: &'static str, error: &dyn std::error::Error) -> RedisError {
    (ErrorKind::InvalidClientConfig, what, error.to_string()).into()
}
