//! Builds hyper's pooled client from [`HyperOptions`], with TLS or without.
//!
//! Connecting and its timeout are in `connection`.

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

/// Flow-control window of one HTTP/2 stream in bytes: what the origin may send before it is read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Flow-control window of one HTTP/2 connection in bytes. 256 streams that nothing reads do not
/// block the others; 256 is more than the usual limit of concurrent streams (RFC 9113 §6.5.2).
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// Interval of HTTP/2 PING frames on a connection with open streams, and the timeout for their
/// acknowledgement.
const PING: Duration = Duration::from_secs(20);

/// Creates the client. It opens no connection yet.
pub(crate) fn client(options: &HyperOptions) -> Result<Client<Connector, Body>, OptionsError> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    // Without TLS, an https URI must fail instead of being sent in plain text.
    http.enforce_http(cfg!(not(feature = "tls")));
    let connector = Connector { inner: transport(http, options)?, limit: options.connect_timeout };
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(options.idle_connections)
        .http1_max_buf_size(options.max_head.max(8192))
        .http1_max_headers(options.max_headers)
        .http2_max_header_list_size(u32::try_from(options.max_head).unwrap_or(u32::MAX))
        .http2_only(options.http2_only)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .build(connector);
    Ok(client)
}

/// Returns the plain TCP connector, or an error if the fixed origin is `https`.
#[cfg(not(feature = "tls"))]
fn transport(http: HttpConnector, options: &HyperOptions) -> Result<Transport, OptionsError> {
    if options.to.as_ref().is_some_and(|to| to.scheme_str() == Some("https")) {
        return Err(OptionsError("an https:// origin needs the feature `tls` of larder-origin"));
    }
    Ok(http)
}

/// Returns a connector with TLS that trusts Mozilla's root certificates and
/// [`HyperOptions::root_certificates`].
#[cfg(feature = "tls")]
fn transport(http: HttpConnector, options: &HyperOptions) -> Result<Transport, OptionsError> {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let public = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&options.root_certificates) {
        let certificate =
            certificate.map_err(|_| OptionsError("the root certificates could not be parsed as PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| OptionsError("a root certificate is not a valid X.509 certificate"))?;
    }
    if !options.root_certificates.is_empty() && roots.len() == public {
        return Err(OptionsError("the root certificates contain no certificate in PEM"));
    }
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| OptionsError("the TLS library supports no protocol version"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    // In HTTP/2, hyper takes `:authority` from the connection's URI, so the client's `Host` cannot
    // be sent if it differs: such requests use HTTP/1.1.
    let http2 = options.to.is_none() || options.origin_host || options.http2_only;
    Ok(if http2 {
        builder.enable_all_versions().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    })
}
