//! A store that fails while the client reads a body from it.

use std::{io::Write as _, sync::Arc};

use larder_core::StoreErrorKind;
use larder_memory::MemoryStore;
use larder_reqwest::{CacheOutcome, CachedClient};
use larder_testkit::{FaultyStore, RawOrigin, ReadFailure};

const TEN: &str = "0123456789";

#[tokio::test]
async fn a_hit_continues_at_the_origin() {
    let origin = RawOrigin::start(|head, stream| {
        let common = "Cache-Control: max-age=60\r\nETag: \"a\"\r\n";
        let response = if head.to_ascii_lowercase().contains("range: bytes=6-9\r\n") {
            assert!(head.to_ascii_lowercase().contains("if-range: \"a\"\r\n"), "{head}");
            assert!(head.contains("me"), "{head}");
            let range = "Content-Range: bytes 6-9/10\r\nContent-Length: 4";
            format!("HTTP/1.1 206 Partial Content\r\n{common}{range}\r\n\r\n{}", &TEN[6..])
        } else {
            format!("HTTP/1.1 200 OK\r\n{common}Content-Length: 10\r\n\r\n{TEN}")
        };
        stream.write_all(response.as_bytes()).is_ok()
    });
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    let client = CachedClient::builder().no_proxy().store(Arc::new(store.clone())).build().expect("a client");
    for expected in [CacheOutcome::Miss, CacheOutcome::Hit] {
        let response = client.get(origin.url()).header("x-user", "me").send().await.expect("a response");
        assert_eq!(response.outcome(), expected);
        assert_eq!(response.text().await.expect("the body is whole"), TEN);
        store.fail_reads(&[ReadFailure::new(6, StoreErrorKind::Corrupt)]);
    }
    assert_eq!(origin.heads().len(), 2);
}
