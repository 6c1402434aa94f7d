//! A fleet on one Redis: the example, run as its first lines say, and clients that refresh.

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

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of the test's own.
fn redis() -> (Redis, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it listens").port();
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

/// Three processes' worth of clients, each with a connection of its own, all at the same instant.
#[tokio::test]
async fn of_a_fleet_one_refreshes() {
    let (_redis, url) = redis();
    let server = LocalServer::start(Duration::from_secs(60)).await.expect("a server");
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let store = RedisStore::connect(&url, RedisOptions::default()).await.expect("it is there");
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
    assert_eq!(server.made(), 1);
}

#[test]
fn two_servers_and_one_redis() {
    let (_redis, url) = redis();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "larder-examples", "--example", "fleet"])
        .arg(url)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    let report = |line: &str| line.split_once(": ").map(|(_, rest)| rest[..8].to_owned());
    for line in &lines[..4] {
        assert_eq!(report(line).as_deref(), Some("report 1"), "{said}");
    }
    assert!(lines[1].contains("hit") && lines[2].contains("hit") && lines[3].contains("hit"), "{said}");
    assert_eq!(report(lines[5]).as_deref(), Some("report 2"), "{said}");
    assert_eq!(lines[6], "made 2 times", "{said}");
}
