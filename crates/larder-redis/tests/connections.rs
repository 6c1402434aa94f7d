//! Tests connections that no longer work although nothing has closed them: the network has
//! forgotten one, or a server hangs while another takes its place.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{CacheStore, StoreError};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::{head, key};
use setting::{Cluster, Monitored, Server, relay::forgetful_relay};
use tokio::time::{Instant, sleep};

/// Longest time for which a test waits for what should take a moment.
const LIMIT: Duration = Duration::from_secs(20);

async fn put(store: &RedisStore, path: &str) -> Result<(), StoreError> {
    let head = Arc::new(head(&[("cache-control", "max-age=3600")], &[]));
    let keep_until = head.keep_until();
    let mut writer = store.reserve(&key(path)).await?.begin(head, None, keep_until).await?;
    writer.write(Bytes::from_static(b"a page")).await?;
    writer.commit().await.map(drop)
}

/// Stores and looks up pages until all of it succeeds.
async fn works_again(store: &RedisStore) {
    let start = Instant::now();
    'again: loop {
        assert!(start.elapsed() < LIMIT, "the store does not recover");
        sleep(Duration::from_millis(10)).await;
        for n in 0..20 {
            let path = format!("/{n}");
            let works = put(store, &path).await.is_ok()
                && store.lookup(&key(&path)).await.is_ok_and(|found| !found.is_empty());
            if !works {
                continue 'again;
            }
        }
        return;
    }
}

/// A router dropped its entry for a connection that had been idle. The process went without its
/// cache until it was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_connection_is_replaced() {
    let server = Server::start(&[]);
    let generation = Arc::new(AtomicU64::new(0));
    let port = forgetful_relay(server.port, Arc::clone(&generation)).await;
    let url = format!("redis://127.0.0.1:{port}/0");
    let store = RedisStore::connect(&url, RedisOptions::default()).await.expect("it connects");
    for _ in 0..3 {
        works_again(&store).await;
        generation.fetch_add(1, Ordering::SeqCst);
        store.lookup(&key("/0")).await.expect_err("the connection is forgotten");
    }
    works_again(&store).await;
}

/// The master's machine hung: it kept its connections and never responded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_is_left_for_the_new_one() {
    let servers = Monitored::start().await;
    let store = RedisStore::connect(&servers.url(), RedisOptions::default()).await.expect("it connects");
    works_again(&store).await;
    servers.master.signal("STOP");
    // One of the Sentinels is on the same machine.
    servers.sentinels[0].signal("STOP");
    servers.wait_for_failover().await;
    works_again(&store).await;
    servers.master.signal("CONT");
    servers.sentinels[0].signal("CONT");
}

/// The Sentinels have chosen another master, and the old one still responds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_replaced_while_it_responds_is_left() {
    let servers = Monitored::start().await;
    let store = RedisStore::connect(&servers.url(), RedisOptions::default()).await.expect("it connects");
    works_again(&store).await;
    // The old master does not learn of the failover, as if only the Sentinels were cut off from it.
    servers.master.cli(&["acl", "setuser", "default", "-replicaof", "-slaveof", "-client|kill", "-multi"]);
    assert_eq!(servers.sentinels[1].cli(&["sentinel", "failover", "main"]), "OK");
    servers.wait_for_failover().await;
    assert!(servers.master.cli(&["role"]).starts_with("master"));
    let start = Instant::now();
    loop {
        let _ = put(&store, "/there").await;
        if servers.replica.cli(&["keys", "*/there"]).ends_with("/there") {
            break;
        }
        assert!(start.elapsed() < LIMIT, "the old master is used");
        sleep(Duration::from_millis(50)).await;
    }
    works_again(&store).await;
}

/// The node of the keys that each write needs dies or hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_of_a_cluster_that_every_write_needs_is_replaced() {
    for hangs in [false, true] {
        let mut cluster = Cluster::start();
        let store = RedisStore::connect(&cluster.url(), RedisOptions::default()).await.expect("it connects");
        works_again(&store).await;
        let has_barrier = |node: &Server| {
            node.cli(&["role"]).starts_with("master") && !node.cli(&["keys", "*barrier"]).is_empty()
        };
        let node = cluster.0.iter().position(has_barrier).expect("one node has it");
        if hangs {
            cluster.0[node].signal("STOP");
        } else {
            cluster.0[node].kill();
        }
        let start = Instant::now();
        while !cluster.0.iter().enumerate().any(|(n, other)| n != node && has_barrier(other)) {
            let _ = put(&store, "/meanwhile").await;
            assert!(start.elapsed() < LIMIT * 2, "no failover");
            sleep(Duration::from_millis(20)).await;
        }
        works_again(&store).await;
        if hangs {
            cluster.0[node].signal("CONT");
        }
    }
}
