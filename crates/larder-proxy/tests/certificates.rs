//! Certificates of a listener: which one a client gets, errors, and renewal while the server runs.
#![cfg(feature = "tls")]

mod setting;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use larder_proxy::{CertificateFiles, Certificates, ListenerOptions};
use larder_testkit::FnOrigin;
use setting::{
    PATIENCE, Protocol, Proxy, Setup,
    client::{Trust, connect},
    read_to_end, status, storable,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

/// The files of certificates in a folder.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn paths(&self, name: &str) -> [PathBuf; 2] {
        ["pem", "key"].map(|ending| self.0.path().join(format!("{name}.{ending}")))
    }

    /// Writes a certificate under a name.
    fn write(&self, name: &str, trust: &Trust) -> CertificateFiles {
        let [certificate, key] = self.paths(name);
        trust.write([&certificate, &key]);
        CertificateFiles::new(certificate, key)
    }
}

/// Starts a proxy with these certificates on its second listener.
fn start(certificates: &Certificates, interval: Duration) -> Proxy {
    let listener = ListenerOptions::tcp(([127, 0, 0, 1], 0).into()).with_certificates(certificates.clone());
    Setup::new(Protocol::Http1)
        .server(|options| options.with_workers(2).with_certificate_interval(interval))
        .listener(listener)
        .with(FnOrigin::new(|_, _| Ok(storable("a page"))))
}

/// Sends a request over TLS to a server of this name.
async fn get(proxy: &Proxy, trusted: &[&Trust], name: &str) -> std::io::Result<u16> {
    let tcp = TcpStream::connect(proxy.address_of(1)).await?;
    let mut stream = timeout(PATIENCE, connect(trusted, tcp, name)).await.expect("in time")?;
    stream.write_all(GET).await?;
    Ok(status(&read_to_end(&mut stream).await))
}

#[tokio::test]
async fn a_certificate_is_chosen_by_its_own_names() {
    let files = Files::new();
    let [first, second, wild] =
        [&["first.test"][..], &["second.test", "a.wild.test"], &["*.wild.test"]].map(Trust::new);
    let certificates = Certificates::from_files([
        files.write("first", &first),
        files.write("second", &second),
        files.write("wild", &wild),
    ])
    .expect("valid files");
    let proxy = start(&certificates, Duration::ZERO);
    for (name, trust) in [
        ("first.test", &first),
        ("second.test", &second),
        ("Second.Test", &second),
        ("a.wild.test", &second),
        ("b.wild.test", &wild),
    ] {
        assert_eq!(get(&proxy, &[trust], name).await.expect("the right certificate"), 200, "{name}");
    }
    // These get the first one, which their clients do not accept.
    for name in ["wild.test", "a.b.wild.test", "other.test", "127.0.0.1"] {
        let error = get(&proxy, &[&first, &second, &wild], name).await.expect_err(name).to_string();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
    let names: Vec<_> = certificates.expiries().into_iter().map(|expiry| expiry.names).collect();
    assert_eq!(names, [vec!["first.test"], vec!["second.test", "a.wild.test"], vec!["*.wild.test"]]);
}

#[test]
fn errors_name_the_file() {
    let files = Files::new();
    let (good, other) = (Trust::new(&["site.test"]), Trust::new(&["other.test"]));
    let good_files = files.write("good", &good);
    let [certificate, key] = files.paths("good");
    let [_, other_key] = {
        files.write("other", &other);
        files.paths("other")
    };
    let nameless = rcgen::KeyPair::generate().expect("a key");
    let without_name = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    let without_name = without_name.self_signed(&nameless).expect("a certificate");
    let [nameless_file, nameless_key] = files.paths("nameless");
    std::fs::write(&nameless_file, without_name.pem()).expect("a file");
    std::fs::write(&nameless_key, nameless.serialize_pem()).expect("a file");
    let garbage = files.0.path().join("garbage");
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\n!!!\n").expect("a file");
    let large = files.0.path().join("large");
    std::fs::write(&large, vec![b' '; 1024 * 1024 + 1]).expect("a file");
    let missing = files.0.path().join("missing");
    for (certificate, key, file, words) in [
        (&missing, &key, &missing, "can't read the file"),
        (&certificate, &missing, &missing, "can't read the file"),
        (&garbage, &key, &garbage, "not valid PEM"),
        (&key, &key, &key, "contains no certificate"),
        (&certificate, &certificate, &certificate, "no private key"),
        (&certificate, &other_key, &certificate, "does not match"),
        (&large, &key, &large, "larger than 1 MiB"),
        (&nameless_file, &nameless_key, &nameless_file, "no DNS name"),
    ] {
        let pairs = [good_files.clone(), CertificateFiles::new(certificate, key)];
        let error = Certificates::from_files(pairs).expect_err(words);
        assert_eq!(error.file(), Some(file.as_path()), "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.starts_with(&file.display().to_string()), "{text}");
    }
    Certificates::from_files([]).expect_err("no certificate");
    Certificates::from_files([CertificateFiles::new(nameless_file, nameless_key)]).expect("as the default");
}

/// After a renewal, the proxy served the old certificate until it was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_under_load_fails_no_handshake() {
    let files = Files::new();
    let old = Trust::new(&["site.test"]);
    let certificates = Certificates::from_files([files.write("site", &old)]).expect("valid files");
    let proxy = Arc::new(start(&certificates, Duration::ZERO));
    let all: Arc<Vec<Trust>> = Arc::new((0..50).map(|_| Trust::new(&["site.test"])).collect());
    let (done, completed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let old = Arc::new(old);
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (proxy, all, old) = (Arc::clone(&proxy), Arc::clone(&all), Arc::clone(&old));
            let (done, completed) = (Arc::clone(&done), Arc::clone(&completed));
            tokio::spawn(async move {
                let trusted: Vec<&Trust> = all.iter().chain([&*old]).collect();
                while !done.load(Ordering::SeqCst) {
                    let code = get(&proxy, &trusted, "site.test").await;
                    assert_eq!(code.expect("a handshake"), 200);
                    completed.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for trust in &*all {
        let goal = completed.load(Ordering::SeqCst) + 4;
        while completed.load(Ordering::SeqCst) < goal
            && !load.iter().any(tokio::task::JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
        files.write("site", trust);
        let (renewed, certificates) = (trust, certificates.clone());
        tokio::task::spawn_blocking(move || certificates.reload())
            .await
            .expect("no panic")
            .expect("valid files");
        assert_eq!(get(&proxy, &[renewed], "site.test").await.expect("the new certificate"), 200);
    }
    done.store(true, Ordering::SeqCst);
    for task in load {
        task.await.expect("no handshake has failed");
    }
}

/// The files of a certificate are replaced, first by ones that do not match.
#[tokio::test]
async fn changed_files_are_read_again_and_broken_ones_are_not_used() {
    let files = Files::new();
    let (old, new) = (Trust::new(&["site.test"]), Trust::new(&["site.test"]));
    let certificates = Certificates::from_files([files.write("site", &old)]).expect("valid files");
    let [certificate, key] = files.paths("site");
    assert_eq!(certificates.reload_if_changed(), Ok(false));
    std::fs::write(&certificate, &new.pem.0).expect("a file");
    let error = certificates.reload_if_changed().expect_err("the key is that of the old one");
    assert_eq!(error.file(), Some(certificate.as_path()));
    assert_eq!(certificates.reload_if_changed(), Ok(false), "the error is reported once");
    let proxy = start(&certificates, Duration::from_millis(10));
    assert_eq!(get(&proxy, &[&old], "site.test").await.expect("the old certificate"), 200);
    std::fs::write(&key, &new.pem.1).expect("a file");
    while get(&proxy, &[&new], "site.test").await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::remove_file(Path::new(&key)).expect("a file");
    certificates.reload().expect_err("there is no key");
    assert_eq!(get(&proxy, &[&new], "site.test").await.expect("the last valid one"), 200);
    let other = Trust::new(&["other.test"]);
    certificates.replace_files([files.write("other", &other)]).expect("valid files");
    assert_eq!(get(&proxy, &[&other], "other.test").await.expect("the other certificate"), 200);
}

#[test]
fn the_end_of_each_certificate_is_known() {
    let files = Files::new();
    let [certificate, key] = files.paths("site");
    let pair = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["site.test".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    std::fs::write(&certificate, params.self_signed(&pair).expect("a certificate").pem()).expect("a file");
    std::fs::write(&key, pair.serialize_pem()).expect("a file");
    let certificates = Certificates::from_files([CertificateFiles::new(&certificate, key)]);
    let expiries = certificates.expect("valid files").expiries();
    assert_eq!(expiries[0].file.as_deref(), Some(&*certificate));
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800);
    assert_eq!(expiries[0].not_after, Some(end));
}
