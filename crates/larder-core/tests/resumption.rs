//! Tests what a client gets if the store fails while a body is read: all bytes of the same
//! representation, from another entry or from the origin, or an error, but never other bytes.
//!
//! `larder-cli/tests/resumption.rs` has real stores and processes.

mod setting;

use std::time::Duration;

use http::HeaderMap;
use larder_core::{CacheResponse, StoreErrorKind};
use larder_testkit::{Fault, ReadFailure, ReceivedRequest};
use setting::{FetchTask, Setting, content, request, response_of, setting, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
const TEN: &[u8] = b"0123456789";

/// Creates a failure before the byte at this offset.
fn damaged(at: u64) -> ReadFailure {
    ReadFailure::new(at, StoreErrorKind::Corrupt)
}

/// Creates a failure of the connection to the store.
fn lost(at: u64) -> ReadFailure {
    ReadFailure::new(at, StoreErrorKind::Unavailable)
}

/// Creates a setting in which `/` is stored, and is going to fail in this way.
async fn failing(fields: &[(&str, &str)], failures: &[ReadFailure]) -> Setting {
    let mut setting = setting();
    setting.fetch_and_store("/", fields, TEN).await;
    setting.store.fail_reads(failures);
    setting
}

/// Returns a field of a request, or an empty string.
fn field<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields.get(name).map_or("", |value| value.to_str().expect("text"))
}

/// Responds with the requested range of ten bytes, after checking that it is requested for the
/// entity tag "a".
fn respond_with_rest(received: ReceivedRequest) {
    let fields = received.request.headers();
    assert_eq!(field(fields, "if-range"), "\"a\"");
    let range = field(fields, "range").strip_prefix("bytes=").expect("a range of bytes");
    let (first, last) = range.split_once('-').expect("a range");
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let content_range = format!("bytes {first}-{last}/10");
    received.respond(206, &[FRESH, &[("content-range", &content_range)]].concat(), &TEN[first..=last]);
}

/// Reads the body of a response in a task, so that the test can act as the origin.
fn reading(response: CacheResponse) -> tokio::task::JoinHandle<Result<Vec<u8>, String>> {
    tokio::spawn(content(response))
}

/// Returns the response to a hit.
async fn hit(fetch: FetchTask) -> CacheResponse {
    let response = response_of(fetch).await;
    assert!(response.cache_status().to_string().contains("hit"), "{:?}", response.cache_status());
    response
}

/// A block of a body on disk is damaged. Its readers were cut off, although the origin had the
/// rest.
#[tokio::test]
async fn a_damaged_body_continues_at_the_origin() {
    for at in [0, 1, 4, 8, 9] {
        let mut setting = failing(FRESH, &[damaged(at)]).await;
        let reading = reading(hit(setting.get("/", &[("accept", "x"), ("if-none-match", "\"b\"")])).await);
        let received = setting.requests.next().await;
        let fields = received.request.headers();
        assert_eq!(field(fields, "range"), format!("bytes={at}-9"));
        assert_eq!((field(fields, "accept"), field(fields, "if-none-match")), ("x", ""));
        assert_eq!(received.request.uri(), "http://example.com/");
        respond_with_rest(received);
        assert_eq!(reading.await.expect("no panic").as_deref(), Ok(TEN), "damaged at {at}");
        assert!(setting.stored("/").await.is_empty(), "the damaged entry is removed");
    }
}

/// A store that fails after the last byte may have found out that the bytes before were wrong.
#[tokio::test]
async fn a_failure_after_the_last_byte_is_not_hidden() {
    let mut setting = failing(FRESH, &[damaged(10)]).await;
    let mut body = hit(setting.get("/", &[])).await.into_body();
    let mut read = Vec::new();
    let end = loop {
        match body.chunk().await {
            Some(Ok(chunk)) => read.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert_eq!(read, TEN);
    assert!(end.is_some_and(|end| end.is_err()), "the error is passed on");
    assert!(setting.requests.is_empty());
}

#[tokio::test]
async fn a_lost_connection_to_the_store_is_tried_again_once() {
    let mut setting = failing(FRESH, &[lost(5)]).await;
    assert_eq!(content(hit(setting.get("/", &[])).await).await.as_deref(), Ok(TEN));
    assert!(setting.requests.is_empty(), "the same entry has the rest");

    setting.store.fail_reads(&[lost(3), lost(7)]);
    let reading = reading(hit(setting.get("/", &[])).await);
    let received = setting.requests.next().await;
    assert_eq!(field(received.request.headers(), "range"), "bytes=7-9");
    respond_with_rest(received);
    assert_eq!(reading.await.expect("no panic").as_deref(), Ok(TEN));
}

#[tokio::test]
async fn a_store_that_is_down_is_not_waited_for() {
    let mut setting = failing(FRESH, &[lost(5)]).await;
    let response = hit(setting.get("/", &[])).await;
    setting.fault(Fault::Down);
    let reading = reading(response);
    respond_with_rest(setting.requests.next().await);
    assert_eq!(reading.await.expect("no panic").as_deref(), Ok(TEN));
}

#[tokio::test]
async fn another_entry_with_the_same_bytes_is_used_before_the_origin() {
    let mut setting = failing(FRESH, &[ReadFailure::new(5, StoreErrorKind::Gone)]).await;
    let response = hit(setting.get("/", &[])).await;
    // A reload replaces the entry.
    let reload = setting.get("/", &[("cache-control", "no-cache")]);
    setting.requests.next().await.respond(200, FRESH, TEN);
    assert_eq!(content(response_of(reload).await).await.as_deref(), Ok(TEN));
    assert_eq!(content(response).await.as_deref(), Ok(TEN));
    assert!(setting.requests.is_empty());
}

#[tokio::test]
async fn another_entry_with_other_bytes_is_not_used() {
    for (fields, bytes) in [
        (&[("cache-control", "max-age=60"), ("etag", "\"b\"")][..], &b"abcdefghij"[..]),
        (&[("cache-control", "max-age=60"), ("etag", "W/\"a\"")], b"abcdefghij"),
        (FRESH, b"a longer body"),
        (&[FRESH[0], FRESH[1], ("content-encoding", "gzip")], b"abcdefghij"),
    ] {
        let mut setting = failing(FRESH, &[ReadFailure::new(5, StoreErrorKind::Gone)]).await;
        let response = hit(setting.get("/", &[])).await;
        let reload = setting.get("/", &[("cache-control", "no-cache")]);
        setting.requests.next().await.respond(200, fields, bytes);
        drop(reload.await);
        let reading = reading(response);
        respond_with_rest(setting.requests.next().await);
        assert_eq!(reading.await.expect("no panic").as_deref(), Ok(TEN), "{fields:?}");
    }
}

/// What an origin does, and its response: status, fields and content.
type Case = (&'static str, u16, &'static [(&'static str, &'static str)], &'static [u8]);

/// The origin may have other bytes by now, or treat ranges badly.
#[tokio::test]
async fn other_bytes_of_the_origin_end_the_body() {
    const RANGE: (&str, &str) = ("content-range", "bytes 5-9/10");
    let cases: &[Case] = &[
        ("ignores the range", 200, FRESH, TEN),
        ("has another version", 200, &[("etag", "\"b\"")], b"abcdefghij"),
        ("ignores If-Range", 206, &[("etag", "\"b\""), RANGE], b"fghij"),
        ("has no tag", 206, &[RANGE], b"fghij"),
        ("has a weak tag", 206, &[("etag", "W/\"a\""), RANGE], b"fghij"),
        ("has two tags", 206, &[("etag", "\"a\""), ("etag", "\"b\""), RANGE], b"fghij"),
        ("sends another range", 206, &[("etag", "\"a\""), ("content-range", "bytes 4-8/10")], b"efghi"),
        ("sends less", 206, &[("etag", "\"a\""), ("content-range", "bytes 5-8/10")], b"fghi"),
        ("has another length", 206, &[("etag", "\"a\""), ("content-range", "bytes 5-9/11")], b"fghij"),
        ("has an unknown length", 206, &[("etag", "\"a\""), ("content-range", "bytes 5-9/*")], b"fghij"),
        ("states no range", 206, &[("etag", "\"a\"")], b"fghij"),
        ("states two ranges", 206, &[("etag", "\"a\""), RANGE, RANGE], b"fghij"),
        ("encodes it", 206, &[("etag", "\"a\""), RANGE, ("content-encoding", "gzip")], b"fghij"),
        ("cannot satisfy it", 416, &[("content-range", "bytes */3")], b""),
        ("fails", 503, FRESH, b"down"),
    ];
    for (case, status, fields, bytes) in cases {
        let mut setting = failing(FRESH, &[damaged(5)]).await;
        let reading = reading(hit(setting.get("/", &[])).await);
        setting.requests.next().await.respond(*status, fields, bytes);
        let error = reading.await.expect("no panic").expect_err(case);
        assert!(error.contains("corrupt"), "an origin that {case}: {error}");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_respond_ends_the_body_with_the_error_of_the_store() {
    let mut setting = failing(FRESH, &[damaged(5)]).await;
    let reading = reading(hit(setting.get("/", &[])).await);
    drop(setting.requests.next().await);
    assert!(reading.await.expect("no panic").expect_err("no rest").contains("corrupt"));
}

#[tokio::test]
async fn without_a_strong_tag_nothing_is_continued() {
    let modified = ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT");
    for validator in [("etag", "W/\"a\""), ("etag", "a"), ("etag", "\""), modified, ("x-none", "")] {
        let mut setting = failing(&[FRESH[0], validator], &[lost(5)]).await;
        let error = content(hit(setting.get("/", &[])).await).await;
        assert!(error.is_err(), "{validator:?}");
        assert!(setting.requests.is_empty(), "{validator:?}");
    }
}

#[tokio::test]
async fn a_body_is_continued_three_times_at_most() {
    let mut setting = failing(FRESH, &[damaged(1)]).await;
    let reading = reading(hit(setting.get("/", &[])).await);
    for first in 1..4 {
        let received = setting.requests.next().await;
        assert_eq!(field(received.request.headers(), "range"), format!("bytes={first}-9"));
        let content_range = format!("bytes {first}-9/10");
        let fields = [FRESH, &[("content-range", &content_range)]].concat();
        let body = received.respond_streaming(206, &fields, Some(10 - first));
        assert!(body.chunk(&TEN[first as usize..=first as usize]).await);
        // The connection to the origin breaks.
        drop(body);
    }
    assert!(reading.await.expect("no panic").is_err());
    settle().await;
    assert!(setting.requests.is_empty());
}

#[tokio::test]
async fn too_many_bytes_of_the_origin_are_not_passed_on() {
    let mut setting = failing(FRESH, &[damaged(5)]).await;
    let reading = reading(hit(setting.get("/", &[])).await);
    let fields = [FRESH, &[("content-range", "bytes 5-9/10")]].concat();
    setting.requests.next().await.respond(206, &fields, b"56789 and more");
    assert!(reading.await.expect("no panic").is_err());
}

/// A client waited for ever.
#[tokio::test(start_paused = true)]
async fn an_origin_that_stalls_in_the_rest_has_a_limit() {
    let mut setting = failing(FRESH, &[damaged(5)]).await;
    let reading = reading(hit(setting.get("/", &[])).await);
    let fields = [FRESH, &[("content-range", "bytes 5-9/10")]].concat();
    let stalled = setting.requests.next().await.respond_streaming(206, &fields, None);
    assert!(stalled.chunk("5").await);
    // It continues once more, behind the byte that has arrived.
    let received = setting.requests.next().await;
    assert_eq!(field(received.request.headers(), "range"), "bytes=6-9");
    respond_with_rest(received);
    assert_eq!(reading.await.expect("no panic").as_deref(), Ok(&b"0123456789"[..]));
    drop(stalled);
}

#[tokio::test]
async fn ranges_of_a_stored_body_are_continued() {
    for (range, at, rest, expected) in [
        ("bytes=2-8", 5, "bytes=5-8", "2345678"),
        ("bytes=-3", 7, "bytes=7-9", "789"),
        ("bytes=9-", 9, "bytes=9-9", "9"),
    ] {
        let mut setting = failing(FRESH, &[damaged(at)]).await;
        let response = hit(setting.get("/", &[("range", range), ("if-range", "\"a\"")])).await;
        assert_eq!(response.status(), 206);
        let reading = reading(response);
        let received = setting.requests.next().await;
        assert_eq!(field(received.request.headers(), "range"), rest);
        respond_with_rest(received);
        assert_eq!(reading.await.expect("no panic").as_deref(), Ok(expected.as_bytes()), "{range}");
    }
}

#[tokio::test]
async fn several_ranges_are_continued_one_by_one() {
    let mut setting = failing(FRESH, &[damaged(1), damaged(6)]).await;
    let response = hit(setting.get("/", &[("range", "bytes=0-2,5-7")])).await;
    let reading = reading(response);
    for rest in ["bytes=1-2", "bytes=6-7"] {
        let received = setting.requests.next().await;
        assert_eq!(field(received.request.headers(), "range"), rest);
        respond_with_rest(received);
    }
    let body = String::from_utf8(reading.await.expect("no panic").expect("whole")).expect("text");
    assert!(body.contains("\r\n\r\n012\r\n") && body.contains("\r\n\r\n567\r\n"), "{body}");
}

/// A stored part begins in the middle of the representation, so that offsets in its body are others
/// than those that the origin is to send.
#[tokio::test]
async fn a_stored_part_is_continued_at_its_own_offset() {
    let mut setting = setting();
    let fetch = setting.get("/", &[("range", "bytes=3-8")]);
    respond_with_part(setting.requests.next().await);
    assert_eq!(content(response_of(fetch).await).await.as_deref(), Ok(&TEN[3..=8]));
    setting.store.fail_reads(&[damaged(2)]);
    let reading = reading(hit(setting.get("/", &[("range", "bytes=4-7")])).await);
    let received = setting.requests.next().await;
    assert_eq!(field(received.request.headers(), "range"), "bytes=5-7");
    respond_with_rest(received);
    assert_eq!(reading.await.expect("no panic").as_deref(), Ok(&TEN[4..=7]));
}

/// Responds to a request for a range without `If-Range`.
fn respond_with_part(received: ReceivedRequest) {
    let fields = [FRESH, &[("content-range", "bytes 3-8/10")]].concat();
    received.respond(206, &fields, &TEN[3..=8]);
}

#[tokio::test]
async fn a_response_to_head_reads_nothing() {
    let mut setting = failing(FRESH, &[damaged(0)]).await;
    let response = hit(setting.send(request("HEAD", "/", &[]))).await;
    assert_eq!(content(response).await.as_deref(), Ok(&b""[..]));
    assert!(setting.requests.is_empty());
}

#[tokio::test]
async fn a_validated_response_is_continued() {
    let mut setting = failing(FRESH, &[damaged(5)]).await;
    setting.advance(61);
    let fetch = setting.get("/", &[("accept", "x")]);
    let received = setting.requests.next().await;
    assert_eq!(field(received.request.headers(), "if-none-match"), "\"a\"");
    received.respond(304, FRESH, b"");
    let reading = reading(response_of(fetch).await);
    let received = setting.requests.next().await;
    assert_eq!(field(received.request.headers(), "accept"), "x");
    respond_with_rest(received);
    assert_eq!(reading.await.expect("no panic").as_deref(), Ok(TEN));
}

/// Length of a chunk of a long body, and the number of its chunks: longer than the window.
const CHUNK: usize = 64 * 1024;
const COUNT: usize = 16;

/// Returns chunk `index` of a long body.
fn chunk(index: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(index).expect("few chunks"); CHUNK]
}

/// Returns a long body.
fn long() -> Vec<u8> {
    (0..COUNT).flat_map(chunk).collect()
}

/// A slow client of a long body reads what has left the window from the store, which fails. By then
/// the response is stored.
#[tokio::test]
async fn a_client_that_has_fallen_behind_continues_with_the_stored_response() {
    for length in [Some((CHUNK * COUNT) as u64), None] {
        let mut setting = setting();
        let fetch = setting.get("/", &[]);
        let sender = setting.requests.next().await.respond_streaming(200, FRESH, length);
        let (slow, quick) = (response_of(fetch).await, setting.get("/", &[]));
        let quick = tokio::spawn(content(response_of(quick).await));
        setting.store.fail_reads(&[damaged(100_000)]);
        for index in 0..COUNT {
            assert!(sender.chunk(chunk(index)).await);
        }
        sender.end().await;
        assert!(quick.await.expect("no panic").expect("whole") == long());
        setting.cache.drain(Duration::from_secs(60)).await;
        assert!(content(slow).await.expect("whole") == long(), "length {length:?}");
        assert!(setting.requests.is_empty());
    }
}

/// As before, but the response is still arriving, so that only the origin has the bytes.
#[tokio::test]
async fn a_client_that_has_fallen_behind_an_arriving_body_continues_at_the_origin() {
    for length in [Some((CHUNK * COUNT) as u64), None] {
        let mut setting = setting();
        let fetch = setting.get("/", &[]);
        let sender = setting.requests.next().await.respond_streaming(200, FRESH, length);
        let (slow, quick) = (response_of(fetch).await, response_of(setting.get("/", &[])).await);
        let quick = tokio::spawn(content(quick));
        setting.store.fail_reads(&[damaged(100_000)]);
        for index in 0..COUNT {
            assert!(sender.chunk(chunk(index)).await);
        }
        let reading = reading(slow);
        let received = setting.requests.next().await;
        let range = field(received.request.headers(), "range").to_owned();
        let (first, last) =
            range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range");
        let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
        assert_eq!(first, 100_000);
        let content_range = format!("bytes {first}-{last}/{}", CHUNK * COUNT);
        let fields = [FRESH, &[("content-range", &content_range)]].concat();
        let rest = received.respond_streaming(206, &fields, None);
        assert!(rest.chunk(long()[first..=last].to_vec()).await);
        rest.end().await;
        sender.end().await;
        assert!(quick.await.expect("no panic").expect("whole") == long());
        assert!(reading.await.expect("no panic").expect("whole") == long(), "length {length:?}");
    }
}
