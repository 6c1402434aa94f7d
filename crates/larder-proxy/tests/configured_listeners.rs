//! The listeners of a configuration, on real sockets: each of its own kind, with its own scheme.
#![cfg(all(feature = "config", feature = "tls", unix))]

mod setting;

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use larder_testkit::RawOrigin;
use setting::{
    client::{Trust, connect},
    header, read_to_end,
    running::{Running, parse},
    status,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
};

const GET: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

/// Starts an origin with pages that state the scheme and the client of their first request.
fn origin() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
        };
        let page = format!("{} {}", field("x-forwarded-proto:"), field("x-forwarded-for:"));
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length";
        write!(stream, "{head}: {}\r\n\r\n{page}", page.len()).is_ok()
    })
}

/// Sends bytes, and returns the response.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: impl AsRef<[u8]>) -> String {
    // The proxy may close the connection before everything is sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    read_to_end(&mut stream).await
}

/// Returns the content of a response.
fn content(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}

/// Writes a certificate, and returns the lines `cert` and `key` of a table.
fn files(folder: &Path, name: &str, trust: &Trust) -> String {
    let [cert, key] = ["pem", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
    trust.write([&cert, &key]);
    format!("cert = \"{}\", key = \"{}\"", cert.display(), key.display())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// With `[tls]`, all listeners counted as ones with TLS: what was fetched for a client without it
/// was stored as the page of the other scheme.
#[tokio::test]
async fn each_listener_has_the_scheme_of_its_connections() {
    let (origin, folder, trust) = (origin(), folder(), Trust::new(&["site.test"]));
    let other = Trust::new(&["other.test"]);
    let socket = folder.path().join("larder.sock");
    let text = format!(
        r#"
        [tls]
        {}
        further = [{{ {} }}]
        [[listener]]
        listen = "127.0.0.1:0"
        [[listener]]
        listen = "127.0.0.1:0"
        tls = true
        [[listener]]
        listen = "127.0.0.1:0"
        tls = {{ {} }}
        [[listener]]
        listen = "unix:{}"
        unix_mode = 0o600
        [[route]]
        origins = "{}"
        "#,
        files(folder.path(), "site", &trust).replace(", ", "\n"),
        files(folder.path(), "other", &other),
        files(folder.path(), "own", &other),
        socket.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let names: Vec<String> = proxy.addresses.iter().map(ToString::to_string).collect();
    for (name, scheme) in names.iter().zip(["https://", "http://", "https://", "https://", "unix:/"]) {
        assert!(name.starts_with(scheme), "{names:?}");
    }
    for round in 0..2 {
        for (position, server, trust, expected) in [
            (0, "site.test", Some(&trust), "https 127.0.0.1"),
            (1, "", None, "http 127.0.0.1"),
            (2, "site.test", Some(&trust), "https 127.0.0.1"),
            (2, "other.test", Some(&other), "https 127.0.0.1"),
            (3, "other.test", Some(&other), "https 127.0.0.1"),
        ] {
            let tcp = proxy.connect(position).await;
            let response = match trust {
                Some(trust) => ask(connect(&[trust], tcp, server).await.expect("its certificate"), GET).await,
                None => ask(tcp, GET).await,
            };
            assert_eq!(content(&response), expected, "{position}, {server}");
            let is_hit = header(&response, "cache-status").is_some_and(|how| how.contains("; hit"));
            assert_eq!(is_hit, round == 1 || position > 1, "{position}: {response}");
        }
    }
    let local = ask(UnixStream::connect(&socket).await.expect("it listens"), GET).await;
    assert_eq!(content(&local), "http 127.0.0.1");
    assert_eq!(socket.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    proxy.stop().await;
}

/// Without `listen`, the tables are all listeners.
#[tokio::test]
async fn a_proxy_may_have_no_address_at_all() {
    let (origin, folder) = (origin(), folder());
    let socket = folder.path().join("larder.sock");
    let text = format!(
        "[[listener]]\nlisten = \"unix:{}\"\n[[route]]\norigins = \"{}\"",
        socket.display(),
        origin.url()
    );
    let proxy = Running::with(&text, |proxy| proxy).await;
    assert_eq!(proxy.addresses.len(), 1);
    let response = ask(UnixStream::connect(&socket).await.expect("it listens"), GET).await;
    assert_eq!(content(&response), "http 127.0.0.1");
    proxy.stop().await;
    assert!(!socket.exists());
}

/// The proxy in front states the client and, in version 2, whether it has used TLS.
#[tokio::test]
async fn the_proxy_protocol_states_client_and_scheme() {
    let (origin, folder) = (origin(), folder());
    let socket = folder.path().join("larder.sock");
    let text = format!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = [\"192.0.2.0/24\"]\n\
         [[listener]]\nlisten = \"unix:{}\"\nproxy_protocol = \"private\"\n\
         [[route]]\norigins = \"{}\"\ncache = false",
        socket.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let version_1 = |client: &str| format!("PROXY TCP4 {client} 198.51.100.1 5 443\r\n{GET}");
    let response = ask(proxy.connect(1).await, version_1("192.0.2.7")).await;
    assert_eq!(content(&response), "http 192.0.2.7");
    for (client, tlv, expected) in [
        (9, &[0x20, 0, 5, 0x01, 0, 0, 0, 0][..], "https 192.0.2.9"),
        (8, &[0x20, 0, 5, 0x06, 0, 0, 0, 0], "http 192.0.2.8"),
        (6, &[0x04, 0, 1, 0x20, 0x20, 0, 5, 0x07, 0, 0, 0, 0], "https 192.0.2.6"),
        (5, &[0x20, 0, 9, 0x01], "http 192.0.2.5"),
    ] {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
        header.push(u8::try_from(12 + tlv.len()).expect("short"));
        header.extend([192, 0, 2, client, 198, 51, 100, 1, 0, 5, 1, 0xbb]);
        header.extend(tlv);
        header.extend(GET.as_bytes());
        assert_eq!(content(&ask(proxy.connect(1).await, header).await), expected, "{tlv:?}");
    }
    assert_eq!(ask(proxy.connect(1).await, GET).await, "", "without a header");
    assert_eq!(ask(proxy.connect(2).await, version_1("192.0.2.7")).await, "", "from another network");
    let local = UnixStream::connect(&socket).await.expect("it listens");
    assert_eq!(content(&ask(local, version_1("192.0.2.4")).await), "http 192.0.2.4");
    proxy.stop().await;
}

#[tokio::test]
async fn a_listener_redirects_to_https() {
    let origin = origin();
    let text = format!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\nredirect = true\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\n\
         redirect = {{ status = 302, host = \"www.site.test\", port = 8443, acme_challenges = true }}\n\
         [[route]]\norigins = \"{}\"",
        origin.url()
    );
    let proxy = Running::start(&text).await;
    for (position, code, location) in
        [(1, 308, "https://site.test/page"), (2, 302, "https://www.site.test:8443/page")]
    {
        let response = ask(proxy.connect(position).await, GET).await;
        assert_eq!((status(&response), header(&response, "location")), (code, Some(location)));
        let challenge = GET.replace("/page", "/.well-known/acme-challenge/x");
        let served = status(&ask(proxy.connect(position).await, challenge).await) == 200;
        assert_eq!(served, position == 2);
    }
    assert_eq!(status(&ask(proxy.connect(0).await, GET).await), 200);
    proxy.stop().await;
}

/// A service manager has opened the sockets. Two of them have one name.
#[tokio::test]
async fn inherited_sockets_are_listeners() {
    let (origin, folder, trust) = (origin(), folder(), Trust::new(&["site.test"]));
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let path = folder.path().join("inherited.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let text = format!(
        "[[listener]]\nlisten = \"fd:web\"\n[[listener]]\nlisten = \"fd:1\"\ntls = {{ {} }}\n\
         [[route]]\norigins = \"{}\"",
        files(folder.path(), "site", &trust),
        origin.url()
    );
    let proxy = Running::with(&text, |proxy| {
        proxy
            .with_socket("web", bind().into())
            .with_socket("secure", bind().into())
            .with_socket("web", unix.into())
            .with_socket("unused", bind().into())
    })
    .await;
    assert_eq!(content(&ask(proxy.connect(0).await, GET).await), "http 127.0.0.1");
    let local = UnixStream::connect(&path).await.expect("it listens");
    assert_eq!(content(&ask(local, GET).await), "http 127.0.0.1");
    let secure = connect(&[&trust], proxy.connect(2).await, "site.test").await.expect("a handshake");
    assert_eq!(content(&ask(secure, GET).await), "https 127.0.0.1");
    proxy.stop().await;

    let store = std::sync::Arc::new(larder_memory::MemoryStore::default());
    let proxy = larder_proxy::Proxy::from_config(parse(&text), store).expect("valid");
    let error = proxy.with_socket("other", bind().into()).bind().expect_err("no such socket");
    let expected = "line 2: listener.listen: there is no inherited socket for fd:web: passed were 1 with the names other";
    assert_eq!((error.to_string().as_str(), error.is_io()), (expected, true));
}

/// A reload serves other certificates where there were some, and states what needs a restart.
#[tokio::test]
async fn a_reload_replaces_the_certificates_of_each_listener() {
    let (origin, folder) = (origin(), folder());
    let [old, new] = [(); 2].map(|()| Trust::new(&["site.test"]));
    let [old_files, new_files] =
        [("old", &old), ("new", &new)].map(|(name, trust)| files(folder.path(), name, trust));
    let text = |first: &str, second: &str, rest: &str| {
        format!(
            "tls = {{ {first} }}\n[[listener]]\nlisten = \"127.0.0.1:0\"\ntls = {{ {second} }}\n{rest}\n\
             [[route]]\norigins = \"{}\"",
            origin.url()
        )
    };
    let proxy = Running::start(&text(&old_files, &old_files, "")).await;
    let is_trusted = async |position: usize, trust: &Trust| {
        connect(&[trust], proxy.connect(position).await, "site.test").await.is_ok()
    };
    assert!(is_trusted(0, &old).await && is_trusted(1, &old).await);
    let changes = proxy.reload(&text(&old_files, &new_files, ""));
    assert_eq!(changes, "changed: listener 127.0.0.1:0 (tls)");
    assert!(is_trusted(0, &old).await && is_trusted(1, &new).await);
    let changes = proxy.reload(&text(&new_files, &new_files, "proxy_protocol = \"private\""));
    assert_eq!(changes, "changed: tls; listener needs a restart");
    assert!(is_trusted(0, &new).await && is_trusted(1, &new).await);
    proxy.stop().await;
}
