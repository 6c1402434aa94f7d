//! The certificates of a listener, from the files of a table `tls`.

use std::{path::PathBuf, time::SystemTime};

use super::validate::read;
#[cfg(feature = "tls")]
use crate::{CertificateFiles, Certificates};
use crate::{
    ListenerOptions,
    config::{ConfigError, TlsConfig},
};

/// The file, the first DNS name and the end of a certificate.
pub(super) type Expiry = (Option<PathBuf>, Option<String>, Option<SystemTime>);

/// The certificates of a table, which are read again when their files change.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    #[cfg(feature = "tls")]
    certificates: Certificates,
}

#[cfg(feature = "tls")]
impl Certificate {
    /// Reads the files, and checks that they match.
    pub(super) fn read(tls: &TlsConfig) -> Result<Self, ConfigError> {
        let mut files = vec![(&tls.cert, &tls.key)];
        files.extend(tls.further.iter().map(|further| (&further.cert, &further.key)));
        let table = |index: usize| match index.checked_sub(1) {
            Some(further) => format!("further[{further}]"),
            None => String::new(),
        };
        for (index, (cert, key)) in files.iter().enumerate() {
            let both = read("cert", cert).and_then(|_| read("key", key));
            both.map_err(|error| error.within(&table(index)))?;
        }
        let all = files.iter().map(|(cert, key)| CertificateFiles::new(*cert, *key));
        let certificates = Certificates::read(all).map_err(|error| {
            let is_wrong = |(cert, key): &(_, _)| [Some(*cert), Some(*key)].contains(&error.file());
            let files = files.iter().map(|(cert, key)| (cert.as_path(), key.as_path()));
            let index = files.clone().position(|pair| is_wrong(&pair)).unwrap_or(0);
            let (cert, key) = files.clone().nth(index).unwrap_or((&tls.cert, &tls.key));
            let (cert, key) = (cert.display(), key.display());
            ConfigError::new(
                table(index),
                format!("can't serve with the certificate {cert} and the key {key}: {error}"),
            )
        })?;
        Ok(Self { certificates })
    }

    /// Makes a listener serve over TLS with these certificates.
    pub(super) fn serve(&self, listener: ListenerOptions) -> ListenerOptions {
        listener.with_certificates(self.certificates.clone())
    }

    /// Serves with what was read for `new` from the next connection on.
    pub(super) fn replace(&self, new: &Self) {
        self.certificates.replace_by(&new.certificates);
    }

    /// Returns the file, the first DNS name and the end of each certificate.
    pub(super) fn expiries(&self) -> Vec<Expiry> {
        let expiries = self.certificates.expiries().into_iter();
        let of = |expiry: crate::CertificateExpiry| {
            (expiry.file, expiry.names.into_iter().next(), expiry.not_after)
        };
        expiries.map(of).collect()
    }

    /// Logs the certificates that expire soon.
    pub(super) fn warn_of_expiry(&self) {
        self.certificates.warn_of_expiry();
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
    pub(super) fn replace(&self, _: &Self) {}

    /// Returns nothing.
    pub(super) fn expiries(&self) -> Vec<Expiry> {
        Vec::new()
    }

    /// Logs nothing.
    pub(super) fn warn_of_expiry(&self) {}
}
