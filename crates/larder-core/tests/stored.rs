//! Tests that `stored` in `Cache-Status` is only stated of what is in the store.

mod setting;

use std::time::Duration;

use larder_core::CacheDetail;
use larder_testkit::Fault;
use setting::{content, setting};

/// A response had `stored` before its commit. A process that was killed a millisecond later had
/// not stored it.
#[tokio::test(start_paused = true)]
async fn stored_is_stated_of_what_is_in_the_store() {
    for (fault, how) in [
        (Fault::None, "fwd=uri-miss; fwd-status=200; stored"),
        (Fault::Slow(Duration::from_millis(1)), "fwd=uri-miss; fwd-status=200; detail=storing"),
        (Fault::FailsAtCommit, "fwd=uri-miss; fwd-status=200"),
    ] {
        let mut it = setting();
        let fetch = it.get("/", &[]);
        let received = it.requests.next().await;
        it.store.set(fault);
        received.respond(200, &[("cache-control", "max-age=60")], b"page");
        let response = fetch.await.expect("no panic").expect("a response");
        assert_eq!(response.cache_status().to_string(), how);
        assert_eq!(response.cache_status().is_stored_or_storing(), fault != Fault::FailsAtCommit);
        assert!(it.cache.drain(Duration::from_secs(5)).await);
        it.store.set(Fault::None);
        assert_eq!(it.stored("/").await.len(), usize::from(fault != Fault::FailsAtCommit), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_arriving_is_not_stored_yet() {
    let mut it = setting();
    let fetch = it.get("/", &[]);
    let arriving = it.requests.next().await.respond_streaming(200, &[("cache-control", "max-age=60")], None);
    assert!(arriving.chunk("half").await);
    let response = fetch.await.expect("no panic").expect("a response");
    assert_eq!(response.cache_status().detail, Some(CacheDetail::Storing));
    assert!(!response.cache_status().stored && it.stored("/").await.is_empty());
    arriving.end().await;
    assert_eq!(content(response).await.as_deref(), Ok(&b"half"[..]));
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.stored("/").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_validated_response_is_stored_once_its_head_is() {
    let mut it = setting();
    let fetch = it.get("/", &[]);
    it.requests.next().await.respond(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"page");
    fetch.await.expect("no panic").expect("a response");
    it.clock.advance(Duration::from_secs(100));
    let fetch = it.get("/", &[]);
    let received = it.requests.next().await;
    it.store.set(Fault::Slow(Duration::from_millis(1)));
    received.respond(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], b"");
    let response = fetch.await.expect("no panic").expect("a response");
    assert_eq!(response.cache_status().to_string(), "fwd=stale; fwd-status=304; detail=storing");
}
