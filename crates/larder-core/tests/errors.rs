//! Errors on their way to all who waited, and what `{:?}` prints: errors as
//! `fn main() -> Result<(), E>` shows them, and one line for a type.

mod setting;

use std::{error::Error, fmt};

use larder_core::{FetchError, OriginError, OriginErrorKind, StoreError, StoreErrorKind, codec};
use setting::{response_of, setting};

/// An error with a cause.
#[derive(Debug)]
struct Layer(&'static str, Option<Box<Layer>>);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Layer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[test]
fn an_error_prints_its_text_and_its_causes() {
    let cause = || Layer("client error", Some(Box::new(Layer("connection refused", None))));
    let origin = || OriginError::new(OriginErrorKind::Connect).with_source(cause());
    let store = StoreError::new(StoreErrorKind::Unavailable, "redis", "no reply");
    let repeated = Layer("refused", Some(Box::new(Layer("context", Some(Box::new(Layer("refused", None)))))));
    for (printed, expected) in [
        (format!("{:?}", origin()), "could not connect to the origin: client error: connection refused"),
        (
            format!("{:?}", FetchError::from(origin())),
            "could not connect to the origin: client error: connection refused",
        ),
        (format!("{store:?}"), "redis store is unavailable: no reply"),
        (
            format!("{:?}", StoreError::new(StoreErrorKind::Gone, "disk", "refused").with_source(repeated)),
            "disk store no longer has the entry: refused",
        ),
        (
            format!("{:?}", codec::NotAnEntry::UnknownVersion(9)),
            &codec::NotAnEntry::UnknownVersion(9).to_string(),
        ),
    ] {
        assert_eq!(printed, expected);
    }
}

/// No dump of the state, of header fields or of a body.
#[tokio::test]
async fn a_type_prints_one_line() {
    let mut it = setting();
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60")], &[0; 10_000]);
    let response = response_of(fetch).await;
    assert!(format!("{response:?}").contains("Body::Whole(10000 bytes)"), "{response:?}");
    let hit = it.get("/", &[]).await.expect("no panic").expect("a response");
    for printed in [
        format!("{:?}", it.cache),
        format!("{:?}", larder_core::Cache::builder(std::sync::Arc::new(it.store))),
        format!("{response:?}"),
        format!("{hit:?}"),
    ] {
        assert!(printed.len() < 250, "{printed}");
    }
}

/// A caller passed the URI of a server's request, which is a path. The error was about its scheme,
/// so the caller looked for another mistake.
#[tokio::test]
async fn a_relative_uri_is_named_as_the_cause() {
    let it = setting();
    let request = http::Request::get("/page").body(larder_core::Body::empty()).expect("a request");
    let error = it.send(request).await.expect("no panic").expect_err("there is no host");
    assert!(matches!(error, FetchError::RelativeTarget) && error.status() == 400);
    assert!(error.to_string().contains("the URI is not absolute"), "{error}");
}

/// A handler that failed had to name its failure as one of a connection. Clients got 502, as if
/// there were another server.
#[tokio::test]
async fn an_origin_in_this_process_fails_with_500() {
    let mut it = setting();
    let fetch = it.get("/", &[]);
    let cause = std::io::Error::other("the disk is full");
    it.requests.next().await.fail(OriginError::new(OriginErrorKind::Internal).with_source(cause));
    let error = fetch.await.expect("no panic").expect_err("it fails");
    assert_eq!(
        (error.status().as_u16(), &*error.to_string()),
        (500, "the origin failed to produce a response")
    );
    assert_eq!(it.cache.error_response(&error).cache_status().to_string(), "fwd=miss");
}

/// A leader gets the origin's own error back. Its followers get the text of the cause.
#[tokio::test]
async fn the_cause_of_a_failure_reaches_all_who_waited() {
    let mut it = setting();
    let fetches: Vec<_> = (0..10).map(|_| it.get("/", &[])).collect();
    for _ in 0..2 {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        it.requests.next().await.fail(OriginError::new(OriginErrorKind::Connect).with_source(refused));
    }
    let mut leaders = 0;
    for fetch in fetches {
        let error = fetch.await.expect("no panic").expect_err("no response");
        let FetchError::Origin(origin) = &error else { panic!("{error}") };
        assert_eq!(origin.kind(), OriginErrorKind::Connect);
        assert_eq!(error.source().expect("a cause").to_string(), "connection refused");
        leaders += usize::from(error.downcast_source::<std::io::Error>().is_ok());
    }
    assert_eq!(leaders, 2);
}
