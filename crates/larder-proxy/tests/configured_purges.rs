//! Tags of responses, and purges by requests to the proxy itself, on real sockets.
#![cfg(all(feature = "config", feature = "tls"))]

mod setting;

use std::{io::Write as _, net::SocketAddr};

use larder_testkit::RawOrigin;
use setting::running::{Running, exchange};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Starts an origin of which each page has two tags: its path, and `all`.
fn shop() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let tag = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let fields = format!("cache-control: max-age=60\r\nx-cache-tags: {tag},all\r\ncontent-length: 4");
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\npage").as_bytes()).is_ok()
    })
}

/// Starts a proxy in front of the origin, with this table `[purge]`.
async fn proxy(origin: &RawOrigin, purge: &str) -> Running {
    Running::start(&format!(
        "tag_fields = [\"X-Cache-Tags\"]\nadmin = {{ listen = \"127.0.0.1:0\" }}\n{purge}\n\
         [[route]]\norigins = \"{}\"\n",
        origin.url()
    ))
    .await
}

/// Sends a request with these fields, and returns the response.
async fn send(proxy: &Running, line: &str, fields: &str) -> String {
    send_to(proxy.address, line, fields, "").await
}

/// Sends a request with these fields and this content, and returns the response.
async fn send_to(address: SocketAddr, line: &str, fields: &str, content: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close");
    let request = match content.len() {
        0 => format!("{head}\r\n\r\n"),
        length => format!("{head}\r\nContent-Length: {length}\r\n\r\n{content}"),
    };
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("an answer");
    response
}

/// Requests a page, and returns whether it was a hit. No response has the tags.
async fn is_hit(proxy: &Running, path: &str) -> bool {
    let response = proxy.get(path).await;
    assert!(!response.contains("x-cache-tags"), "{response}");
    assert!(response.ends_with("\r\n\r\npage"), "{response}");
    response.contains("; hit")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_the_networks_purge() {
    let origin = shop();
    let proxy = proxy(&origin, "purge = { from = [\"127.0.0.0/8\"] }").await;
    // As Symfony (FOSHttpCache), Magento, and WordPress send it.
    for (line, fields, purged) in [
        ("BAN /", "X-Host: .*\r\nX-Url: .*\r\nX-Cache-Tags: (^|,)(a|none)(,|$)\r\n", ["/a"].as_slice()),
        ("PURGE /", "X-Magento-Tags-Pattern: ((^|,)b(,|$))\r\n", &["/b"]),
        ("PURGE /", "X-Magento-Tags-Pattern: .*\r\n", &["/a", "/b", "/c"]),
        ("PURGE /c", "", &["/c"]),
        ("PURGE /.*", "X-Purge-Method: regex\r\n", &["/a", "/b", "/c"]),
        ("PURGEKEYS /", "xkey-purge: all\r\n", &["/a", "/b", "/c"]),
    ] {
        for path in ["/a", "/b", "/c"] {
            is_hit(&proxy, path).await;
            assert!(is_hit(&proxy, path).await, "{path} is stored");
        }
        let response = send(&proxy, line, fields).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{line} {fields}: {response}");
        for path in ["/a", "/b", "/c"] {
            let expected = !purged.contains(&path);
            assert_eq!(is_hit(&proxy, path).await, expected, "{path} after {line} {fields}");
        }
    }
    let response = send(&proxy, "BAN /", "X-Url: [a-z]+\r\n").await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    proxy.stop().await;
}

/// Behind another proxy, every client has its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_through_another_proxy_needs_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef\n").expect("it is written");
    let origin = shop();
    let purge = format!("purge = {{ from = \"127.0.0.1\", token_file = \"{}\" }}", token.display());
    let proxy = proxy(&origin, &purge).await;
    is_hit(&proxy, "/a").await;
    for fields in ["X-Forwarded-For: 192.0.2.1\r\n", "Via: 1.1 balancer\r\n", "Forwarded: for=192.0.2.1\r\n"]
    {
        let response = send(&proxy, "PURGE /a", fields).await;
        assert!(response.starts_with("HTTP/1.1 405 "), "{fields}: {response}");
        let wrong = format!("{fields}Authorization: Bearer 0123456789abcdeX\r\n");
        assert!(send(&proxy, "PURGE /a", &wrong).await.starts_with("HTTP/1.1 405 "), "{fields}");
        assert!(is_hit(&proxy, "/a").await, "nothing was purged");
        let right = format!("{fields}Authorization: Bearer 0123456789abcdef\r\n");
        assert!(send(&proxy, "PURGE /a", &right).await.starts_with("HTTP/1.1 200 "), "{fields}");
        assert!(!is_hit(&proxy, "/a").await, "it was purged");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_client_purges() {
    let origin = shop();
    for purge in ["", "purge = { from = \"192.0.2.0/24\" }"] {
        let proxy = proxy(&origin, purge).await;
        is_hit(&proxy, "/a").await;
        for line in ["PURGE /a", "BAN /a", "PURGEKEYS /a", "REFRESH /a"] {
            let response = send(&proxy, line, "X-Cache-Tags: all\r\n").await;
            assert!(response.starts_with("HTTP/1.1 405 "), "{line}: {response}");
        }
        assert!(is_hit(&proxy, "/a").await, "nothing was purged");
        proxy.stop().await;
    }
}

/// The purge succeeded, and removed nothing: no response had a tag.
#[tokio::test(flavor = "multi_thread")]
async fn tags_need_fields_to_be_read_from() {
    let origin = shop();
    let text = format!("purge = {{ from = \"private\" }}\n[[route]]\norigins = \"{}\"\n", origin.url());
    let proxy = Running::start(&text).await;
    let response = send(&proxy, "PURGE /", "X-Magento-Tags-Pattern: a\r\n").await;
    assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("tag_fields"), "{response}");
    assert!(send(&proxy, "PURGE /a", "").await.starts_with("HTTP/1.1 200 "));
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_purges_tags_of_all_hosts() {
    let origin = shop();
    let proxy = proxy(&origin, "").await;
    is_hit(&proxy, "/a").await;
    let admin = proxy.admin.expect("an admin listener");
    let fields = "Content-Type: application/json\r\n";
    let response = send_to(admin, "POST /purge", fields, "{\"tag\": \"all\"}").await;
    assert!(response.contains("\"purged\":\"all\""), "{response}");
    assert!(!is_hit(&proxy, "/a").await);
    assert!(exchange(admin, "/stats").await.contains("\"stored\":2"));
    proxy.stop().await;
}
