//! Tests that a confirmed removal stays in effect after a server has lost it: it restarts from a
//! snapshot, a replica takes over, or the server evicts or flushes what orders writes and removals.

mod setting;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use larder_core::{
    Body, Cache, CacheGroup, CacheStore, Candidate, Origin, Reservation, Scope, StoreErrorKind, StoredBody,
    StoredHead,
};
use larder_redis::RedisStore;
use larder_testkit::{FnOrigin, head, key};
use setting::{Cluster, Monitored, Server, options, store};

const PAGE: &str = "http://example.com/page";

fn in_group() -> Arc<StoredHead> {
    let fields = [("cache-control", "max-age=3600, stale-while-revalidate=3600"), ("cache-groups", "\"g\"")];
    Arc::new(head(&fields, &[]))
}

fn group() -> CacheGroup {
    CacheGroup::new("http://example.com", "g")
}

async fn write(reserved: Box<dyn Reservation>, body: &[u8]) -> Result<(), StoreErrorKind> {
    let written = async {
        let mut writer = reserved.begin(in_group(), None, in_group().keep_until()).await?;
        for chunk in body.chunks(64 << 10) {
            writer.write(Bytes::copy_from_slice(chunk)).await?;
        }
        writer.commit().await.map(drop)
    };
    written.await.map_err(|error: larder_core::StoreError| error.kind())
}

async fn put(store: &RedisStore, path: &str, body: &[u8]) {
    write(store.reserve(&key(path)).await.expect("it reserves"), body).await.expect("it is stored");
}

/// Looks up a page, after a reconnection if need be.
async fn found(store: &RedisStore, path: &str) -> Option<Candidate> {
    for _ in 0..200 {
        if let Ok(found) = store.lookup(&key(path)).await {
            return found.first().cloned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store does not recover")
}

/// Returns whether a head can be served only after its validation.
fn needs_validation(head: &StoredHead) -> bool {
    let freshness = &head.freshness;
    freshness.must_revalidate && freshness.lifetime.lifetime <= freshness.corrected_initial_age
}

async fn is_stale_or_gone(store: &RedisStore, path: &str) -> bool {
    found(store, path).await.is_none_or(|one| needs_validation(&one.head))
}

/// An origin with two pages that have a validator. Each version of `/page` has another one.
fn origin() -> Arc<FnOrigin> {
    FnOrigin::new(|count, request| {
        let tag = if request.uri().path() == "/page" {
            format!("\"{}\"", count + 1)
        } else {
            "\"same\"".to_owned()
        };
        let response = Response::builder().header("etag", &tag).header("cache-groups", "\"g\"");
        let response = response.header("cache-control", "max-age=3600, stale-while-revalidate=3600");
        if request.headers().get("if-none-match").is_some_and(|value| *value == *tag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).body(Body::empty()).expect("a response"));
        }
        Ok(response.body(Body::from(format!("version {tag}"))).expect("a response"))
    })
}

/// Returns the body of a page, and the response's Cache-Status.
async fn get(store: &RedisStore, origin: &Arc<FnOrigin>, url: &str) -> (String, String) {
    let cache = Cache::builder(Arc::new(store.clone())).build();
    let request = Request::get(url).body(Body::empty()).expect("a request");
    let response = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await.expect("a response");
    let status = response.cache_status().to_string();
    let body = response.into_body().into_bytes(usize::MAX).await.expect("the body is complete");
    assert!(cache.drain(Duration::from_secs(10)).await);
    (String::from_utf8(body.into()).expect("text"), status)
}

/// A page was purged, then Redis was restarted and loaded a snapshot from before the purge. Users
/// got the purged page for the rest of its lifetime.
#[tokio::test]
async fn a_restart_from_an_older_snapshot_undoes_no_removal() {
    let page = key("/page");
    let group = group();
    for scope in [Scope::Key(&page), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All] {
        let mut server = Server::start(&[]);
        let options = options();
        let before = RedisStore::connect(&server.url(), options.clone()).await.expect("it connects");
        let origin = origin();
        assert_eq!(get(&before, &origin, PAGE).await.0, "version \"1\"");
        get(&before, &origin, "http://example.com/other").await;
        server.cli(&["save"]);
        before.remove(scope).await.expect("it removes");
        server.kill();
        server.restart();
        let new_process = RedisStore::connect(&server.url(), options).await.expect("it connects");
        for store in [&new_process, &before] {
            let one = found(store, "/page").await.expect("the snapshot has the page");
            assert!(needs_validation(&one.head), "{scope}: the removed page is served");
            assert!(found(store, "/other").await.is_some_and(|one| needs_validation(&one.head)));
        }
        let (body, status) = get(&new_process, &origin, PAGE).await;
        assert!(body != "version \"1\"", "{scope}: the removed page was served: {status}");
        // What the origin validates is fresh again, in all processes.
        let (body, status) = get(&new_process, &origin, "http://example.com/other").await;
        assert!(body == "version \"same\"" && status.contains("fwd-status=304"), "{status}");
        for store in [&before, &new_process] {
            let (_, status) = get(store, &origin, "http://example.com/other").await;
            assert!(status.starts_with("hit"), "{scope}: {status}");
        }
    }
}

/// A purge returned just before the master died, and its replica had not received it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_replica_without_the_removal_undoes_none() {
    let mut it = Monitored::start().await;
    let options = options();
    let other = RedisStore::connect(&it.url(), options.clone()).await.expect("it connects");
    let store = RedisStore::connect(&it.url(), options).await.expect("it connects");
    for path in ["/page", "/grouped", "/replaced"] {
        put(&store, path, b"old").await;
    }
    // Reserved and stored on the old master only; the replica has neither.
    it.cut_replica_off().await;
    store.remove(Scope::Key(&key("/page"))).await.expect("it removes");
    store.remove(Scope::Group(&group())).await.expect("it removes");
    put(&store, "/replaced", b"new").await;
    let pending = store.reserve(&key("/late")).await.expect("it reserves");
    it.master.kill();
    it.wait_for_failover().await;
    for store in [&store, &other] {
        for path in ["/page", "/grouped", "/replaced"] {
            let one = found(store, path).await.expect("the replica has the page");
            assert!(needs_validation(&one.head), "{path} is served although it was removed");
        }
    }
    assert_eq!(write(pending, b"late").await, Err(StoreErrorKind::Gone), "reserved in another epoch");
    put(&store, "/page", b"new").await;
    assert!(!needs_validation(&found(&other, "/page").await.expect("it is stored").head));
}

/// A validation was under way when the server failed over. Its 304 is older than a removal that
/// only the old master had.
#[tokio::test]
async fn a_validation_before_a_restart_freshens_nothing() {
    let mut server = Server::start(&[]);
    let store = store(&server.url()).await;
    put(&store, "/a", b"a").await;
    for restarts in 1..=2 {
        let validating = found(&store, "/a").await.expect("it is stored");
        assert_eq!(needs_validation(&validating.head), restarts > 1);
        server.cli(&["save"]);
        server.kill();
        server.restart();
        let again = found(&store, "/a").await.expect("it is stored");
        assert!(needs_validation(&again.head));
        let fresh = in_group();
        let late = store.freshen(&key("/a"), validating.id, Arc::clone(&fresh), fresh.keep_until()).await;
        assert_eq!(late.map_err(|error| error.kind()), Err(StoreErrorKind::Gone), "restart {restarts}");
    }
    let validating = found(&store, "/a").await.expect("it is stored");
    let fresh = in_group();
    store.freshen(&key("/a"), validating.id, Arc::clone(&fresh), fresh.keep_until()).await.expect("in time");
    assert!(!needs_validation(&found(&store, "/a").await.expect("it is stored").head));
}

/// The server is a replica of another one for a moment and gets its data, while connections stay.
#[tokio::test]
async fn data_of_another_server_is_not_trusted() {
    let (one, other) = (Server::start(&[]), Server::start(&[]));
    let options = options();
    let there = RedisStore::connect(&other.url(), options.clone()).await.expect("it connects");
    put(&there, "/a", b"a").await;
    let here = RedisStore::connect(&one.url(), options).await.expect("it connects");
    one.cli(&["replicaof", "127.0.0.1", &other.port.to_string()]);
    while !one.cli(&["info", "replication"]).contains("master_link_status:up") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.cli(&["replicaof", "no", "one"]);
    assert!(needs_validation(&found(&here, "/a").await.expect("it has the page").head));
}

#[tokio::test]
async fn a_flush_refuses_pending_writes() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    for removed in [true, false] {
        let pending = store.reserve(&key("/a")).await.expect("it reserves");
        if removed {
            store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
        }
        server.cli(&["flushall"]);
        // Another write creates the tokens again.
        put(&store, "/a", b"new").await;
        assert_eq!(write(pending, b"old").await, Err(StoreErrorKind::Gone));
        let one = found(&store, "/a").await.expect("it is stored");
        assert!(matches!(&one.body, StoredBody::Whole(body) if body == "new"));
        assert!(!needs_validation(&one.head));
    }
}

/// With `allkeys-*`, a server that is full evicts any key: also those that order writes and
/// removals.
#[tokio::test]
async fn lost_tokens_never_revive_a_removed_response() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    let page = key("/a");
    let group = group();
    let scopes = [Scope::Key(&page), Scope::Group(&group), Scope::Prefix("http://example.com/"), Scope::All];
    let names = ["*epoch", "*barrier", "*:g:*", "*t", "*"];
    let lose = |pattern: &str| {
        for name in server.cli(&["keys", pattern]).lines() {
            server.cli(&["del", name]);
        }
    };
    for scope in scopes {
        for pattern in names {
            for step in 0..5 {
                let lose_at = |now: i32| {
                    if now == step {
                        lose(pattern);
                    }
                };
                // So that the group has a token, as after earlier responses.
                put(&store, "/other", b"x").await;
                let pending = store.reserve(&page).await.expect("it reserves");
                lose_at(0);
                store.remove(scope).await.expect("it removes");
                lose_at(1);
                let begun = pending.begin(in_group(), None, in_group().keep_until()).await;
                lose_at(2);
                if let Ok(mut writer) = begun {
                    writer.write(Bytes::from_static(b"old")).await.expect("it takes a chunk");
                    let _ = writer.commit().await;
                }
                assert!(is_stale_or_gone(&store, "/a").await, "{scope}: {pattern} was lost at {step}");
                // A response that was stored and then removed.
                store.remove(Scope::All).await.expect("it removes");
                put(&store, "/a", b"old").await;
                lose_at(3);
                store.remove(scope).await.expect("it removes");
                lose_at(4);
                assert!(is_stale_or_gone(&store, "/a").await, "{scope}: {pattern} was lost at {step}");
                lose("*");
            }
        }
    }
}

/// Without the tokens, entries are validated once and then served again.
#[tokio::test]
async fn an_entry_without_tokens_is_stale_until_it_is_validated() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    let origin = origin();
    get(&store, &origin, "http://example.com/other").await;
    for pattern in ["*epoch", "*:g:*"] {
        assert!(get(&store, &origin, "http://example.com/other").await.1.starts_with("hit"));
        let name = server.cli(&["keys", pattern]);
        server.cli(&["del", &name]);
        let one = found(&store, "/other").await.expect("it is stored");
        assert!(needs_validation(&one.head), "{pattern}");
        let (_, status) = get(&store, &origin, "http://example.com/other").await;
        assert!(status.contains("fwd-status=304"), "{pattern}: {status}");
    }
    for pattern in ["*barrier", "*t"] {
        let name = server.cli(&["keys", pattern]);
        server.cli(&["del", &name]);
        assert!(get(&store, &origin, "http://example.com/other").await.1.starts_with("hit"), "{pattern}");
    }
    get(&store, &origin, PAGE).await;
}

/// The tokens of groups live as long as the entries in them, however old the token is.
#[tokio::test]
async fn the_token_of_a_group_outlives_its_entries() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    put(&store, "/a", b"a").await;
    let left = |pattern: &str| -> i64 {
        let name = server.cli(&["keys", pattern]);
        server.cli(&["pttl", &name]).parse().expect("a number")
    };
    let name = server.cli(&["keys", "*:g:*"]);
    for _ in 0..2 {
        server.cli(&["pexpire", &name, "5000"]);
        put(&store, "/a", b"a").await;
        assert!(left("*:g:*") > left("*example.com/a"), "extended by a commit");
        server.cli(&["pexpire", &name, "5000"]);
        let one = found(&store, "/a").await.expect("it is stored");
        let keep_until = one.head.keep_until();
        store.freshen(&key("/a"), one.id, Arc::clone(&one.head), keep_until).await.expect("it freshens");
        assert!(left("*:g:*") > left("*example.com/a"), "extended by a validation");
    }
}

/// The clock of the server's machine was set back. Pages were not replaced for an hour.
#[tokio::test]
async fn the_order_of_writes_needs_no_clock() {
    let server = Server::start(&[]);
    let store = store(&server.url()).await;
    for _ in 0..3 {
        put(&store, "/a", b"a").await;
    }
    // The token is lost, and with it the counter: later writes still replace earlier ones, and the
    // order of variants goes on.
    let token = server.cli(&["keys", "*t"]);
    assert_eq!(server.cli(&["hget", &token, "n"]), "3");
    server.cli(&["del", &token]);
    put(&store, "/a", b"b").await;
    assert_eq!(server.cli(&["hget", &token, "n"]), "4");
    let one = found(&store, "/a").await.expect("it is stored");
    assert!(matches!(&one.body, StoredBody::Whole(body) if body == "b"));
    assert!(!server.cli(&["info", "commandstats"]).contains("cmdstat_time:"), "a script reads the clock");
}

/// A node of a Cluster restarts without its last data, and its replica was cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_restarts_undoes_no_removal() {
    let mut cluster = Cluster::start_without_replicas();
    let options = options();
    let store = RedisStore::connect(&cluster.url(), options.clone()).await.expect("it connects");
    let paths: Vec<String> = (0..30).map(|n| format!("/{n}")).collect();
    for path in &paths {
        put(&store, path, b"old").await;
    }
    for node in &mut cluster.0 {
        node.cli(&["save"]);
    }
    for path in &paths {
        store.remove(Scope::Key(&key(path))).await.expect("it removes");
    }
    for node in &mut cluster.0 {
        node.kill();
        node.restart();
    }
    cluster.wait();
    let other = RedisStore::connect(&cluster.url(), options).await.expect("it connects");
    for path in &paths {
        for store in [&store, &other] {
            let one = found(store, path).await.expect("the snapshot has the page");
            assert!(needs_validation(&one.head), "{path} is served");
        }
    }
    put(&other, "/0", b"new").await;
    let one = found(&store, "/0").await.expect("it is stored");
    assert!(!needs_validation(&one.head));
}
