//! Where requests go, and under which name.

mod setting;

use larder_origin::HyperOptions;
use setting::{Server, get, sending, with};

/// The head that an origin gets for a request.
async fn seen(prefix: &str, own_name: bool, request: http::Request<larder_core::Body>) -> (String, String) {
    let server = Server::bind().await;
    let origin = with(&format!("{}{prefix}", server.url()), |options| options.origin_host = own_name);
    let got = sending(&origin, request);
    let head = server.accept().await.head().await.expect("a request");
    got.abort();
    let name = server.url().trim_start_matches("http://").to_owned();
    (head.replace(&name, "ORIGIN"), name)
}

fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[tokio::test]
async fn the_clients_name_goes_along() {
    let (head, _) = seen("", false, get("/a?b=c")).await;
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert_eq!(lines(&head, "host"), ["example.com"]);
}

/// The key has the name in one form: were others passed on, the page made for one would be stored under all.
#[tokio::test]
async fn host_is_the_name_in_the_key() {
    for written in ["EXAMPLE.com", "example.com:80", "another.example"] {
        let mut request = get("/");
        request.headers_mut().insert("host", http::HeaderValue::from_static(written));
        request.headers_mut().append("host", http::HeaderValue::from_static("second.example"));
        let (head, _) = seen("", false, request).await;
        assert_eq!(lines(&head, "host"), ["example.com"], "{written}");
    }
}

#[tokio::test]
async fn the_origins_own_name_if_wanted() {
    let mut request = get("/");
    request.headers_mut().insert("host", http::HeaderValue::from_static("example.com"));
    let (head, _) = seen("", true, request).await;
    assert_eq!(lines(&head, "host"), ["ORIGIN"]);
}

#[tokio::test]
async fn a_prefix_comes_before_the_path() {
    for (prefix, path, expected) in [
        ("/app", "/a?b", "/app/a?b"),
        ("/app/", "/", "/app/"),
        ("/", "/a", "/a"),
        ("/app", "/a%2Fb", "/app/a%2Fb"),
    ] {
        let (head, _) = seen(prefix, false, get(path)).await;
        assert!(head.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{prefix} and {path}: {head}");
    }
}

#[tokio::test]
async fn without_a_fixed_origin_the_uri_says_where() {
    let server = Server::bind().await;
    let origin = std::sync::Arc::new(
        larder_origin::HyperOrigin::new(HyperOptions::default()).expect("the defaults fit together"),
    );
    let mut request = get("/");
    *request.uri_mut() = format!("{}/x", server.url()).parse().expect("a URI");
    let got = sending(&origin, request);
    let head = server.accept().await.head().await.expect("a request");
    got.abort();
    let name = server.url().trim_start_matches("http://").to_owned();
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
    assert_eq!(lines(&head, "host"), [name]);
}

#[test]
fn what_is_no_origin_is_refused() {
    for wrong in [
        "",
        "example.com",
        "example.com:80",
        "ftp://example.com",
        "http://",
        "http:///path",
        "http://user:secret@example.com",
        "http://example.com/?query",
        "/path",
    ] {
        assert!(HyperOptions::to(wrong).is_err(), "{wrong:?}");
    }
    for right in ["http://example.com", "https://example.com:8443/app", "http://[::1]:3000"] {
        assert!(HyperOptions::to(right).is_ok(), "{right:?}");
    }
}
