//! Tests the guarantees of this store beyond the contract of every store, on a real server.

mod setting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{CacheKey, CacheStore, Claim, Scope, StoreErrorKind, StoreWriter, StoredBody, StoredHead};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::{head, key};
use setting::{Server, options, store};

fn fresh() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-control", "max-age=60")], &[]))
}

/// Writes a body without committing it.
async fn uncommitted(store: &RedisStore, key: &CacheKey, body: &[u8]) -> Box<dyn StoreWriter> {
    let mut writer = store
        .reserve(key)
        .await
        .expect("it reserves")
        .begin(fresh(), None, fresh().keep_until())
        .await
        .expect("it begins");
    for chunk in body.chunks(64 << 10) {
        writer.write(Bytes::copy_from_slice(chunk)).await.expect("it takes a chunk");
    }
    writer
}

async fn put(store: &RedisStore, key: &CacheKey, body: &[u8]) {
    uncommitted(store, key, body).await.commit().await.expect("it commits");
}

async fn content(store: &RedisStore, key: &CacheKey) -> Option<Result<Vec<u8>, StoreErrorKind>> {
    let found = store.lookup(key).await.expect("it looks up");
    let body = found.first()?.body.clone();
    Some(match body {
        StoredBody::Whole(bytes) => Ok(bytes.to_vec()),
        StoredBody::Source(source) => {
            let read = async {
                let mut stream = source.stream(None).await?;
                let mut all = Vec::new();
                while let Some(chunk) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    all.extend_from_slice(&chunk?);
                }
                Ok::<_, larder_core::StoreError>(all)
            };
            read.await.map_err(|error| error.kind())
        }
    })
}

/// A process that died during a write left an unfinished body that never expired.
#[tokio::test]
async fn everything_expires() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    put(&store, &key("/short"), b"short").await;
    put(&store, &key("/long"), &vec![b'x'; 1 << 20]).await;
    store.remove(Scope::Key(&key("/gone"))).await.expect("it removes");
    store.remove(Scope::All).await.expect("it clears");
    put(&store, &key("/short"), b"short").await;
    put(&store, &key("/long"), &vec![b'x'; 1 << 20]).await;
    let unfinished = uncommitted(&store, &key("/dies"), &vec![b'x'; 1 << 20]).await;
    std::mem::forget(unfinished);
    let keys = server.cli(&["keys", "*"]);
    assert!(keys.lines().count() >= 5, "{keys}");
    for name in keys.lines() {
        let left: i64 = server.cli(&["pttl", name]).parse().expect("a number");
        assert!(left > 0, "{name} never expires");
        if name.contains(":http://example.com/short") {
            assert!((60_000..100_000).contains(&left), "{name}: {left} ms");
        }
    }
}

#[tokio::test]
async fn a_dropped_writer_leaves_no_body_on_the_server() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    drop(uncommitted(&store, &key("/a"), &vec![b'x'; 1 << 20]).await);
    for _ in 0..200 {
        if server.cli(&["keys", "*b????????????????"]).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left: {}", server.cli(&["keys", "*"]));
}

/// They stay for a minute for those who are reading them, and no longer.
#[tokio::test]
async fn replaced_and_removed_bodies_expire_within_a_minute() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    let long = vec![b'x'; 1 << 20];
    let lifetimes = || {
        let names = server.cli(&["keys", "*b????????????????"]);
        names.lines().map(|name| server.cli(&["pttl", name]).parse().expect("a number")).collect::<Vec<i64>>()
    };
    for _ in 0..3 {
        put(&store, &key("/a"), &long).await;
    }
    let (current, released): (Vec<_>, Vec<_>) = lifetimes().into_iter().partition(|left| *left > 60_000);
    assert_eq!((current.len(), released.len()), (1, 2));
    store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
    for scope in [Scope::All, Scope::Prefix("http://example.com/")] {
        put(&store, &key("/a"), &long).await;
        store.remove(scope).await.expect("it removes");
        assert!(lifetimes().iter().all(|left| *left <= 60_000), "{scope}: {:?}", lifetimes());
    }
    put(&store, &key("/a"), &long).await;
    let found = store.lookup(&key("/a")).await.expect("it looks up");
    assert!(store.evict(&key("/a"), found[0].id).await.expect("it evicts"));
    assert!(lifetimes().iter().all(|left| *left <= 60_000), "{:?}", lifetimes());
    assert_eq!(server.cli(&["keys", "*http:*"]), "", "no entry is left");
}

/// A body that the server has evicted is a miss or a failure, never a shorter body.
#[tokio::test]
async fn an_evicted_body_is_never_a_shorter_one() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    put(&store, &key("/a"), &vec![b'x'; 1 << 20]).await;
    let body = server.cli(&["keys", "*b????????????????"]);
    let found = store.lookup(&key("/a")).await.expect("it looks up");
    let StoredBody::Source(source) = &found[0].body else { panic!("in memory") };
    let mut stream = source.stream(None).await.expect("it opens");
    let chunk = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
    assert!(chunk.is_some_and(|chunk| chunk.is_ok()));
    server.cli(&["unlink", &body]);
    let next = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
    assert!(next.is_some_and(|next| next.is_err()), "the body ended as if it were complete");
    assert_eq!(content(&store, &key("/a")).await, Some(Err(StoreErrorKind::Gone)));
}

#[tokio::test]
async fn what_another_program_has_written_is_a_miss() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    put(&store, &key("/a"), b"right").await;
    let name = server.cli(&["keys", "*example.com/a"]);
    for field in ["x", "yyyyyyyyyyyyyyyy"] {
        server.cli(&["hset", &name, field, "something else that is longer than an envelope"]);
    }
    assert_eq!(content(&store, &key("/a")).await, Some(Ok(b"right".to_vec())));
    assert_eq!(server.cli(&["hlen", &name]), "1", "the invalid values are removed");
    server.cli(&["del", &name]);
    server.cli(&["set", &name, "a string"]);
    assert_eq!(content(&store, &key("/a")).await, None);
    server.cli(&["del", &name]);
    put(&store, &key("/b"), &vec![b'x'; 1 << 20]).await;
    let body = server.cli(&["keys", "*b????????????????"]);
    server.cli(&["setrange", &body, "600000", "!"]);
    assert_eq!(content(&store, &key("/b")).await, Some(Err(StoreErrorKind::Corrupt)));
}

/// A process was suspended for longer than its lease. After that it overwrote what another process
/// had fetched in the meantime.
#[tokio::test]
async fn a_late_holder_does_not_overwrite() {
    let store = store(setting::shared()).await;
    let late = uncommitted(&store, &key("/a"), b"old").await;
    put(&store, &key("/a"), b"new").await;
    let refused = late.commit().await.expect_err("a later response is there");
    assert_eq!(refused.kind(), StoreErrorKind::Gone);
    assert_eq!(content(&store, &key("/a")).await, Some(Ok(b"new".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_taken_over_when_its_holder_dies() {
    let mut options = options();
    options.lease_duration = Duration::from_millis(300);
    let server = Server::start(&[]);
    let url = server.url();
    let connect = || RedisStore::connect(&url, options.clone());
    let (dies, waits) = (connect().await.expect("it connects"), connect().await.expect("it connects"));
    let (own_url, own_options) = (url.clone(), options.clone());
    let holder = std::thread::spawn(move || {
        // After the shutdown of this runtime, no task renews the lease.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let own = runtime.block_on(RedisStore::connect(&own_url, own_options)).expect("it connects");
        let claim =
            runtime.block_on(own.leases().expect("it has leases").claim(&key("/a"))).expect("it claims");
        assert!(matches!(claim, Claim::Granted(_)));
        std::mem::forget(claim);
        runtime.shutdown_background();
    });
    holder.join().expect("no panic");
    let Ok(Claim::Held(held)) = waits.leases().expect("it has leases").claim(&key("/a")).await else {
        panic!("the lease was granted twice")
    };
    tokio::time::timeout(Duration::from_secs(20), held.released()).await.expect("the lease expires");
    let claim = dies.leases().expect("it has leases").claim(&key("/a")).await;
    let Ok(Claim::Granted(lease)) = claim else { panic!("the lease is not free") };
    // A living holder holds it for longer than its duration.
    wait_for_renewals(&server, 4).await;
    let claim = waits.leases().expect("it has leases").claim(&key("/a")).await;
    let Ok(Claim::Held(held)) = claim else { panic!("the lease was lost although its holder lives") };
    let waiting = tokio::spawn(held.released());
    tokio::task::yield_now().await;
    drop(lease);
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("the waiter is notified")
        .expect("no panic");
}

/// Waits until the only lease on a server was renewed this many times. After a renewal, it has more
/// time left than before.
async fn wait_for_renewals(server: &Server, times: u32) {
    let (mut seen, mut before) = (0, i64::MAX);
    while seen < times {
        let name = server.cli(&["keys", "*l"]);
        let left: i64 = server.cli(&["pttl", &name]).parse().expect("a number");
        assert!(left > 0, "the lease has expired");
        seen += u32::from(left > before);
        before = left;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn urls_are_removed_by_prefix() {
    let store = store(setting::shared()).await;
    for path in ["/news/1", "/news/2", "/new", "/sports?a=[b]*", "/sports?a=xb"] {
        put(&store, &key(path), b"x").await;
    }
    let there = async |path: &str| content(&store, &key(path)).await.is_some();
    assert_eq!(
        store.remove(Scope::Prefix("http://example.com/news/")).await.expect("it removes"),
        larder_core::Purged::from(2)
    );
    assert!(!there("/news/1").await && there("/new").await);
    assert_eq!(
        store.remove(Scope::Prefix("http://example.com/sports?a=[b]*")).await.expect("it removes"),
        larder_core::Purged::from(1)
    );
    assert!(there("/sports?a=xb").await);
    assert_eq!(store.stats().await.expect("statistics").entries, 2);
}

#[tokio::test]
async fn caches_with_other_prefixes_are_left_alone() {
    let (one, other) = (store(setting::shared()).await, store(setting::shared()).await);
    put(&one, &key("/a"), b"one").await;
    put(&other, &key("/a"), b"other").await;
    one.remove(Scope::All).await.expect("it clears");
    assert_eq!(content(&one, &key("/a")).await, None);
    assert_eq!(content(&other, &key("/a")).await, Some(Ok(b"other".to_vec())));
}

#[tokio::test]
async fn connect_reports_wrong_urls_and_passwords() {
    let server = Server::start(&["--requirepass", "secret"]);
    let with = |user: &str| format!("redis://{user}127.0.0.1:{}/0", server.port);
    for (url, expected) in [
        (with(""), "user and password"),
        (with(":wrong@"), "user and password"),
        ("redis://127.0.0.1:1/".to_owned(), "can't be reached"),
        ("http://127.0.0.1/".to_owned(), "unknown URL scheme"),
    ] {
        let error = RedisStore::connect(&url, RedisOptions::default())
            .await
            .expect_err("the URL or the password is wrong");
        assert!(error.to_string().contains(expected), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"));
        assert!(format!("{error:?}").starts_with(&error.to_string()), "{error:?}");
    }
    RedisStore::connect(&with(":secret@"), options()).await.expect("the right one");
}

/// With a configured certificate authority, and without it.
#[cfg(feature = "tls")]
#[tokio::test]
async fn servers_over_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key_file) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, certificate.cert.pem()).expect("a file");
    std::fs::write(&key_file, certificate.signing_key.serialize_pem()).expect("a file");
    let tls = setting::free_port();
    let (cert, key_file) = (cert.display().to_string(), key_file.display().to_string());
    let port = tls.to_string();
    let _server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key_file,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{tls}/0");
    let mut trusting = options();
    trusting.root_certificates = certificate.cert.pem().into_bytes();
    let store = RedisStore::connect(&url, trusting).await.expect("the certificate is trusted");
    put(&store, &key("/a"), b"secret").await;
    assert_eq!(content(&store, &key("/a")).await, Some(Ok(b"secret".to_vec())));
    RedisStore::connect(&url, options()).await.expect_err("the certificate is not trusted");
}

/// Redis stores an entry for as long as the engine has a use for it, counted from the arrival of
/// the response, and a revalidation prolongs that.
#[tokio::test]
async fn an_entry_expires_when_the_engine_has_no_use_for_it() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    let head = fresh();
    let until = |secs| head.freshness.response_time.saturating_add(Duration::from_secs(secs));
    let ttl = || {
        let names = server.cli(&["--scan", "--pattern", "*/page"]);
        let ttl = server.cli(&["pttl", names.trim()]);
        ttl.trim().parse::<u64>().expect("the server has the entry")
    };
    let reserved = store.reserve(&key("/page")).await.expect("it reserves");
    let writer = reserved.begin(Arc::clone(&head), Some(0), until(1000)).await.expect("it begins");
    let id = writer.commit().await.expect("it commits");
    assert!((900_000..=1_000_000).contains(&ttl()), "{} ms", ttl());
    store.freshen(&key("/page"), id, Arc::clone(&head), until(5000)).await.expect("it freshens");
    assert!((4_900_000..=5_000_000).contains(&ttl()), "{} ms", ttl());
}
