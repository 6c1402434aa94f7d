//! Reads certificate chains and private keys.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{error::TlsError, resolver::Certified, validity};

/// Largest file of a certificate chain or a key, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The files of a certificate chain and its private key, both in PEM.
///
/// ```
/// let files = larder_proxy::CertificateFiles::new("/etc/tls/fullchain.pem", "/etc/tls/privkey.pem");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl CertificateFiles {
    /// Names the file of the chain, with the server's certificate first, and that of its key. Each
    /// may have at most 1 MiB. Both may be the same file.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }
}

/// What shows that a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Number of the file, where the system has it: a renamed file may be older than the last one.
    number: u64,
}

/// Returns the stamps of both files; `None` for one that cannot be examined.
pub(super) fn stamps(files: &CertificateFiles) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let number = 0;
        Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), number })
    })
}

/// Reads a certificate and its key from files.
pub(super) fn from_files(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Certified, TlsError> {
    let certificates = read(&files.certificate)?;
    let key = read(&files.key)?;
    let chain = chain(&certificates).map_err(|error| error.of(&files.certificate))?;
    let key = private_key(&key).map_err(|error| error.of(&files.key))?;
    certified(chain, key, provider).map_err(|error| error.of(&files.certificate))
}

/// Reads a certificate and its key from text in PEM.
pub(super) fn from_pem(
    certificates: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Certified, TlsError> {
    certified(chain(certificates)?, private_key(key)?, provider)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let can_not = |error: std::io::Error| TlsError::new(format!("can't read the file: {error}")).of(path);
    if fs::metadata(path).map_err(can_not)?.len() > MAX_FILE {
        return Err(TlsError::new("the file is larger than 1 MiB").of(path));
    }
    fs::read(path).map_err(can_not)
}

fn chain(certificates: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::new("the certificate file is not valid PEM"))?;
    if chain.is_empty() {
        return Err(TlsError::new("the certificate file contains no certificate"));
    }
    Ok(chain)
}

fn private_key(key: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| TlsError::new("the key file contains no private key in PEM"))
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<Certified, TlsError> {
    let names = names(&chain[0]);
    let not_after = validity::not_after(&chain[0]);
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|_| {
        TlsError::new("the private key does not match the certificate, or its type is not supported")
    })?;
    Ok(Certified { key: Arc::new(key), names, not_after })
}

/// Returns the DNS names of a certificate in lower case.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        // Such as one of X.509 version 1. Without names, it can still be the default.
        Err(_) => Vec::new(),
    }
}
