//! Tests collapsing of responses that vary: one fetch for each variant.

mod setting;

use setting::{read, setting, settle};

/// Requests that had waited for another variant's response went to the origin one by one.
#[tokio::test]
async fn each_variant_is_fetched_once() {
    let mut it = setting();
    let german = it.get("/", &[("accept-language", "de")]);
    let first = it.requests.next().await;
    let english: Vec<_> = (0..20).map(|_| it.get("/", &[("accept-language", "en")])).collect();
    let french: Vec<_> = (0..20).map(|_| it.get("/", &[("accept-language", "fr")])).collect();
    settle().await;
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    first.respond(200, &fields, b"Tag");
    assert_eq!(read(german).await.1, b"Tag");
    for _ in 0..2 {
        let request = it.requests.next().await;
        let day = if request.request.headers()["accept-language"] == "en" { &b"day"[..] } else { b"jour" };
        request.respond(200, &fields, day);
    }
    for (fetches, day) in [(english, &b"day"[..]), (french, b"jour")] {
        for fetch in fetches {
            assert_eq!(read(fetch).await.1, day);
        }
    }
    assert!(it.requests.is_empty(), "three variants, three requests");
}

/// A `Vary` that differs in each response must not keep requests waiting forever.
#[tokio::test]
async fn a_vary_that_changes_causes_no_endless_wait() {
    let mut it = setting();
    let fields = [("accept-language", "de"), ("cookie", "a=b")];
    let first = it.get("/", &[]);
    let request = it.requests.next().await;
    let others: Vec<_> = (0..5).map(|_| it.get("/", &fields)).collect();
    settle().await;
    request.respond(200, &[("cache-control", "max-age=60"), ("vary", "accept-language")], b"1");
    read(first).await;
    let leader_request = it.requests.next().await;
    settle().await;
    leader_request.respond(200, &[("cache-control", "max-age=60"), ("vary", "*")], b"2");
    for _ in 1..5 {
        it.requests.next().await.respond(200, &[("cache-control", "max-age=60"), ("vary", "*")], b"2");
    }
    for fetch in others {
        assert_eq!(read(fetch).await.1, b"2");
    }
}
