//! Tests responses that vary: one fetch for each variant, and a limited number of variants, of
//! which the least recently used one goes.

mod setting;

use std::time::Duration;

use larder_core::{Candidate, Limits};
use larder_testkit::Fault;
use setting::{Setting, read, response_of, setting, settle, with};

/// A response that differs for each browser.
const VARIES: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("vary", "user-agent")];

/// Sends a request of this browser, and returns whether it was a hit. Otherwise the origin responds
/// with `VARIES`.
async fn is_hit(it: &mut Setting, browser: &str) -> bool {
    let fetch = it.get("/", &[("user-agent", browser)]);
    settle().await;
    let hit = it.requests.is_empty();
    if !hit {
        it.requests.next().await.respond(200, VARIES, b"page");
    }
    assert_eq!(read(fetch).await.1, b"page", "{browser}");
    hit
}

/// Returns the browsers of the stored variants, newest first.
async fn browsers(it: &Setting) -> Vec<String> {
    let stored = it.stored("/").await;
    let value = |one: &Candidate| {
        let (_, value) = one.head.selecting.iter().next()?;
        Some(String::from_utf8_lossy(value?).into_owned())
    };
    stored.iter().filter_map(value).collect()
}

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

/// The 65th browser that opened a page emptied it for the other 64.
#[tokio::test]
async fn the_least_recently_used_variant_goes() {
    let mut it = with(Limits::default().with_max_variants(3));
    for browser in ["a", "b", "c"] {
        assert!(!is_hit(&mut it, browser).await);
        it.advance(1);
    }
    assert!(is_hit(&mut it, "a").await);
    it.advance(1);
    assert!(!is_hit(&mut it, "d").await);
    assert_eq!(browsers(&it).await, ["d", "c", "a"], "b was stored before c, and a was used");
    // After two minutes none is in use, and the order of the last uses counts.
    assert!(is_hit(&mut it, "c").await);
    it.advance(1);
    assert!(is_hit(&mut it, "d").await);
    it.advance(120);
    assert!(!is_hit(&mut it, "e").await);
    assert_eq!(browsers(&it).await, ["e", "d", "c"], "a was used before c and d");
}

/// A script opened a page with a new `User-Agent` each time, and its 64 readers lost their hits.
#[tokio::test]
async fn sixty_four_clients_keep_their_hits_during_a_flood() {
    let mut it = setting();
    let clients: Vec<String> = (0..64).map(|n| format!("client {n}")).collect();
    for client in &clients {
        assert!(!is_hit(&mut it, client).await);
    }
    for client in &clients {
        assert!(is_hit(&mut it, client).await);
    }
    for round in 0..12 {
        for n in 0..50 {
            assert!(!is_hit(&mut it, &format!("flood {round} {n}")).await);
        }
        it.advance(20);
        for client in &clients {
            assert!(is_hit(&mut it, client).await, "{client} in round {round}");
        }
    }
    assert_eq!(it.stored("/").await.len(), 64);
}

/// The flood began before the clients came: they must get their places although the page is full.
#[tokio::test]
async fn clients_that_come_during_a_flood_get_their_hits() {
    let mut it = with(Limits::default().with_max_variants(8));
    let mut n = 0;
    let mut flood = async |it: &mut Setting| {
        for _ in 0..20 {
            n += 1;
            assert!(!is_hit(it, &format!("flood {n}")).await);
        }
        it.advance(1);
    };
    flood(&mut it).await;
    let clients = ["a", "b", "c", "d", "e", "f"];
    for _ in 0..2 {
        for client in clients {
            is_hit(&mut it, client).await;
            flood(&mut it).await;
        }
    }
    for _ in 0..3 {
        for client in clients {
            assert!(is_hit(&mut it, client).await, "{client} has come twice before");
            flood(&mut it).await;
        }
    }
}

/// All variants are in use: a new one is stored when it is requested again, and then the least
/// recently used one goes.
#[tokio::test]
async fn a_variant_that_is_requested_again_is_stored() {
    let mut it = with(Limits::default().with_max_variants(2));
    for _ in 0..2 {
        for browser in ["a", "b"] {
            is_hit(&mut it, browser).await;
            it.advance(1);
        }
    }
    let first = it.get("/", &[("user-agent", "new")]);
    it.requests.next().await.respond(200, VARIES, b"page");
    let response = response_of(first).await;
    let status = response.cache_status().to_string();
    assert!(status.contains("too-many-variants") && !status.contains("stored"), "{status}");
    assert_eq!(browsers(&it).await, ["b", "a"]);
    assert!(!is_hit(&mut it, "new").await);
    assert_eq!(browsers(&it).await, ["new", "b"]);
    assert!(is_hit(&mut it, "new").await);
}

/// A response that is not stored is still shared by those that wait for it.
#[tokio::test]
async fn a_variant_without_a_place_is_still_collapsed() {
    let mut it = with(Limits::default().with_max_variants(2));
    for _ in 0..2 {
        for browser in ["a", "b"] {
            is_hit(&mut it, browser).await;
        }
    }
    for round in ["one", "two"] {
        let clients: Vec<_> = (0..20).map(|_| it.get("/", &[("user-agent", round)])).collect();
        let received = it.requests.next().await;
        settle().await;
        assert!(it.requests.is_empty(), "{round}: the origin got a second request");
        received.respond(200, VARIES, b"page");
        for client in clients {
            assert_eq!(read(client).await.1, b"page");
        }
        assert!(it.requests.is_empty(), "{round}");
    }
}

/// A page with a short lifetime: its variants are fetched again and again, and stay in use.
#[tokio::test]
async fn a_variant_that_is_fetched_again_keeps_its_place() {
    let mut it = with(Limits::default().with_max_variants(3));
    let short = [("cache-control", "max-age=5"), ("vary", "user-agent")];
    for round in 0..5 {
        for _ in 0..2 {
            for browser in ["a", "b"] {
                let fetch = it.get("/", &[("user-agent", browser)]);
                settle().await;
                if !it.requests.is_empty() {
                    it.requests.next().await.respond(200, &short, b"page");
                }
                read(fetch).await;
            }
        }
        for n in 0..10 {
            assert!(!is_hit(&mut it, &format!("flood {round} {n}")).await);
        }
        let stored = browsers(&it).await;
        assert!(stored.contains(&"a".to_owned()) && stored.contains(&"b".to_owned()), "{stored:?}");
        it.advance(6);
    }
}

/// Many variants were fetched at the same time. Each saw a page without variants.
#[tokio::test]
async fn variants_that_are_fetched_at_the_same_time_respect_the_limit() {
    let mut it = with(Limits::default().with_max_variants(4));
    let clients: Vec<_> = (0..40).map(|n| it.get("/", &[("user-agent", &*n.to_string())])).collect();
    it.requests.next().await.respond(200, VARIES, b"page");
    settle().await;
    let mut received = Vec::new();
    while !it.requests.is_empty() {
        received.push(it.requests.next().await);
    }
    assert_eq!(received.len(), 39, "each variant is fetched");
    for one in received {
        one.respond(200, VARIES, b"page");
    }
    for client in clients {
        assert_eq!(read(client).await.1, b"page");
    }
    assert_eq!(it.stored("/").await.len(), 4);
}

/// Bodies that are still arriving are counted when they are stored.
#[tokio::test]
async fn streamed_variants_respect_the_limit() {
    let mut it = with(Limits::default().with_max_variants(2));
    for browser in ["a", "b", "c", "d"] {
        let fetch = it.get("/", &[("user-agent", browser)]);
        let sending = it.requests.next().await.respond_streaming(200, VARIES, None);
        let reading = tokio::spawn(read(fetch));
        assert!(sending.chunk("page").await);
        sending.end().await;
        assert_eq!(reading.await.expect("no panic").1, b"page");
        assert!(it.cache.drain(Duration::from_secs(5)).await);
        it.advance(1);
    }
    assert_eq!(browsers(&it).await, ["d", "c"]);
}

/// A limit of zero would store nothing that varies, without a word.
#[tokio::test]
async fn one_variant_is_always_stored() {
    let mut it = with(Limits::default().with_max_variants(0));
    for browser in ["a", "b"] {
        assert!(!is_hit(&mut it, browser).await);
    }
    assert_eq!(browsers(&it).await, ["b"]);
}

/// The store failed at the commit of a new variant, and an old one had been evicted for it.
#[tokio::test]
async fn a_response_that_is_not_stored_evicts_nothing() {
    let mut it = with(Limits::default().with_max_variants(2));
    for browser in ["a", "b"] {
        is_hit(&mut it, browser).await;
        it.advance(1);
    }
    let fetch = it.get("/", &[("user-agent", "c")]);
    let sending = it.requests.next().await.respond_streaming(200, VARIES, None);
    let reading = tokio::spawn(read(fetch));
    assert!(sending.chunk("page").await);
    settle().await;
    it.fault(Fault::FailsAtCommit);
    sending.end().await;
    assert_eq!(reading.await.expect("no panic").1, b"page");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    it.fault(Fault::None);
    assert_eq!(browsers(&it).await, ["b", "a"], "nothing is evicted for a response that is not stored");
    is_hit(&mut it, "d").await;
    assert_eq!(browsers(&it).await, ["d", "b"]);
}
