//! The cassette under `CachedClient`, `reqwest-middleware` and tower, with a real server to record
//! from.

mod common;

use std::{io::Write as _, sync::Arc, time::Duration};

use common::{files, open, options};
use larder_cassette::{Cassette, Mode};
use larder_reqwest::{CachedClient, ErrorKind};
use larder_testkit::{ManualClock, RawOrigin};
use tempfile::tempdir;

/// A server that redirects `/old`, answers conditions with 304, and has pages that are fresh for a
/// minute.
fn server() -> RawOrigin {
    RawOrigin::start(|head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let response = match path {
            "/old" => "HTTP/1.1 302 Found\r\nlocation: /page\r\ncontent-length: 0\r\n\r\n".to_owned(),
            _ if head.contains("if-none-match: \"1\"") => {
                "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncache-control: max-age=60\r\n\r\n".to_owned()
            }
            _ => "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncache-control: max-age=60\r\n\
                  date: Thu, 01 Jan 2026 00:00:00 GMT\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
        };
        stream.write_all(response.as_bytes()).is_ok()
    })
}

/// A client with a cache above a cassette, both with this clock.
fn cached(cassette: &Cassette, clock: &ManualClock) -> CachedClient {
    let builder = CachedClient::builder().clock(Arc::new(clock.clone()));
    builder.map_origin(cassette.wrap()).build().expect("a client")
}

/// Requests a page that is redirected, then a hit, and after two minutes a validation.
async fn visit(client: &CachedClient, clock: &ManualClock, base: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for (path, wait) in [("/old", 0), ("/page", 30), ("/page", 90)] {
        clock.advance(Duration::from_secs(wait));
        let response = client.get(format!("{base}{path}")).send().await.expect("a response");
        let outcome = response.outcome();
        seen.push(format!("{outcome} {}", response.text().await.expect("text")));
    }
    seen
}

/// The replay of a cassette was a year old, so each page was stale on arrival: the cache of the
/// test sent requests that had not been recorded.
#[tokio::test]
async fn a_cache_above_behaves_as_when_it_was_recorded() {
    let directory = tempdir().unwrap();
    let server = server();
    let recording = ManualClock::at(1_767_225_600);
    let cassette = Cassette::with_options(
        directory.path(),
        Mode::Record,
        options().with_clock(Arc::new(recording.clone())),
    )
    .unwrap();
    let recorded = visit(&cached(&cassette, &recording), &recording, &server.url()).await;
    cassette.finish().await.unwrap();
    assert_eq!(files(directory.path()).len(), 3, "the redirect, the page and its validation");
    let url = server.url();
    drop(server);

    let later = ManualClock::at(1_800_000_000);
    let cassette =
        Cassette::with_options(directory.path(), Mode::Replay, options().with_clock(Arc::new(later.clone())))
            .unwrap();
    assert_eq!(visit(&cached(&cassette, &later), &later, &url).await, recorded);
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn a_caller_of_the_caching_client_gets_the_error_of_the_cassette() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Replay);
    let client = cached(&cassette, &ManualClock::at(1_767_225_600));
    let error = client.get("http://127.0.0.1:9/nothing").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(!error.is_transient(), "no retry can succeed");
    assert!(error.to_string().contains("no recording of this request"), "{error}");
    assert!(cassette.check().is_err());
}

#[cfg(feature = "reqwest-middleware")]
#[tokio::test]
async fn reqwest_middleware_records_and_replays() {
    use larder_cassette::{CassetteError, CassetteMiddleware};
    use larder_reqwest::reqwest;
    use reqwest_middleware::ClientBuilder;

    let directory = tempdir().unwrap();
    let server = server();
    let client = |mode| {
        let cassette = open(directory.path(), mode);
        let client =
            ClientBuilder::new(reqwest::Client::new()).with(CassetteMiddleware::new(cassette.clone()));
        (client.build(), cassette)
    };
    let (recording, cassette) = client(Mode::Record);
    let url = format!("{}/page", server.url());
    let post = |client: &reqwest_middleware::ClientWithMiddleware| {
        client.post(&url).header("content-type", "application/json").body(r#"{"a":1}"#).send()
    };
    let recorded = post(&recording).await.unwrap();
    assert_eq!((recorded.status(), recorded.url().as_str()), (200.try_into().unwrap(), &*url));
    assert_eq!(recorded.text().await.unwrap(), "hello");
    cassette.finish().await.unwrap();
    let count = server.heads().len();

    let (replaying, cassette) = client(Mode::Replay);
    let replayed = post(&replaying).await.unwrap();
    assert_eq!((replayed.url().as_str(), replayed.headers()["etag"].to_str().unwrap()), (&*url, "\"1\""));
    assert_eq!(replayed.text().await.unwrap(), "hello");
    cassette.finish().await.unwrap();
    let error = post(&replaying).await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error}") };
    let error = error.downcast_ref::<CassetteError>().expect("the error of the cassette");
    assert!(error.to_string().contains("once, and was sent again"), "{error}");
    assert_eq!(server.heads().len(), count);
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn a_tower_client_records_and_replays() {
    use http_body_util::BodyExt as _;
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    use larder_cassette::{CassetteError, CassetteLayer};
    use tower::{Layer as _, ServiceExt as _};

    let directory = tempdir().unwrap();
    let server = server();
    let get = || {
        let request = http::Request::get(format!("{}/page", server.url()));
        request.body(http_body_util::Empty::<bytes::Bytes>::new()).expect("a request")
    };
    let client = |cassette: &Cassette| {
        CassetteLayer::new(cassette.clone())
            .layer(Client::builder(TokioExecutor::new()).build_http::<larder_core::Body>())
    };
    let cassette = open(directory.path(), Mode::Record);
    let response = client(&cassette).oneshot(get()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    cassette.finish().await.unwrap();
    let count = server.heads().len();

    let cassette = open(directory.path(), Mode::Replay);
    let response = client(&cassette).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    let error = client(&cassette).oneshot(get()).await.unwrap_err();
    assert!(error.downcast_ref::<CassetteError>().is_some(), "{error}");
    assert_eq!(server.heads().len(), count);
}
