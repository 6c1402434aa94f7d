//! The choice of the crypto provider belongs to the program: a TLS connection to a server makes
//! none for the process.
#![cfg(feature = "tls")]

mod setting;

use std::time::Duration;

use larder_core::{CacheStore as _, Invalidation};
use larder_redis::RedisStore;
use larder_testkit::key;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use setting::{Server, options};

/// A program connected to Redis over TLS, and then panicked as it installed its own provider.
#[tokio::test]
async fn a_program_can_install_its_own_provider_afterwards() {
    let directory = tempfile::tempdir().expect("a directory");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key_file) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, certificate.cert.pem()).expect("a file");
    std::fs::write(&key_file, certificate.signing_key.serialize_pem()).expect("a file");
    let port = setting::free_port().to_string();
    let (cert, key_file) = (cert.display().to_string(), key_file.display().to_string());
    let _server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key_file,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ]);
    let mut trusting = options();
    trusting.root_certificates = certificate.cert.pem().into_bytes();
    let url = format!("rediss://localhost:{port}/0");
    let store = RedisStore::connect(&url, trusting).await.expect("a connection");
    assert!(store.lookup(&key("/")).await.expect("it looks up").is_empty());
    // A connection for subscriptions, too.
    let mut feed = store.invalidations().expect("a feed").listen();
    let first = tokio::time::timeout(Duration::from_secs(60), feed.next()).await.expect("in time");
    assert!(!matches!(first, Invalidation::Disconnected), "{first:?}");
    assert!(CryptoProvider::get_default().is_none());
    aws_lc_rs::default_provider().install_default().expect("no provider is installed");
}
