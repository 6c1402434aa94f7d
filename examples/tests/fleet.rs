//! Processes that share one Redis: the example `fleet`, and clients that refresh the same URL.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use larder::{
    client::{CachedClient, RefreshOutcome, Schedule},
    redis::{RedisOptions, RedisStore},
};
use larder_examples::LocalServer;

/// A Redis server, killed when dropped.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a Redis server for this test, and returns it with its URL.
fn redis() -> (Redis, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a local address").port();
    drop(listener);
    let redis = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is missing: apt-get install redis-server (or cargo xtask setup)");
    let redis = Redis(redis);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (redis, format!("redis://127.0.0.1:{port}/0"))
}

/// Three clients with separate connections, like three processes, refresh one URL at the same time.
#[tokio::test]
async fn one_client_of_a_fleet_refreshes() {
    let (_redis, url) = redis();
    let server = LocalServer::start(Duration::from_secs(60)).await.expect("a server");
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let store = RedisStore::connect(&url, RedisOptions::default()).await.expect("a connection");
        let client = CachedClient::builder().store(Arc::new(store)).partition("fleet");
        let (refresher, events) = client.build().expect("a client").refresher().start();
        fleet.push((refresher, events));
    }
    for (refresher, _) in &fleet {
        refresher
            .add(format!("{}/page", server.url), Schedule::every(Duration::from_secs(30)))
            .expect("a URL");
    }
    for (_, events) in &mut fleet {
        let event = events.next().await.expect("a run");
        assert!(
            matches!(event.outcome, RefreshOutcome::Changed { .. } | RefreshOutcome::Unchanged),
            "{}",
            event.outcome
        );
    }
    assert_eq!(server.rendered(), 1);
}

#[test]
fn two_servers_and_one_redis() {
    let (_redis, url) = redis();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "larder-examples", "--example", "fleet", "--"])
        .arg(url)
        .output()
        .expect("cargo runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = printed.lines().collect();
    let report = |line: &str| line.split_once(": ").map(|(_, rest)| rest[..8].to_owned());
    for line in &lines[..4] {
        assert_eq!(report(line).as_deref(), Some("report 1"), "{printed}");
    }
    assert!(lines[1].contains("hit") && lines[2].contains("hit") && lines[3].contains("hit"), "{printed}");
    assert_eq!(report(lines[5]).as_deref(), Some("report 2"), "{printed}");
    assert_eq!(lines[6], "rendered 2 times", "{printed}");
}
