//! Tests that readers finish a long body that is replaced, removed or evicted, or get an error.

mod setting;

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{ByteStream, CacheStore, Scope, StoreError, StoreErrorKind, StoredBody};
use larder_redis::RedisStore;
use larder_testkit::{head, key};
use setting::{Server, store};

async fn put(store: &RedisStore, path: &str, body: &[u8]) -> Result<(), StoreError> {
    let head = Arc::new(head(&[("cache-control", "max-age=3600")], &[]));
    let keep_until = head.keep_until();
    let mut writer = store.reserve(&key(path)).await?.begin(head, None, keep_until).await?;
    for chunk in body.chunks(64 << 10) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    writer.commit().await.map(drop)
}

async fn open(store: &RedisStore, path: &str) -> ByteStream {
    let found = store.lookup(&key(path)).await.expect("it looks up");
    let StoredBody::Source(source) = &found[0].body else { panic!("in memory") };
    source.stream(None).await.expect("it opens")
}

async fn next(stream: &mut ByteStream) -> Option<Result<Bytes, StoreErrorKind>> {
    let chunk = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await?;
    Some(chunk.map_err(|error| error.kind()))
}

/// A client read a large file slowly while an editor published a new version and purged the old
/// one. Its download was cut off.
#[tokio::test]
async fn a_slow_reader_finishes_a_body_that_is_replaced_and_removed() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    let body: Vec<u8> = (0..24_u32 << 20).map(|n| (n >> 8) as u8).collect();
    put(&store, "/a", &body).await.expect("it is stored");
    let mut stream = open(&store, "/a").await;
    let mut read = next(&mut stream).await.expect("a chunk").expect("it reads").to_vec();
    put(&store, "/a", &body[..1 << 20]).await.expect("it is stored");
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    store.remove(Scope::All).await.expect("it removes");
    let names = server.cli(&["keys", "*b????????????????"]);
    // As if the reader had taken most of the grace time.
    names.lines().for_each(|name| drop(server.cli(&["pexpire", name, "30000"])));
    while let Some(chunk) = next(&mut stream).await {
        read.extend_from_slice(&chunk.expect("it reads"));
    }
    assert!(read == body);
    let left = names.lines().map(|name| server.cli(&["pttl", name]).parse::<i64>().expect("a number"));
    assert!(left.max().is_some_and(|left| left > 45_000), "reading extends the grace time");
}

/// A server that is full evicts the body itself while it is read. The reader gets an error, never a
/// shorter body.
#[tokio::test]
async fn a_body_that_the_server_evicts_fails_its_reader() {
    let server = Server::start(&["--maxmemory", "40mb", "--maxmemory-policy", "allkeys-lru"]);
    let store = store(&server.url()).await;
    put(&store, "/a", &vec![b'x'; 8 << 20]).await.expect("it is stored");
    let mut stream = open(&store, "/a").await;
    let mut length = next(&mut stream).await.expect("a chunk").expect("it reads").len();
    let body = server.cli(&["keys", "*b????????????????"]);
    for n in 0..64 {
        let _ = put(&store, &format!("/{n}"), &vec![b'y'; 4 << 20]).await;
        if server.cli(&["exists", &body]) == "0" {
            break;
        }
    }
    assert_eq!(server.cli(&["exists", &body]), "0", "the server was not full");
    let failed = loop {
        match next(&mut stream).await {
            Some(Ok(chunk)) => length += chunk.len(),
            Some(Err(kind)) => break kind,
            None => panic!("a shorter body ended as if it were complete"),
        }
    };
    assert!(failed == StoreErrorKind::Gone && length < 8 << 20);
}
