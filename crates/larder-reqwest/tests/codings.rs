//! Content codings: decoded before the store, all of the content or an error, on stores that other
//! builds use.
#![cfg(all(feature = "brotli", feature = "deflate", feature = "gzip", feature = "zstd"))]

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use larder_memory::MemoryStore;
use larder_reqwest::{CacheOutcome, CachedClient, CachedClientBuilder, ErrorKind};
use larder_testkit::{ManualClock, RawOrigin};

fn builder() -> CachedClientBuilder {
    CachedClient::builder().no_proxy()
}

/// A client that decodes nothing, like a build without the features.
fn without_codings(builder: CachedClientBuilder) -> CachedClientBuilder {
    builder.gzip(false).brotli(false).zstd(false).deflate(false)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    flate2::read::GzEncoder::new(content, flate2::Compression::fast())
        .read_to_end(&mut coded)
        .expect("memory");
    coded
}

/// Starts a server that sends this content, compressed or not, in one write for each part.
fn serves(fields: &'static str, parts: Vec<Vec<u8>>) -> RawOrigin {
    RawOrigin::start(move |head, stream| {
        let length: usize = parts.iter().map(Vec::len).sum();
        let sent = write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: {length}\r\n\r\n");
        let is_head = head.starts_with("HEAD");
        sent.is_ok() && (is_head || parts.iter().all(|part| stream.write_all(part).is_ok()))
    })
}

const GZIP: &str = "cache-control: max-age=60\r\ncontent-encoding: gzip\r\netag: \"a\"";

/// A page of 40 members ended after the first one. It was complete for the caller, and was stored
/// like that.
#[tokio::test]
async fn all_members_are_decoded_and_stored() {
    let origin = serves(GZIP, (0..40).map(|member| gzip(format!("member {member}\n").as_bytes())).collect());
    let client = builder().build().expect("a client");
    let expected: String = (0..40).map(|member| format!("member {member}\n")).collect();
    for outcome in [CacheOutcome::Miss, CacheOutcome::Hit] {
        let response = client.get(origin.url()).send().await.expect("a response");
        assert_eq!(response.outcome(), outcome);
        assert!(!response.headers().contains_key("content-encoding"));
        assert!(!response.headers().contains_key("content-length"));
        assert_eq!(response.headers()["etag"], "W/\"a\"");
        assert_eq!(response.text().await.expect("a body"), expected);
    }
    let heads = origin.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].contains("accept-encoding: gzip, br, zstd, deflate\r\n"), "{}", heads[0]);
}

#[tokio::test]
async fn broken_content_is_an_error_and_not_stored() {
    let whole = gzip(b"some content");
    for (name, parts) in [
        ("cut", vec![whole[..whole.len() - 3].to_vec()]),
        ("followed by a byte", vec![whole.clone(), vec![0]]),
        ("followed by text", vec![[&whole[..], b"<!-- cached -->"].concat()]),
        ("not gzip", vec![b"some content".to_vec()]),
    ] {
        let origin = serves(GZIP, parts);
        let client = builder().build().expect("a client");
        let response = client.get(origin.url()).send().await.expect("a head");
        let error = response.bytes().await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Body, "{name}");
        assert!(error.to_string().contains("gzip"), "{name}: {error}");
        assert!(client.cache().drain(Duration::from_secs(20)).await);
        let stored = client.get(origin.url()).only_if_cached().send().await;
        assert_eq!(stored.expect_err(name).kind(), ErrorKind::NotCached);
    }
}

/// A build that decodes, and one that does not, on one store.
#[tokio::test]
async fn builds_with_and_without_codings_share_a_store() {
    for vary in ["", "\r\nvary: accept-encoding"] {
        let fields: &'static str = format!("{GZIP}{vary}").leak();
        for decodes_first in [true, false] {
            let origin = serves(fields, vec![gzip(b"hello")]);
            let store = Arc::new(MemoryStore::default());
            let builder = || builder().store(Arc::clone(&store) as _).partition("me");
            let decoding = builder().build().expect("a client");
            let plain = without_codings(builder()).build().expect("a client");
            let (first, second) = if decodes_first { (&decoding, &plain) } else { (&plain, &decoding) };
            for client in [first, second, first] {
                let response = client.get(origin.url()).send().await.expect("a response");
                let coding = response.headers().get("content-encoding").cloned();
                let length = response.headers().get("content-length").cloned();
                let body = response.bytes().await.expect("a body");
                let is_coded = coding.is_some_and(|coding| coding == "gzip");
                let expected = if is_coded { gzip(b"hello") } else { b"hello".to_vec() };
                assert_eq!(body, expected, "{vary:?}");
                let length = length.map(|length| length.to_str().expect("text").parse().expect("a number"));
                assert!(length.is_none_or(|length: usize| length == body.len()), "{length:?}");
                assert!(!std::ptr::eq(client, &raw const decoding) || !is_coded, "it decodes");
            }
            assert_eq!(origin.heads().len(), 1, "the second build gets what the first has stored");
        }
    }
}

/// The tag that the cache stores is not that of the server. It validates nevertheless.
#[tokio::test]
async fn a_decoded_response_is_validated_and_keeps_its_content() {
    let origin = RawOrigin::start(|head, stream| {
        let fields = "cache-control: max-age=60\r\ncontent-encoding: gzip\r\netag: \"a\"";
        if head.contains("if-none-match: \"a\"") {
            return write!(stream, "HTTP/1.1 304 Not Modified\r\n{fields}\r\n\r\n").is_ok();
        }
        let coded = gzip(b"hello");
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: {}\r\n\r\n", coded.len());
        stream.write_all(&[head.as_bytes(), &coded].concat()).is_ok()
    });
    let clock = ManualClock::at(1_700_000_000);
    let client = builder().clock(Arc::new(clock.clone())).build().expect("a client");
    let outcomes = [CacheOutcome::Miss, CacheOutcome::Revalidated, CacheOutcome::Revalidated];
    for expected in outcomes {
        let response = client.get(origin.url()).send().await.expect("a response");
        assert_eq!(response.outcome(), expected);
        assert!(!response.headers().contains_key("content-encoding"));
        assert_eq!(response.headers()["etag"], "W/\"a\"");
        assert_eq!(response.text().await.expect("a body"), "hello");
        clock.advance(Duration::from_secs(100));
    }
    let own = client.get(origin.url()).no_store().header("if-none-match", "W/\"a\"").send().await;
    let own = own.expect("a 304");
    assert_eq!((own.status().as_u16(), &own.headers()["etag"]), (304, &"W/\"a\"".parse().expect("a value")));
}

/// A HEAD of a decoded page must not make it stale, and ranges are those of the decoded content.
#[tokio::test]
async fn head_and_ranges_agree_with_the_decoded_content() {
    let content: String = (0..2000).map(|number| format!("{number}\n")).collect();
    let origin = serves(GZIP, vec![gzip(content.as_bytes())]);
    let client = builder().build().expect("a client");
    let get = async || client.get(origin.url()).send().await.expect("a response");
    assert_eq!(get().await.text().await.expect("a body"), content);
    let head = client.head(origin.url()).reload().send().await.expect("a response");
    assert!(
        !head.headers().contains_key("content-encoding") && !head.headers().contains_key("content-length")
    );
    assert_eq!(get().await.outcome(), CacheOutcome::Hit);
    let part = client.get(origin.url()).header("range", "bytes=10-13").send().await.expect("a response");
    assert_eq!((part.status().as_u16(), part.outcome()), (206, CacheOutcome::Hit));
    assert_eq!(part.bytes().await.expect("a body"), content.as_bytes()[10..14]);
    let cold = builder().build().expect("a client");
    cold.get(origin.url()).header("range", "bytes=10-13").send().await.expect("a response");
    let sent = origin.heads().pop().expect("a request");
    assert!(sent.contains("accept-encoding: identity\r\n"), "{sent}");
}

/// 64 MiB of zeros in 64 KiB.
#[tokio::test]
async fn the_limit_of_a_body_counts_decoded_bytes() {
    let origin = serves(GZIP, vec![gzip(&vec![0; 64 << 20])]);
    let client = builder().max_body(1 << 20).build().expect("a client");
    let response = client.get(origin.url()).send().await.expect("a head");
    assert_eq!(response.bytes().await.expect_err("too large").kind(), ErrorKind::BodyTooLarge(1 << 20));
    assert!(client.cache().drain(Duration::from_secs(60)).await);
    let stored = client.get(origin.url()).only_if_cached().send().await;
    assert_eq!(stored.expect_err("not stored").kind(), ErrorKind::NotCached);
}

#[tokio::test]
async fn an_unknown_coding_is_left_to_the_caller() {
    let origin = serves("content-encoding: gzip, rot13\r\netag: \"a\"", vec![b"uryyb".to_vec()]);
    let client = builder().build().expect("a client");
    let response = client.get(origin.url()).send().await.expect("a response");
    assert_eq!(response.headers()["content-encoding"], "gzip, rot13");
    assert_eq!(response.headers()["etag"], "\"a\"");
    assert_eq!(response.bytes().await.expect("a body"), "uryyb");
}

#[cfg(feature = "middleware")]
#[tokio::test]
async fn the_middleware_decodes_as_the_client_does() {
    use larder_core::{Cache, Rules};
    use larder_reqwest::{CachingMiddleware, reqwest};

    let origin = serves(GZIP, (0..3).map(|_| gzip(b"hello")).collect());
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
    let client = reqwest_middleware::ClientBuilder::new(http).with(CachingMiddleware::new(cache)).build();
    for _ in 0..2 {
        let response = client.get(origin.url()).send().await.expect("a response");
        assert!(!response.headers().contains_key("content-encoding"));
        assert_eq!(response.text().await.expect("a body"), "hellohellohello");
    }
    assert_eq!(origin.heads().len(), 1);
}
