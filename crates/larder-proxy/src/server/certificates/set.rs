//! The certificates of a listener, and how they are replaced.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::crypto::CryptoProvider;

use super::{
    error::TlsError,
    load::{self, CertificateFiles, Stamp},
    resolver::{CertificateTable, Certified, Resolver},
};

/// Time before the end of a certificate's validity from which on a warning is logged.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Shortest time between two warnings about the validity of certificates.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// The certificates of a listener, with TLS 1.2 and 1.3, for HTTP/2 and HTTP/1.1.
///
/// The certificate for a connection is chosen by the name that its client requests (SNI): one with
/// this name, or else with a wildcard such as `*.example.com` for one label, or else the first. The
/// names are those of the certificates themselves. Of several with one name, the first with a key
/// that the client supports is taken, so there may be one with an RSA and one with an ECDSA key.
///
/// A connection may be used for the names of other certificates: requests are routed by their host
/// alone, so none is answered with 421 (RFC 9110 §15.5.20).
///
/// Clones share the certificates, so that one call of [`reload`](Self::reload) renews them for all
/// listeners.
///
/// ```no_run
/// use larder_proxy::{CertificateFiles, Certificates, ListenerOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let certificates = Certificates::from_files([
///     CertificateFiles::new("/etc/tls/example.com.pem", "/etc/tls/example.com.key"),
///     CertificateFiles::new("/etc/tls/example.org.pem", "/etc/tls/example.org.key"),
/// ])?;
/// let listener = ListenerOptions::tcp(([0, 0, 0, 0], 443).into()).with_certificates(certificates.clone());
/// // Later, when the files have been renewed:
/// certificates.reload()?;
/// # let _ = listener;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    source: Mutex<Source>,
}

/// Where the certificates come from.
#[derive(Debug, Default)]
struct Source {
    /// The files in the order of the certificates; none if they were given as text.
    files: Vec<CertificateFiles>,
    /// What was seen of the files before they were last read.
    stamps: Vec<[Option<Stamp>; 2]>,
    warned: Option<SystemTime>,
}

/// Until when a certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateExpiry {
    /// The file of the certificate; `None` if it was given as text.
    pub file: Option<PathBuf>,
    /// The DNS names of the certificate, in lower case.
    pub names: Vec<String>,
    /// The last second in which it is valid; `None` if that cannot be read.
    pub not_after: Option<SystemTime>,
}

impl Certificates {
    /// Reads certificates from files. The first one is the default.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] that names the file if there is none, if one cannot be read, if a
    /// certificate and its key do not match, or if one after the first has no DNS name, so that it
    /// would never be used.
    pub fn from_files(files: impl IntoIterator<Item = CertificateFiles>) -> Result<Self, TlsError> {
        let certificates = Self::read(files)?;
        certificates.warn_of_expiry();
        Ok(certificates)
    }

    /// Reads certificates as [`from_files`](Self::from_files) does, and logs nothing.
    pub(crate) fn read(files: impl IntoIterator<Item = CertificateFiles>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let files: Vec<_> = files.into_iter().collect();
        let stamps = files.iter().map(load::stamps).collect();
        let table = read(&files, &provider)?;
        Ok(Self::new(provider, table, Source { files, stamps, warned: None }))
    }

    /// Creates the set of one certificate. `certificates` is the certificate chain, with the
    /// server's certificate first, and `key` is its private key, both in PEM. A
    /// [`reload`](Self::reload) changes nothing.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] if one of them cannot be parsed, or if they do not match.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let table = CertificateTable::new(vec![load::from_pem(certificates, key, &provider)?]);
        let source = Source { files: Vec::new(), stamps: Vec::new(), warned: None };
        let certificates = Self::new(provider, table, source);
        certificates.warn_of_expiry();
        Ok(certificates)
    }

    fn new(provider: Arc<CryptoProvider>, table: CertificateTable, source: Source) -> Self {
        Self(Arc::new(Shared { provider, resolver: Arc::new(Resolver::new(table)), source: source.into() }))
    }

    /// Reads the files again, for handshakes from now on. Open connections continue.
    ///
    /// It blocks the thread while it reads.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] as [`from_files`](Self::from_files) does. All certificates then stay
    /// as they were.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut source = self.source();
        if source.files.is_empty() {
            return Ok(());
        }
        // Before they are read: a change meanwhile is seen by the next check.
        source.stamps = source.files.iter().map(load::stamps).collect();
        self.0.resolver.replace(Arc::new(read(&source.files, &self.0.provider)?));
        source.warned = None;
        drop(source);
        self.warn_of_expiry();
        Ok(())
    }

    /// Reads other files instead of the present ones, such as after a change of the configuration.
    ///
    /// It blocks the thread while it reads.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] as [`from_files`](Self::from_files) does. All files and certificates
    /// then stay as they were.
    pub fn replace_files(&self, files: impl IntoIterator<Item = CertificateFiles>) -> Result<(), TlsError> {
        let files: Vec<_> = files.into_iter().collect();
        let mut source = self.source();
        let stamps = files.iter().map(load::stamps).collect();
        self.0.resolver.replace(Arc::new(read(&files, &self.0.provider)?));
        *source = Source { files, stamps, warned: None };
        drop(source);
        self.warn_of_expiry();
        Ok(())
    }

    /// Takes over what was read for `other`, which does not read its files again from then on.
    #[cfg(feature = "config")]
    pub(crate) fn replace_by(&self, other: &Self) {
        let table = other.0.resolver.table();
        let source = std::mem::take(&mut *other.source());
        *self.source() = source;
        self.0.resolver.replace(table);
        self.warn_of_expiry();
    }

    /// Reads the files again if one of them has changed since they were last read. Returns whether
    /// one has. After an error, this is repeated when one changes again.
    ///
    /// The server does this by itself
    /// ([`ServerOptions::certificate_interval`](crate::ServerOptions::certificate_interval)). It
    /// blocks the thread while it reads.
    ///
    /// # Errors
    ///
    /// Returns a [`TlsError`] as [`reload`](Self::reload) does.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let has_changed = {
            let source = self.source();
            source.files.iter().zip(&source.stamps).any(|(files, stamps)| load::stamps(files) != *stamps)
        };
        if has_changed {
            self.reload()?;
        }
        Ok(has_changed)
    }

    /// Returns until when each certificate is valid, in the order of their files: for a metric. A
    /// warning is logged from 14 days before the end, once a day.
    pub fn expiries(&self) -> Vec<CertificateExpiry> {
        let source = self.source();
        let table = self.0.resolver.table();
        let of = |(position, certified): (usize, &Certified)| CertificateExpiry {
            file: source.files.get(position).map(|files| files.certificate.clone()),
            names: certified.names.clone(),
            not_after: certified.not_after,
        };
        table.certified().iter().enumerate().map(of).collect()
    }

    /// Returns the configuration of TLS with these certificates.
    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig, TlsError> {
        let resolver = Arc::clone(&self.0.resolver);
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::new("the TLS library supports no protocol version"))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Reads changed files again, and logs what happened.
    pub(super) fn check(&self) {
        match self.reload_if_changed() {
            Ok(false) => self.warn_of_expiry(),
            Ok(true) => tracing::info!("reloaded TLS certificates: a file has changed"),
            Err(error) => tracing::error!(%error, "can't reload TLS certificates, keeping the previous ones"),
        }
    }

    /// Returns whether both have the same certificates.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Logs the certificates that expire soon, at most once a day.
    #[expect(clippy::disallowed_methods, reason = "the end of a certificate is on the wall clock")]
    pub(crate) fn warn_of_expiry(&self) {
        let now = SystemTime::now();
        {
            let mut source = self.source();
            let is_recent =
                |warned: SystemTime| now.duration_since(warned).is_ok_and(|since| since < WARN_EVERY);
            if source.warned.is_some_and(is_recent) {
                return;
            }
            source.warned = Some(now);
        }
        for CertificateExpiry { file, names, not_after } in self.expiries() {
            let Some(not_after) = not_after.filter(|end| *end < now + WARN_BEFORE) else { continue };
            let file = file.as_deref().map_or("(no file)".into(), Path::to_string_lossy);
            match not_after.duration_since(now) {
                Ok(left) => {
                    let days = left.as_secs() / 86_400;
                    tracing::warn!(%file, ?names, days, "a TLS certificate expires soon");
                }
                Err(_) => tracing::error!(%file, ?names, "a TLS certificate has expired"),
            }
        }
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.0.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads certificates and keys.
fn read(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<CertificateTable, TlsError> {
    let mut certified = Vec::with_capacity(files.len());
    for (position, files) in files.iter().enumerate() {
        let one = load::from_files(files, provider)?;
        if position > 0 && one.names.is_empty() {
            let reason = "the certificate has no DNS name, and it is not the first: it would never be used";
            return Err(TlsError::new(reason).of(&files.certificate));
        }
        certified.push(one);
    }
    if certified.is_empty() {
        return Err(TlsError::new("there is no certificate"));
    }
    Ok(CertificateTable::new(certified))
}
