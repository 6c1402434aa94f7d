//! The limit that one caller sets for the body ends no other caller's fetch, nor collapsing.

mod setting;

use std::time::Duration;

use larder_core::{FetchOptions, Limits};
use setting::{content, read, response_of, settle, with};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

fn up_to(bytes: u64) -> FetchOptions {
    FetchOptions::default().with_max_object(bytes)
}

fn limits() -> Limits {
    Limits::default().with_max_object(100)
}

/// One caller accepted short bodies only. For a minute after its request, each request for that
/// page went to the origin on its own.
#[tokio::test]
async fn a_lower_limit_of_the_first_caller_costs_one_more_request() {
    let mut it = with(limits());
    let first = it.get_with("/", &[], &up_to(3));
    let leads = it.requests.next().await;
    let others: Vec<_> = (0..10).map(|_| it.get_with("/", &[], &up_to(50))).collect();
    let low: Vec<_> = (0..2).map(|_| it.get_with("/", &[], &up_to(3))).collect();
    settle().await;
    leads.respond(200, FRESH, b"hello");
    let mut requests = Vec::new();
    for _ in 0..3 {
        requests.push(it.requests.next().await);
    }
    settle().await;
    assert!(it.requests.is_empty(), "one for the ten, and one for each with the low limit");
    requests.into_iter().for_each(|request| request.respond(200, FRESH, b"hello"));
    for fetch in others.into_iter().chain(low).chain([first]) {
        assert_eq!(read(fetch).await.1, b"hello");
    }
    assert!(it.cache.drain(Duration::from_secs(20)).await);
    assert_eq!(it.get_stored("/").await.1, b"hello");
    it.advance(61);
    let fetches: Vec<_> = (0..5).map(|_| it.get("/", &[])).collect();
    let leads = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty(), "requests are collapsed");
    leads.respond(200, FRESH, b"new");
    for fetch in fetches {
        assert_eq!(read(fetch).await.1, b"new");
    }
}

/// The limit of the cache is the same for all: they need not wait for each other.
#[tokio::test]
async fn what_is_too_long_for_the_cache_is_not_collapsed() {
    let mut it = with(limits());
    let fetches: Vec<_> = (0..3).map(|_| it.get("/", &[])).collect();
    let leads = it.requests.next().await;
    settle().await;
    leads.respond(200, FRESH, &[b'x'; 200]);
    for _ in 0..2 {
        it.requests.next().await.respond(200, FRESH, &[b'x'; 200]);
    }
    for fetch in fetches {
        assert_eq!(read(fetch).await.1.len(), 200);
    }
}

/// The length becomes known as the body arrives. The caller with the low limit stops reading.
#[tokio::test]
async fn a_body_that_becomes_too_long_for_its_first_caller_arrives_for_the_others() {
    let mut it = with(limits());
    let first = it.get_with("/", &[], &up_to(3));
    let leads = it.requests.next().await;
    let second = it.get_with("/", &[], &up_to(50));
    settle().await;
    let body = leads.respond_streaming(200, FRESH, None);
    assert!(body.chunk("he").await);
    let (first, second) = (response_of(first).await, response_of(second).await);
    drop(first);
    assert!(body.chunk("llo, ").await);
    settle().await;
    assert!(body.chunk("hello").await);
    body.end().await;
    assert_eq!(content(second).await.expect("the content is whole"), b"hello, hello");
    assert!(it.requests.is_empty());
}
