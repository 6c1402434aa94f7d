//! The destination of a request and its `Host`.

mod setting;

use larder_origin::{HyperOptions, HyperOrigin};
use setting::{Server, get, sending, with};

/// Returns the head that the origin receives, with its address replaced by `ORIGIN`, and that
/// address.
async fn head_at_origin(
    prefix: &str,
    origin_host: bool,
    request: http::Request<larder_core::Body>,
) -> (String, String) {
    let server = Server::bind().await;
    let origin = with(&format!("{}{prefix}", server.url()), |options| options.origin_host = origin_host);
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
async fn the_clients_host_is_sent() {
    let (head, _) = head_at_origin("", false, get("/a?b=c")).await;
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert_eq!(lines(&head, "host"), ["example.com"]);
}

/// The cache key has the normalized name. If another spelling were sent, the response to it would
/// be stored for all spellings.
#[tokio::test]
async fn host_is_the_name_in_the_key() {
    for written in ["EXAMPLE.com", "example.com:80", "another.example"] {
        let mut request = get("/");
        request.headers_mut().insert("host", http::HeaderValue::from_static(written));
        request.headers_mut().append("host", http::HeaderValue::from_static("second.example"));
        let (head, _) = head_at_origin("", false, request).await;
        assert_eq!(lines(&head, "host"), ["example.com"], "{written}");
    }
}

#[tokio::test]
async fn origin_host_sends_the_origins_own_name() {
    let mut request = get("/");
    request.headers_mut().insert("host", http::HeaderValue::from_static("example.com"));
    let (head, _) = head_at_origin("", true, request).await;
    assert_eq!(lines(&head, "host"), ["ORIGIN"]);
}

#[tokio::test]
async fn the_path_of_the_origin_is_prepended() {
    for (prefix, path, expected) in [
        ("/app", "/a?b", "/app/a?b"),
        ("/app/", "/", "/app/"),
        ("/", "/a", "/a"),
        ("/app", "/a%2Fb", "/app/a%2Fb"),
    ] {
        let (head, _) = head_at_origin(prefix, false, get(path)).await;
        assert!(head.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{prefix} and {path}: {head}");
    }
}

#[tokio::test]
async fn without_a_fixed_origin_the_uri_is_the_destination() {
    let server = Server::bind().await;
    let origin = std::sync::Arc::new(HyperOrigin::new(HyperOptions::default()).expect("valid options"));
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
fn an_invalid_origin_url_is_rejected() {
    for invalid in [
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
        let error = HyperOptions::to(invalid).expect_err(invalid);
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    for valid in ["http://example.com", "https://example.com:8443/app", "http://[::1]:3000"] {
        assert!(HyperOptions::to(valid).is_ok(), "{valid:?}");
    }
}

/// A URI without a host counted as none: each request went to the server in its own URI, which a
/// client chooses.
#[test]
fn an_origin_without_scheme_or_host_is_rejected() {
    for invalid in ["/app", "example.com:80", "ftp://example.com"] {
        let to = invalid.parse().expect("a URI");
        let error = HyperOrigin::new(HyperOptions::default().with_to(to)).expect_err(invalid);
        assert!(error.to_string().contains("http:// or https:// and a host"), "{invalid}: {error}");
    }
    for invalid in ["http://user:secret@example.com", "http://example.com/?query"] {
        let options = HyperOptions::default().with_to(http::Uri::from_static(invalid));
        assert!(HyperOrigin::new(options).is_err(), "{invalid}");
    }
    let to = http::Uri::from_static("http://example.com/app");
    assert!(HyperOrigin::new(HyperOptions::default().with_to(to)).is_ok());
}
