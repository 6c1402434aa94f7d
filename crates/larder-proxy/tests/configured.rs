//! A proxy from a configuration, on real sockets: reloads, the access log, and the admin listener.
#![cfg(all(feature = "config", feature = "tls"))]

mod setting;

use std::io::Write as _;

use larder_testkit::RawOrigin;
use setting::running::{Running, content_with, exchange, origin, parse};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// After a reload, the metric of an origin that was no longer configured stayed, and an alert for
/// it stayed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_origin_has_no_metric() {
    let (one, other) = (origin("one"), origin("other"));
    let route = |origins: &str| {
        format!("admin = {{ listen = \"127.0.0.1:0\" }}\n[[route]]\norigins = [{origins}]\nretries = 0")
    };
    let proxy = Running::start(&route(&format!("\"{}\", \"{}\"", one.url(), other.url()))).await;
    let admin = proxy.admin.expect("an admin listener");
    let metric = |origin: &RawOrigin| format!("larder_origin_healthy{{origin=\"{}\"}} 1\n", origin.url());
    let metrics = exchange(admin, "/metrics").await;
    assert!(metrics.contains(&metric(&one)) && metrics.contains(&metric(&other)), "{metrics}");
    assert!(proxy.get("/").await.ends_with("\r\n\r\none"));
    let changes = proxy.reload(&route(&format!("\"{}\"", other.url())));
    assert_eq!(changes, "changed: route / (origins)");
    assert!(proxy.get("/").await.ends_with("\r\n\r\nother"));
    let metrics = exchange(admin, "/metrics").await;
    assert!(!metrics.contains(&metric(&one)) && metrics.contains(&metric(&other)), "{metrics}");
    proxy.stop().await;
}

/// A reload with another address reported success, and the old address stayed in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_states_what_needs_a_restart() {
    let (one, other) = (origin("one"), origin("other"));
    let route = |origin: &RawOrigin| format!("[[route]]\norigins = \"{}\"", origin.url());
    let proxy = Running::start(&route(&one)).await;
    let config = parse(&format!("listen = \"127.0.0.1:1\"\nkeep_alive = \"5s\"\n{}", route(&other)));
    let changes = proxy.handle.reload(config).expect("valid");
    assert_eq!(changes.needs_restart(), ["keep_alive", "listen", "workers"]);
    assert_eq!(changes.applied(), ["route / (origins)"]);
    assert!(proxy.get("/").await.ends_with("\r\n\r\nother"));
    // What is refused changes nothing.
    let wrong = parse("[[route]]\norigins = \"127.0.0.1:1\"");
    let error = proxy.handle.reload(wrong).expect_err("not a URL").to_string();
    assert!(error.starts_with("line 2: route.origins: 127.0.0.1:1"), "{error}");
    assert!(proxy.get("/").await.ends_with("\r\n\r\nother"));
    assert_eq!(proxy.reload(&route(&other)), "no changes");
    proxy.stop().await;
}

/// Trusted proxies are a matter of security: a change is in force at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_trusted_proxies() {
    let origin = origin("page");
    let text = |trusted: &str| format!("{trusted}\n[[route]]\norigins = \"{}\"", origin.url());
    let proxy = Running::start(&text("trusted_proxies = \"private\"")).await;
    let get = async || {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it accepts");
        let request =
            "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: other\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("an answer");
        origin.heads().pop().expect("a request").to_ascii_lowercase()
    };
    assert!(get().await.contains("x-forwarded-host: other\r"));
    assert_eq!(proxy.reload(&text("")), "changed: trusted_proxies");
    assert!(get().await.contains("x-forwarded-host: localhost\r"));
    proxy.stop().await;
}

/// URLs are mapped by default, for each of several origins, and not with `map_back = false`.
#[tokio::test(flavor = "multi_thread")]
async fn urls_of_origins_become_public() {
    let origin = RawOrigin::start(|_, stream| {
        let address = stream.local_addr().expect("an address");
        write!(stream, "HTTP/1.1 302 Found\r\nlocation: http://{address}/a\r\ncontent-length: 0\r\n\r\n")
            .is_ok()
    });
    let url = origin.url();
    let proxy = Running::start(&format!(
        "[[route]]\norigins = [\"{url}\", \"{url}\"]\n\
         [[route]]\nprefix = \"/off\"\norigins = \"{url}\"\nmap_back = false\n"
    ))
    .await;
    let location = |response: String| {
        response.lines().find_map(|line| line.strip_prefix("location: ")).expect("a Location").to_owned()
    };
    assert_eq!(location(proxy.get("/").await), "http://localhost/a");
    assert_eq!(location(proxy.get("/off").await), format!("{url}/a"));
    proxy.stop().await;
}

/// The rules of a file apply, and a purge of a URL reaches the forms that they make.
#[tokio::test(flavor = "multi_thread")]
async fn rules_for_some_requests() {
    let origin = RawOrigin::start(|head, stream| {
        let cookies = head.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or_default();
        let head = "HTTP/1.1 200 OK\r\ncache-control: public, max-age=60\r\ncontent-length";
        // In one piece: only a body that comes with its head is stored before that is sent on.
        stream.write_all(format!("{head}: {}\r\n\r\n{cookies}", cookies.len()).as_bytes()).is_ok()
    });
    let text = format!(
        r#"
        admin = {{ listen = "127.0.0.1:0" }}
        [[route]]
        origins = "{}"
        [[route.when]]
        path = "/account/*"
        bypass = true
        [[route.when]]
        header = {{ X-Plan = "full", Cookie = "*" }}
        freshness = "1h"
        [[route.when]]
        path = "*"
        strip_cookies = "_ga*"
        key = {{ cookies = "a" }}
        "#,
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let get = async |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it accepts");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("an answer");
        response
    };
    assert!(get("/account/x", "").await.contains("larder; fwd=bypass"));
    let full = "X-Plan: full\r\nCookie: a=1; _ga=2\r\n";
    for headers in [full, "Cookie: a=1; _ga=3\r\n", ""] {
        let (miss, hit) = (get("/page", headers).await, get("/page", headers).await);
        assert!(miss.contains("fwd=uri-miss; fwd-status=200; stored"), "{headers}: {miss}");
        assert!(hit.contains("larder; hit; ttl="), "{headers}: {hit}");
        assert!(hit.ends_with(if headers.is_empty() { "\r\n\r\n" } else { "\r\n\r\na=1" }), "{hit}");
    }
    let mut admin = TcpStream::connect(proxy.admin.expect("a listener")).await.expect("it accepts");
    let body = "{\"url\": \"http://localhost/page\"}";
    let purge = format!(
        "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    admin.write_all(purge.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    admin.read_to_string(&mut response).await.expect("an answer");
    assert!(response.contains("\"purged\":\"http://localhost/page\""), "{response}");
    for headers in [full, "Cookie: a=1\r\n", ""] {
        assert!(!get("/page", headers).await.contains("larder; hit"), "{headers}");
    }
    proxy.stop().await;
}

/// With `not`, a rule is for the other requests. Its lifetime is stored under a key of their own,
/// and a path that could be read as an excluded one bypasses the cache.
#[tokio::test(flavor = "multi_thread")]
async fn rules_for_all_other_requests() {
    let origin = RawOrigin::start(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage").is_ok()
    });
    let text = format!(
        r#"
        [[route]]
        origins = "{}"
        [[route.when]]
        not = {{ method = ["GET", "HEAD"], header = {{ X-A = "1", X-B = "2" }} }}
        bypass = true
        [[route.when]]
        path = "/*"
        not = {{ path = "/account/*", cookie = "session" }}
        freshness = "1h"
        "#,
        origin.url()
    );
    let proxy = Running::start(&text).await;
    let ask = async |method: &str, path: &str, headers: &str| {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it accepts");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("an answer");
        response
    };
    for (method, path, headers, expected) in [
        ("OPTIONS", "/x", "", "fwd=bypass"),
        ("OPTIONS", "/x", "X-A: 1\r\n", "fwd=bypass"),
        ("OPTIONS", "/x", "X-A: 1\r\nX-B: 2\r\n", "fwd=method"),
        ("GET", "/x", "", "fwd=uri-miss; fwd-status=200; stored"),
        ("GET", "/x", "Cookie: other=1\r\n", "larder; hit"),
        ("GET", "/x", "Cookie: session=1\r\n", "fwd=uri-miss; fwd-status=200; detail=no-use"),
        ("GET", "/x", "Cookie: a=\"session=1\"\r\n", "fwd=uri-miss; fwd-status=200; detail=no-use"),
        ("GET", "/x", "", "larder; hit"),
        ("GET", "/account/x", "", "fwd=uri-miss; fwd-status=200; detail=no-use"),
        ("GET", "/Account/x", "", "fwd=bypass"),
        ("GET", "//account/x", "", "fwd=bypass"),
    ] {
        let response = ask(method, path, headers).await;
        assert!(response.contains(expected), "{method} {path} {headers}: {response}");
    }
    proxy.stop().await;
}

/// After logrotate had renamed the log, lines went to the old file until a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_opens_the_log_again() {
    let (origin, folder) = (origin("page"), tempfile::tempdir().expect("a folder"));
    let (log, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let text = format!(
        "log = {{ access = \"text\", file = \"{}\" }}\n[[route]]\norigins = \"{}\"",
        log.display(),
        origin.url()
    );
    let proxy = Running::start(&text).await;
    proxy.get("/before").await;
    content_with(&log, "/before").await;
    std::fs::rename(&log, &old).expect("renamed");
    proxy.get("/renamed").await;
    content_with(&old, "/renamed").await;
    assert_eq!(proxy.reload(&text), "no changes");
    proxy.get("/after").await;
    let line = content_with(&log, "/after").await;
    assert!(!line.contains("/before") && !line.contains("/renamed"), "{line}");
    assert!(!std::fs::read_to_string(&old).expect("the old file").contains("/after"));
    proxy.stop().await;
}
