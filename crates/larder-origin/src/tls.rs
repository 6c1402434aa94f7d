//! Configures TLS for connections to origins: whom it trusts, and as whom it identifies itself.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::{HyperOptions, OptionsError, TrustedRoots};

/// The TLS connectors: one for each choice of protocols that a connection offers (ALPN).
#[derive(Clone)]
pub(crate) struct Connectors {
    /// HTTP/2 and HTTP/1.1, or HTTP/2 only.
    pub(crate) any: TlsConnector,
    /// HTTP/1.1 only.
    pub(crate) http1: TlsConnector,
}

/// Creates the TLS connectors.
///
/// # Errors
///
/// Returns an [`OptionsError`] if a certificate or key is invalid, or if no root is trusted.
pub(crate) fn connectors(options: &HyperOptions) -> Result<Connectors, OptionsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| OptionsError("the TLS library supports no protocol version"))?
        .with_root_certificates(roots(options)?);
    let mut config = match &options.client_certificate {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.chain, "the client certificate could not be parsed as PEM")?;
            if chain.is_empty() {
                return Err(OptionsError("the client certificate contains no certificate in PEM"));
            }
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|_| OptionsError("the key of the client certificate is not a private key in PEM"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| OptionsError("the key does not match the client certificate"))?
        }
    };
    config.alpn_protocols = match options.http2_only {
        true => vec![b"h2".to_vec()],
        false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let mut http1 = config.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Connectors { any: Arc::new(config).into(), http1: Arc::new(http1).into() })
}

/// Returns the root certificates that are trusted.
fn roots(options: &HyperOptions) -> Result<RootCertStore, OptionsError> {
    let mut roots = match options.trusted_roots {
        TrustedRoots::Mozilla => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        TrustedRoots::OnlyConfigured => RootCertStore::empty(),
        #[cfg(feature = "system-roots")]
        TrustedRoots::System => system_roots()?,
    };
    let others = roots.len();
    for certificate in
        certificates(&options.root_certificates, "the root certificates could not be parsed as PEM")?
    {
        roots
            .add(certificate)
            .map_err(|_| OptionsError("a root certificate is not a valid X.509 certificate"))?;
    }
    if !options.root_certificates.is_empty() && roots.len() == others {
        return Err(OptionsError("the root certificates contain no certificate in PEM"));
    }
    if roots.is_empty() {
        return Err(OptionsError("no root certificate is trusted: set root_certificates"));
    }
    Ok(roots)
}

/// Reads the root certificates of the operating system.
#[cfg(feature = "system-roots")]
fn system_roots() -> Result<RootCertStore, OptionsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a file of the system's root certificates could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err(OptionsError("the system has no root certificates (install ca-certificates)")),
        false => Ok(roots),
    }
}

/// Parses certificates in PEM.
fn certificates(pem: &[u8], error: &'static str) -> Result<Vec<CertificateDer<'static>>, OptionsError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| OptionsError(error))
}
