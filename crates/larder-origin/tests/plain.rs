//! Without the feature `tls`: `cargo test -p larder-origin --no-default-features --test plain`.
#![cfg(not(feature = "tls"))]

mod setting;

use larder_core::{Body, Origin as _, OriginErrorKind};
use larder_origin::{HyperOptions, HyperOrigin};

/// A build without TLS sent requests for `https` URIs in plain text to the port of the URI.
#[tokio::test]
async fn an_https_uri_is_never_sent_in_plain_text() {
    let server = setting::Server::bind().await;
    let origin = HyperOrigin::new(HyperOptions::default()).expect("valid options");
    let url = server.url().replace("http://", "https://");
    let request = http::Request::get(url).body(Body::empty()).expect("a request");
    let error = origin.fetch(request).await.expect_err("no TLS");
    assert_eq!(error.kind(), OriginErrorKind::Connect);
    assert!(!server.has_pending_connection().await, "no connection is opened");
}
