//! Reads the certificate and key of the listener.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{error::Error, fmt};

#[cfg(feature = "tls")]
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Creates the configuration of TLS for HTTP/2 and HTTP/1.1, from a certificate chain and a private
/// key in PEM.
#[cfg(feature = "tls")]
pub(super) fn config(certificates: &[u8], key: &[u8]) -> Result<rustls::ServerConfig, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError("the certificate file is not valid PEM"))?;
    if chain.is_empty() {
        return Err(TlsError("the certificate file contains no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| TlsError("the key file contains no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError("the TLS library supports no protocol version"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|_| {
            TlsError("the private key does not match the certificate, or its type is not supported")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The error of a certificate or private key that cannot be used. Its message states the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TlsError(&'static str);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::TlsError;

    #[test]
    fn an_error_prints_its_text() {
        assert_eq!(format!("{:?}", TlsError("no certificate")), "no certificate");
    }
}
