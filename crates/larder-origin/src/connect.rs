//! The pooled client, with TLS or without.

use std::time::Duration;

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use larder_core::Body;

use crate::{HyperOptions, OptionsError, connection};

#[cfg(feature = "tls")]
type Transport = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Transport = HttpConnector;

pub(crate) type Connector = connection::Connector<Transport>;

/// What one stream may have in flight that nobody has read, and all of a connection's together: as many readers that
/// have stopped as streams are usual (RFC 9113 §6.5.2) hold up no other.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// How often an HTTP/2 connection that waits is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

pub(crate) fn client(options: &HyperOptions) -> Result<Client<Connector, Body>, OptionsError> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    let connector = Connector { inner: transport(http, options)?, limit: options.connect_timeout };
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(options.idle_connections)
        .http1_max_buf_size(options.max_head.max(8192))
        .http1_max_headers(options.max_fields)
        .http2_max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX))
        .http2_only(options.http2_only)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .build(connector);
    Ok(client)
}

#[cfg(not(feature = "tls"))]
fn transport(http: HttpConnector, options: &HyperOptions) -> Result<Transport, OptionsError> {
    if options.to.as_ref().is_some_and(|to| to.scheme_str() == Some("https")) {
        return Err(OptionsError("an https:// origin needs the feature `tls` of larder-origin"));
    }
    Ok(http)
}

#[cfg(feature = "tls")]
fn transport(http: HttpConnector, options: &HyperOptions) -> Result<Transport, OptionsError> {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let public = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&options.roots) {
        let certificate = certificate.map_err(|_| OptionsError("the root certificates are not PEM"))?;
        roots.add(certificate).map_err(|_| OptionsError("a root certificate can't be read"))?;
    }
    if !options.roots.is_empty() && roots.len() == public {
        return Err(OptionsError("there is no certificate among the root certificates"));
    }
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| OptionsError("the TLS library has no protocol version to offer"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    // In HTTP/2 the name is in `:authority`, which is the connection's: a client's `Host` can't differ from it.
    let http2 = options.to.is_none() || options.origin_host || options.http2_only;
    Ok(if http2 {
        builder.enable_all_versions().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    })
}
