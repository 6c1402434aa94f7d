//! A certificate for a proxy on 127.0.0.1, and a tunnel: plain bytes in, TLS with HTTP/2 out.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// Writes `cert.pem` and `key.pem`, which are valid for 127.0.0.1 and site.test, into `directory`.
pub(crate) fn write_certificate(directory: &str) -> anyhow::Result<()> {
    let names = ["127.0.0.1".to_owned(), "site.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    fs::write(Path::new(directory).join("cert.pem"), made.cert.pem())?;
    fs::write(Path::new(directory).join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}

/// Forwards each connection to a proxy, over TLS. `argument` is `ADDRESS,CERTIFICATE-FILE`.
pub(crate) fn run_tunnel(argument: &str) -> anyhow::Result<()> {
    let (address, certificate) = argument.split_once(',').context("give ADDRESS,CERTIFICATE-FILE")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = address.to_owned();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        loop {
            let (mut plain, _) = listener.accept().await?;
            let (connector, address) = (connector.clone(), address.clone());
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await?;
                let mut secure = connector.connect(ServerName::try_from("site.test")?, stream).await?;
                tokio::io::copy_bidirectional(&mut plain, &mut secure).await?;
                anyhow::Ok(())
            });
        }
    })
}
