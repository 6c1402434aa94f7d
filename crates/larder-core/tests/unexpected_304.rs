//! A 304 to a request that has no condition: there is nothing that it could confirm.

mod setting;

use larder_core::{FetchError, OriginErrorKind};
use setting::{content, read, request, response_of, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

/// A broken cache in between answered a cold client with 304. The client got a success without
/// content, and a good file was replaced by an empty one.
#[tokio::test]
async fn the_request_is_sent_again_past_other_caches() {
    for method in ["GET", "HEAD"] {
        for fields in [&[][..], &[("range", "bytes=0-1")], &[("cache-control", "no-store")]] {
            let mut it = setting();
            let fetch = it.send(request(method, "/", fields));
            let first = it.requests.next().await;
            assert!(
                !first.request.headers().get_all("cache-control").iter().any(|value| value == "no-cache")
            );
            first.respond(304, FRESH, b"");
            let again = it.requests.next().await;
            let sent: Vec<_> = again.request.headers().get_all("cache-control").iter().collect();
            assert_eq!(sent.last().expect("a directive"), &"no-cache", "{method} {fields:?}");
            assert_eq!(sent.len() > 1, fields.first().is_some_and(|(name, _)| *name == "cache-control"));
            again.respond(200, FRESH, b"hello");
            let response = response_of(fetch).await;
            assert_eq!(response.status(), 200);
            let expected: &[u8] = if method == "HEAD" { b"" } else { b"hello" };
            assert_eq!(content(response).await.expect("the content is whole"), expected);
        }
    }
}

#[tokio::test]
async fn a_second_one_is_an_error_for_all_who_wait() {
    let mut it = setting();
    let fetches = [it.get("/", &[]), it.get("/", &[])];
    settle().await;
    // The second request makes a second attempt when the first has failed.
    for _ in 0..2 {
        it.requests.next().await.respond(304, FRESH, b"");
        it.requests.next().await.respond(304, FRESH, b"");
    }
    for fetch in fetches {
        let error = fetch.await.expect("no panic").expect_err("no content");
        let FetchError::Origin(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), OriginErrorKind::Protocol);
        assert!(format!("{error:?}").contains("304"), "{error:?}");
    }
    assert!(it.requests.is_empty());
    assert_eq!(it.stored("/").await.len(), 0);
}

/// What is stored cannot be validated, so that the cache sends no condition either.
#[tokio::test]
async fn a_stale_response_without_validator_is_not_confirmed() {
    let mut it = setting();
    let fields = [("cache-control", "max-age=60, stale-if-error=600")];
    it.fetch_and_store("/", &fields, b"old").await;
    it.advance(100);
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(304, FRESH, b"");
    it.requests.next().await.respond(200, FRESH, b"new");
    assert_eq!(read(fetch).await.1, b"new");
}

/// The 304 to a client's own condition is the client's.
#[tokio::test]
async fn a_clients_condition_is_answered() {
    for (name, value) in [("if-none-match", "\"a\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]
    {
        let mut it = setting();
        let fetch = it.get("/", &[(name, value)]);
        it.requests.next().await.respond(304, FRESH, b"");
        assert_eq!(response_of(fetch).await.status(), 304);
        assert!(it.requests.is_empty());
    }
}
