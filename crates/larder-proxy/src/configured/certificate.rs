//! The certificate of the listener, from the files of `[tls]`.

use super::validate::read;
#[cfg(feature = "tls")]
use crate::{CertificateFiles, Certificates};
use crate::{
    ListenerOptions,
    config::{ConfigError, TlsConfig},
};

/// The certificate of the listener, which is read again when its files change.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    #[cfg(feature = "tls")]
    certificates: Certificates,
    #[cfg(feature = "tls")]
    files: CertificateFiles,
}

#[cfg(feature = "tls")]
impl Certificate {
    /// Reads the files, and checks that they match.
    pub(super) fn read(tls: &TlsConfig) -> Result<Self, ConfigError> {
        read("cert", &tls.cert)?;
        read("key", &tls.key)?;
        let files = CertificateFiles::new(&tls.cert, &tls.key);
        let certificates = Certificates::from_files([files.clone()]).map_err(|error| {
            let (cert, key) = (tls.cert.display(), tls.key.display());
            ConfigError::new(
                "",
                format!("can't serve with the certificate {cert} and the key {key}: {error}"),
            )
        })?;
        Ok(Self { certificates, files })
    }

    /// Makes a listener serve over TLS with this certificate.
    pub(super) fn serve(&self, listener: ListenerOptions) -> ListenerOptions {
        listener.with_certificates(self.certificates.clone())
    }

    /// Serves with the files of `new` from the next connection on.
    pub(super) fn replace(&self, new: &Self) -> Result<(), ConfigError> {
        let replaced = self.certificates.replace_files([new.files.clone()]);
        replaced.map_err(|error| ConfigError::new("tls", error))
    }
}

#[cfg(not(feature = "tls"))]
impl Certificate {
    /// Returns an error: there is no TLS.
    pub(super) fn read(_: &TlsConfig) -> Result<Self, ConfigError> {
        let _ = read;
        Err(ConfigError::new("", "this program was built without TLS"))
    }

    /// Returns the listener as it is.
    pub(super) fn serve(&self, listener: ListenerOptions) -> ListenerOptions {
        listener
    }

    /// Replaces nothing.
    pub(super) fn replace(&self, _: &Self) -> Result<(), ConfigError> {
        Ok(())
    }
}
