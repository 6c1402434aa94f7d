//! Collapsing where the response varies: one fetch for each variant.

mod setting;

use setting::{read, setting, settle};

/// Those who waited for a response that turned out to be another variant went to the origin one by one.
#[tokio::test]
async fn each_variant_is_fetched_once() {
    let mut it = setting();
    let german = it.ask("/", &[("accept-language", "de")]);
    let first = it.requests.next().await;
    let english: Vec<_> = (0..20).map(|_| it.ask("/", &[("accept-language", "en")])).collect();
    let french: Vec<_> = (0..20).map(|_| it.ask("/", &[("accept-language", "fr")])).collect();
    settle().await;
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    first.answer(200, &fields, b"Tag");
    assert_eq!(read(german).await.1, b"Tag");
    for _ in 0..2 {
        let request = it.requests.next().await;
        let day = if request.request.headers()["accept-language"] == "en" { &b"day"[..] } else { b"jour" };
        request.answer(200, &fields, day);
    }
    for (asked, day) in [(english, &b"day"[..]), (french, b"jour")] {
        for asked in asked {
            assert_eq!(read(asked).await.1, day);
        }
    }
    assert!(it.requests.is_empty(), "three variants, three requests");
}

/// A `Vary` that is another each time keeps nobody waiting for ever.
#[tokio::test]
async fn a_vary_that_changes_is_no_endless_wait() {
    let mut it = setting();
    let fields = [("accept-language", "de"), ("cookie", "a=b")];
    let first = it.ask("/", &[]);
    let request = it.requests.next().await;
    let others: Vec<_> = (0..5).map(|_| it.ask("/", &fields)).collect();
    settle().await;
    request.answer(200, &[("cache-control", "max-age=60"), ("vary", "accept-language")], b"1");
    read(first).await;
    let leads = it.requests.next().await;
    settle().await;
    leads.answer(200, &[("cache-control", "max-age=60"), ("vary", "*")], b"2");
    for _ in 1..5 {
        it.requests.next().await.answer(200, &[("cache-control", "max-age=60"), ("vary", "*")], b"2");
    }
    for asked in others {
        assert_eq!(read(asked).await.1, b"2");
    }
}
