//! Tests that several requests for one key cause one fetch: which requests wait for which, and
//! which do not.
//!
//! The tests run on one thread, so that after `settle` every task waits for the test.

mod setting;

use std::time::Duration;

use larder_core::{CacheGroup, CacheKey, Limits, OriginErrorKind, Scope, TargetUri};
use setting::{content, read, response_of, setting, settle, with};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn a_thousand_requests_for_a_cold_key_are_one_origin_request() {
    let mut it = setting();
    let fetches: Vec<_> = (0..1000).map(|_| it.get("/", &[])).collect();
    let first = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty(), "the origin got two requests");
    first.respond(200, FRESH, b"once");
    let mut collapsed = 0;
    for fetch in fetches {
        let (status, body) = read(fetch).await;
        assert_eq!(body, b"once");
        collapsed += usize::from(status.contains("collapsed"));
    }
    assert_eq!(collapsed, 999);
    assert_eq!(it.get_stored("/").await.1, b"once");
}

/// If the first byte waited for the whole body, streaming would be useless.
#[tokio::test]
async fn a_follower_reads_while_the_leader_is_still_fetching() {
    let mut it = setting();
    let (leader, follower) = (it.get("/", &[]), it.get("/", &[]));
    let sending = it.requests.next().await.respond_streaming(200, FRESH, None);
    assert!(sending.chunk("one ").await);
    let (mut leader, mut follower) =
        (response_of(leader).await.into_body(), response_of(follower).await.into_body());
    for body in [&mut leader, &mut follower] {
        assert_eq!(body.chunk().await.expect("a chunk").expect("it reads"), "one ");
    }
    assert!(sending.chunk("two").await);
    sending.end().await;
    for body in [&mut leader, &mut follower] {
        assert_eq!(body.chunk().await.expect("a chunk").expect("it reads"), "two");
        assert!(body.chunk().await.is_none());
    }
    let late = it.get("/", &[]);
    assert_eq!(read(late).await.1, b"one two");
    assert!(it.requests.is_empty());
}

/// A leader's client disconnected, its lock stayed, and every later request waited.
#[tokio::test]
async fn a_cancelled_leader_hands_over() {
    let mut it = setting();
    let leader = it.get("/", &[]);
    let first = it.requests.next().await;
    let followers: Vec<_> = (0..10).map(|_| it.get("/", &[])).collect();
    settle().await;
    leader.abort();
    let second = it.requests.next().await;
    assert!(!first.is_awaited(), "no task waits for the first response");
    settle().await;
    assert!(it.requests.is_empty(), "one follower leads, not all");
    second.respond(200, FRESH, b"again");
    for follower in followers {
        assert_eq!(read(follower).await.1, b"again");
    }
}

#[tokio::test]
async fn a_failed_leader_is_followed_by_one_more_attempt_and_then_an_error_for_all() {
    let mut it = setting();
    let fetches: Vec<_> = (0..10).map(|_| it.get("/", &[])).collect();
    it.requests.next().await.fail(OriginErrorKind::Connect);
    it.requests.next().await.fail(OriginErrorKind::Connect);
    for fetch in fetches {
        let error = fetch.await.expect("no panic").expect_err("no response");
        assert_eq!(error.status(), http::StatusCode::BAD_GATEWAY);
    }
    assert!(it.requests.is_empty(), "a queue of attempts");
}

/// A lock on an uncacheable page made two hundred clients wait for one another: 10 s for a page of
/// 200 ms.
#[tokio::test]
async fn an_unshareable_response_is_fetched_by_all_at_once_and_later_without_waiting() {
    let mut it = setting();
    let fetches: Vec<_> = (0..20).map(|_| it.get("/", &[])).collect();
    let first = it.requests.next().await;
    settle().await;
    assert!(it.requests.is_empty());
    first.respond(200, &[("cache-control", "no-store")], b"mine");
    let mut rest = Vec::new();
    for _ in 1..20 {
        rest.push(it.requests.next().await);
    }
    rest.into_iter().for_each(|one| one.respond(200, &[("cache-control", "no-store")], b"mine"));
    for fetch in fetches {
        assert_eq!(read(fetch).await.1, b"mine");
    }
    let again: Vec<_> = (0..20).map(|_| it.get("/", &[])).collect();
    let mut received = Vec::new();
    for _ in 0..20 {
        received.push(it.requests.next().await);
    }
    received.into_iter().for_each(|one| one.respond(200, &[("cache-control", "no-store")], b"mine"));
    for fetch in again {
        assert_eq!(read(fetch).await.1, b"mine");
    }
}

/// Two concurrent requests that differed only in one header were collapsed into one.
#[tokio::test]
async fn requests_for_different_variants_do_not_share_a_response() {
    let mut it = setting();
    let german = it.get("/", &[("accept-language", "de")]);
    let first = it.requests.next().await;
    let english = it.get("/", &[("accept-language", "en")]);
    settle().await;
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    first.respond(200, &fields, b"Tag");
    it.requests.next().await.respond(200, &fields, b"day");
    assert_eq!(read(german).await.1, b"Tag");
    assert_eq!(read(english).await.1, b"day");
    for (language, body) in [("de", &b"Tag"[..]), ("en", b"day")] {
        assert_eq!(read(it.get("/", &[("accept-language", language)])).await.1, body);
    }
    assert!(it.requests.is_empty(), "both variants are stored");
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_stop_the_fill() {
    let mut it = setting();
    let (gone, stays) = (it.get("/", &[]), it.get("/", &[]));
    let sending = it.requests.next().await.respond_streaming(200, FRESH, Some(6));
    assert!(sending.chunk("one").await);
    drop(response_of(gone).await);
    let mut stays = response_of(stays).await.into_body();
    assert_eq!(stays.chunk().await.expect("a chunk").expect("it reads"), "one");
    drop(stays);
    settle().await;
    assert!(sending.chunk("two").await, "the store still takes it");
    sending.end().await;
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, b"onetwo");
}

#[tokio::test]
async fn a_broken_body_fails_for_every_client_and_is_not_stored() {
    let mut it = setting();
    let (leader, follower) = (it.get("/", &[]), it.get("/", &[]));
    let sending = it.requests.next().await.respond_streaming(200, FRESH, Some(100));
    assert!(sending.chunk("half").await);
    let (leader, follower) = (response_of(leader).await, response_of(follower).await);
    drop(sending);
    assert!(content(leader).await.is_err(), "a broken body ended as if it were whole");
    assert!(content(follower).await.is_err(), "a broken body ended as if it were whole");
    let again = it.get("/", &[]);
    it.requests.next().await.respond(200, FRESH, b"whole");
    assert_eq!(read(again).await.1, b"whole");
}

#[tokio::test]
async fn a_body_of_the_wrong_length_is_not_stored() {
    for (length, sent) in [(3, "four"), (5, "four")] {
        let mut it = setting();
        let fetch = it.get("/", &[]);
        let sending = it.requests.next().await.respond_streaming(200, FRESH, Some(length));
        sending.chunk(sent).await;
        sending.end().await;
        assert!(content(response_of(fetch).await).await.is_err(), "{sent} for {length} bytes");
        let again = it.get("/", &[]);
        it.requests.next().await.respond(200, FRESH, b"whole");
        assert_eq!(read(again).await.1, b"whole");
    }
}

/// A purge removed the entry, and the fill in progress stored it again.
#[tokio::test]
async fn a_purge_during_a_fill_wins() {
    let mut it = setting();
    let before = it.get("/", &[]);
    let old = it.requests.next().await.respond_streaming(200, FRESH, None);
    assert!(old.chunk("old").await);
    let mut before = response_of(before).await.into_body();
    it.cache
        .purge(Scope::Key(&CacheKey::new(&TargetUri::parse("http://example.com/").expect("a target"))))
        .await
        .expect("it purges");
    let after = it.get("/", &[]);
    it.requests.next().await.respond(200, FRESH, b"new");
    assert_eq!(read(after).await.1, b"new", "a request after the purge got the purged response");
    old.end().await;
    assert_eq!(before.chunk().await.expect("a chunk").expect("it reads"), "old");
    assert!(before.chunk().await.is_none(), "a request from before the purge reads to the end");
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(it.get_stored("/").await.1, b"new");
}

/// The request had been sent to the origin: the response that arrives after the purge may date from
/// before it.
#[tokio::test]
async fn a_purge_while_the_origin_is_working_wins() {
    let fields = [FRESH, &[("cache-groups", "\"g\"")]].concat();
    for purge in 0..3 {
        let mut it = setting();
        let fetch = it.get("/", &[]);
        let received = it.requests.next().await;
        let key = CacheKey::new(&TargetUri::parse("http://example.com/").expect("a target"));
        let group = CacheGroup::new("http://example.com", "g");
        let scope = match purge {
            0 => Scope::Key(&key),
            1 => Scope::Group(&group),
            _ => Scope::All,
        };
        it.cache.purge(scope).await.expect("it purges");
        received.respond(200, &fields, b"old");
        assert_eq!(read(fetch).await.1, b"old", "a request from before the purge gets the response");
        assert!(it.cache.drain(Duration::from_secs(5)).await);
        let after = it.get("/", &[]);
        it.requests.next().await.respond(200, &fields, b"new");
        assert_eq!(read(after).await.1, b"new", "the purged response was stored again");
        assert_eq!(it.get_stored("/").await.1, b"new");
    }
}

#[tokio::test]
async fn a_purge_of_a_group_or_of_everything_wins_too() {
    for everything in [false, true] {
        let mut it = setting();
        let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"g\"")];
        let before = it.get("/", &[]);
        let old = it.requests.next().await.respond_streaming(200, &grouped, None);
        assert!(old.chunk("old").await);
        let before = response_of(before).await;
        let group = CacheGroup::new("http://example.com", "g");
        let scope = if everything { Scope::All } else { Scope::Group(&group) };
        it.cache.purge(scope).await.expect("it purges");
        old.end().await;
        assert_eq!(content(before).await.expect("whole"), b"old");
        assert!(it.cache.drain(Duration::from_secs(5)).await);
        let after = it.get("/", &[]);
        it.requests.next().await.respond(200, &grouped, b"new");
        assert_eq!(read(after).await.1, b"new");
    }
}

/// A thousand slow clients of one object must not multiply it in memory, nor delay each other.
#[tokio::test]
async fn a_slow_client_does_not_slow_the_others() {
    let mut it = setting();
    let (slow, quick) = (it.get("/", &[]), it.get("/", &[]));
    let sending = it.requests.next().await.respond_streaming(200, FRESH, None);
    assert!(sending.chunk(vec![1; 65_536]).await);
    let (slow, quick) = (response_of(slow).await, response_of(quick).await);
    let quick = tokio::spawn(content(quick));
    // Far more than the window, while the slow client does not read.
    for _ in 0..50 {
        assert!(sending.chunk(vec![1; 65_536]).await);
    }
    sending.end().await;
    assert_eq!(quick.await.expect("no panic").expect("whole").len(), 51 * 65_536);
    assert!(it.cache.drain(Duration::from_secs(5)).await);
    assert_eq!(content(slow).await.expect("read back from the store").len(), 51 * 65_536);
}

#[tokio::test(start_paused = true)]
async fn followers_stop_waiting_for_a_slow_leader() {
    let limits = Limits::default().with_collapse_timeout(Duration::from_secs(5));
    let mut it = with(limits);
    let leader = it.get("/", &[]);
    let _first = it.requests.next().await;
    let follower = it.get("/", &[]);
    // The runtime's clock advances when all tasks wait.
    it.requests.next().await.respond(200, FRESH, b"alone");
    assert_eq!(read(follower).await.1, b"alone");
    let error = leader.await.expect("no panic").expect_err("the origin did not respond");
    assert_eq!(error.status(), http::StatusCode::GATEWAY_TIMEOUT);
}
