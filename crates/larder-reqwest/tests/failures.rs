//! Everything that goes wrong out there: an error that names the URL and the cause, and nothing stored.

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
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it listens");
    for (url, kind, words) in [
        ("http://no-such-host.invalid/", ErrorKind::Connect, "lookup"),
        (&*format!("http://{closed}/"), ErrorKind::Connect, "refused"),
        ("not a url", ErrorKind::Request, "relative URL"),
        ("ftp://example.com/", ErrorKind::Request, "http"),
    ] {
        let error = fails(&client, url).await;
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(error.to_string().contains(words), "{url}: {error}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
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
async fn bodies_that_break() {
    let begun = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
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
        let _ = write!(stream, "{begun}{text}");
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
        ("/endless", ErrorKind::TooLong(8 << 20)),
        ("/nothing", ErrorKind::Protocol),
        ("/garbage", ErrorKind::Protocol),
    ] {
        let error = fails(&client, &format!("{}{path}", origin.url())).await;
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
    while !endless.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await; // Until the connection is closed on it.
    }
}

/// The old response with its age, where the server or the request allows it.
#[tokio::test]
async fn what_was_stored_stands_in() {
    let dead = Arc::new(AtomicBool::new(false));
    let is_dead = Arc::clone(&dead);
    let origin = RawOrigin::start(move |head, stream| {
        let window =
            if head.starts_with("GET /if-error") { ", stale-if-error=600" } else { ", must-revalidate" };
        let head = if is_dead.load(Ordering::SeqCst) {
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
        client.get(url(path)).send().await.expect("an answer").bytes().await.expect("whole");
    }
    dead.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(100));
    let old = client.get(url("/if-error")).send().await.expect("it stands in");
    assert_eq!((old.outcome(), old.age()), (CacheOutcome::Stale, Some(Duration::from_secs(100))));
    assert_eq!(old.text().await.expect("whole"), "old");
    let stated = client.get(url("/must")).prefer_stale().send().await.expect("an answer");
    assert_eq!(stated.status().as_u16(), 503, "must-revalidate is obeyed");
}

/// A server closes what has been idle for a while, and may do so just as the next request is on its way.
#[tokio::test]
async fn a_connection_that_was_closed_meanwhile() {
    let origin = RawOrigin::start(|head, stream| {
        if head.contains("/closing") && !CLOSED.swap(true, Ordering::SeqCst) {
            return false;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    static CLOSED: AtomicBool = AtomicBool::new(false);
    let client = builder().build().expect("a client");
    let first = client.get(format!("{}/first", origin.url())).send().await.expect("an answer");
    assert_eq!(first.text().await.expect("a body"), "ok");
    let closing = format!("{}/closing", origin.url());
    let answer = client.get(&*closing).send().await.expect("it is asked again");
    assert_eq!(answer.text().await.expect("a body"), "ok");
    assert_eq!(origin.heads().len(), 3);
    // What may not be repeated is not.
    CLOSED.store(false, Ordering::SeqCst);
    let error =
        client.post(&*closing).body("once").send().await.expect_err("nobody knows whether it was done");
    assert!(error.to_string().contains("/closing"), "{error}");
    assert_eq!(origin.heads().len(), 4);
}
