//! Failures: each is an error with the URL and the cause, and nothing is stored.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_reqwest::{CacheOutcome, CachedClient, CachedClientBuilder, Error, ErrorKind};
use larder_testkit::{ManualClock, RawOrigin};

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy().connect_timeout(Duration::from_secs(10))
}

/// Sends a request that fails, and checks that nothing was stored.
async fn fails(client: &CachedClient, url: &str) -> Error {
    let result = match client.get(url).timeout(Duration::from_secs(2)).send().await {
        Ok(response) => response.bytes().await,
        Err(error) => Err(error),
    };
    let error = result.expect_err(url);
    let cached = client.get(url).only_if_cached().send().await;
    let kind = cached.map(|cached| cached.outcome()).map_err(|error| error.kind());
    if error.kind() != ErrorKind::Request {
        assert_eq!(kind, Err(ErrorKind::NotCached), "{url}: something was stored");
        assert_eq!(error.url().map(|url| url.as_str()), Some(url), "{error}");
    }
    error
}

#[tokio::test]
async fn no_connection() {
    let client = builder().build().expect("a client");
    let closed =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("a listening socket");
    for (url, kind, cause) in [
        ("http://no-such-host.invalid/", ErrorKind::Connect, "lookup"),
        (&*format!("http://{closed}/"), ErrorKind::Connect, "refused"),
        ("not a url", ErrorKind::Request, "relative URL"),
        ("ftp://example.com/", ErrorKind::Request, "http"),
    ] {
        let error = fails(&client, url).await;
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(error.to_string().contains(cause), "{url}: {error}");
        assert_eq!(format!("{error:?}"), error.to_string(), "the text ends with the innermost cause");
    }
}

/// Without TLS, the error was "invalid URL, scheme is not http".
#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn https_without_tls_names_the_feature() {
    let error = fails(&builder().build().expect("a client"), "https://127.0.0.1:1/").await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().ends_with(": https needs the feature `tls` of larder-reqwest"), "{error}");
}

/// A broken cache in between answered a client that had nothing with 304: a success without
/// content.
#[tokio::test]
async fn a_304_without_a_condition_is_no_success() {
    let origin = RawOrigin::start(|head, stream| {
        let head = head.to_ascii_lowercase();
        let is_reload = head.starts_with("get /once") && head.contains("cache-control: no-cache\r\n");
        let response = if is_reload { "200 OK\r\ncontent-length: 5\r\n\r\nhello" } else { "304 x\r\n\r\n" };
        write!(stream, "HTTP/1.1 {response}").is_ok()
    });
    let client = builder().build().expect("a client");
    let url = |path: &str| format!("{}{path}", origin.url());
    let response = client.get(url("/once")).send().await.expect("a response");
    assert_eq!(response.text().await.expect("a body"), "hello");
    let error = client.get(url("/always")).send().await.expect_err("no content");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("304 to a request without conditions"), "{error}");
    let own = client.get(url("/always")).header("if-none-match", "\"a\"").send().await;
    assert_eq!(own.expect("the caller's 304").status(), 304);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn failed_tls_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listening socket");
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
    });
    let client = builder().build().expect("a client");
    let error = fails(&client, &format!("https://{address}/")).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn broken_bodies() {
    let head_prefix = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
    let endless = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&endless);
    let origin = RawOrigin::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let text = match path {
            "/short" => "content-length: 10\r\n\r\nfour",
            "/chunk" => "transfer-encoding: chunked\r\n\r\n5\r\nfi",
            "/gzip" => "content-encoding: gzip\r\ncontent-length: 7\r\n\r\nno gzip",
            "/slow" | "/endless" => "\r\n",
            "/nothing" => return false,
            _ => "",
        };
        if path == "/garbage" {
            let _ = stream.write_all(b"SSH-2.0-what\r\n\r\n");
            return false;
        }
        let _ = write!(stream, "{head_prefix}{text}");
        let pause = if path == "/slow" { Duration::from_millis(300) } else { Duration::ZERO };
        let chunk: &[u8] = if path == "/slow" { b"x" } else { &[b'x'; 65536] };
        while matches!(path, "/slow" | "/endless") && stream.write_all(chunk).is_ok() {
            std::thread::sleep(pause);
        }
        if path == "/endless" {
            ended.store(true, Ordering::SeqCst);
        }
        false
    });
    let client = builder().max_body(8 << 20).build().expect("a client");
    for (path, kind) in [
        ("/short", ErrorKind::Body),
        ("/chunk", ErrorKind::Body),
        #[cfg(feature = "gzip")]
        ("/gzip", ErrorKind::Body),
        ("/slow", ErrorKind::Timeout),
        ("/endless", ErrorKind::BodyTooLarge(8 << 20)),
        ("/nothing", ErrorKind::Protocol),
        ("/garbage", ErrorKind::Protocol),
    ] {
        let error = fails(&client, &format!("{}{path}", origin.url())).await;
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
    while !endless.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await; // Until the client closes the connection.
    }
}

/// A stale response replaces a failed fetch if the server allows it (`stale-if-error`).
#[tokio::test]
async fn a_stored_response_replaces_a_failure() {
    let failing = Arc::new(AtomicBool::new(false));
    let is_failing = Arc::clone(&failing);
    let origin = RawOrigin::start(move |head, stream| {
        let window =
            if head.starts_with("GET /if-error") { ", stale-if-error=600" } else { ", must-revalidate" };
        let head = if is_failing.load(Ordering::SeqCst) {
            "503 Service Unavailable\r\n".to_owned()
        } else {
            format!("200 OK\r\ncache-control: max-age=60{window}\r\netag: \"a\"\r\n")
        };
        write!(stream, "HTTP/1.1 {head}content-length: 3\r\n\r\nold").is_ok()
    });
    let clock = ManualClock::at(1_700_000_000);
    let client = builder().clock(Arc::new(clock.clone())).build().expect("a client");
    let url = |path: &str| format!("{}{path}", origin.url());
    for path in ["/if-error", "/must"] {
        client.get(url(path)).send().await.expect("a response").bytes().await.expect("a complete body");
    }
    failing.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(100));
    let stale = client.get(url("/if-error")).send().await.expect("the stale response");
    assert_eq!((stale.outcome(), stale.age()), (CacheOutcome::Stale, Some(Duration::from_secs(100))));
    assert_eq!(stale.text().await.expect("a complete body"), "old");
    let not_stale = client.get(url("/must")).prefer_stale().send().await.expect("a response");
    assert_eq!(not_stale.status().as_u16(), 503, "must-revalidate is obeyed");
}

/// A page that is gone is no failure, for which a stored response would be served.
#[tokio::test]
async fn a_page_that_is_gone_is_reported() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let origin = RawOrigin::start(move |_, stream| {
        let status = if is_gone.load(Ordering::SeqCst) { "410 Gone" } else { "200 OK" };
        let fields = "cache-control: max-age=60, stale-if-error=600\r\ncontent-length: 3";
        write!(stream, "HTTP/1.1 {status}\r\n{fields}\r\n\r\nold").is_ok()
    });
    let clock = ManualClock::at(1_700_000_000);
    let client = builder().clock(Arc::new(clock.clone())).build().expect("a client");
    client.get(origin.url()).send().await.expect("a response").bytes().await.expect("a complete body");
    gone.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(100));
    for _ in 0..2 {
        let response = client.get(origin.url()).send().await.expect("a response");
        assert_eq!(response.status(), 410);
        assert!(
            response.error_for_status().is_err_and(|error| error.status() == Some(http::StatusCode::GONE))
        );
    }
}

/// A server may close an idle connection just as the next request is sent on it.
#[tokio::test]
async fn an_idempotent_request_is_repeated_on_a_closed_connection() {
    let origin = RawOrigin::start(|head, stream| {
        if head.contains("/closing") && !CLOSED.swap(true, Ordering::SeqCst) {
            return false;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    static CLOSED: AtomicBool = AtomicBool::new(false);
    let client = builder().build().expect("a client");
    let first = client.get(format!("{}/first", origin.url())).send().await.expect("a response");
    assert_eq!(first.text().await.expect("a body"), "ok");
    let closing = format!("{}/closing", origin.url());
    let repeated = client.get(&*closing).send().await.expect("the request is repeated");
    assert_eq!(repeated.text().await.expect("a body"), "ok");
    assert_eq!(origin.heads().len(), 3);
    // A request that is not idempotent is not repeated.
    CLOSED.store(false, Ordering::SeqCst);
    let error = client.post(&*closing).body("once").send().await.expect_err("the POST may have taken effect");
    assert!(error.to_string().contains("/closing"), "{error}");
    assert_eq!(origin.heads().len(), 4);
}
