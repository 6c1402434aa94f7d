//! The choice of the crypto provider belongs to the program: this crate makes none for the process.
#![cfg(feature = "tls")]

use larder_reqwest::{CachedClient, ErrorKind};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// A program created a client, and then panicked as it installed its own provider.
#[tokio::test]
async fn a_program_can_install_its_own_provider_afterwards() {
    let client = CachedClient::builder().no_proxy().build().expect("a client");
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = client.get(format!("https://{closed}/")).send().await.expect_err("nothing listens");
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(CryptoProvider::get_default().is_none());
    aws_lc_rs::default_provider().install_default().expect("no provider is installed");
}
