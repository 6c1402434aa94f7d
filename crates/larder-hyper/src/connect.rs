//! The pooled client, with TLS or without.

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use larder_core::Body;

use crate::{HyperOptions, OptionsError};

#[cfg(feature = "tls")]
pub(crate) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
pub(crate) type Connector = HttpConnector;

pub(crate) fn client(options: &HyperOptions) -> Result<Client<Connector, Body>, OptionsError> {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(options.connect_timeout));
    http.set_nodelay(true);
    http.enforce_http(false);
    let connector = connector(http, options)?;
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(options.idle_connections)
        .http1_max_buf_size(options.max_head.max(8192))
        .http1_max_headers(options.max_fields)
        .http2_max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX))
        .http2_only(options.http2_only)
        .build(connector);
    Ok(client)
}

#[cfg(not(feature = "tls"))]
fn connector(http: HttpConnector, options: &HyperOptions) -> Result<Connector, OptionsError> {
    if options.to.as_ref().is_some_and(|to| to.scheme_str() == Some("https")) {
        return Err(OptionsError("an https:// origin needs the feature `tls` of larder-hyper"));
    }
    Ok(http)
}

#[cfg(feature = "tls")]
fn connector(http: HttpConnector, options: &HyperOptions) -> Result<Connector, OptionsError> {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = if options.roots.is_empty() {
        builder
            .with_provider_and_webpki_roots(provider)
            .map_err(|_| OptionsError("the TLS library has no protocol version to offer"))?
    } else {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&options.roots) {
            let certificate = certificate.map_err(|_| OptionsError("the root certificates are not PEM"))?;
            roots.add(certificate).map_err(|_| OptionsError("a root certificate can't be read"))?;
        }
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| OptionsError("the TLS library has no protocol version to offer"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder.with_tls_config(config)
    };
    let builder = builder.https_or_http();
    // In HTTP/2 the name is in `:authority`, which is the connection's: a client's `Host` can't differ from it.
    let http2 = options.to.is_none() || options.origin_host || options.http2_only;
    Ok(if http2 {
        builder.enable_all_versions().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    })
}
