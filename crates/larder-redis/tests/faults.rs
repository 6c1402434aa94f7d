//! Tests servers that die, hang, are full or fail over: every request gets the right content, and
//! the store works again within seconds.

mod setting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use larder_core::{Body, Cache, Origin};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::FnOrigin;
use setting::{Cluster, Monitored, Server, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// Longest time for recovery without a restart.
const RECOVERY: Duration = Duration::from_secs(5);

struct Setting {
    cache: Cache,
    origin: Arc<FnOrigin>,
    store: RedisStore,
}

impl Setting {
    async fn on(url: &str) -> Self {
        // The default timeouts are under test.
        Self::with(url, RedisOptions::default()).await
    }

    async fn with(url: &str, options: RedisOptions) -> Self {
        let store = RedisStore::connect(url, options).await.expect("it connects");
        let origin = FnOrigin::new(|_, request| {
            let body = page(request.uri().path());
            Ok(Response::builder()
                .header("cache-control", "max-age=3600")
                .body(Body::from(body))
                .expect("a response"))
        });
        Self { cache: Cache::builder(Arc::new(store.clone())).build(), origin, store }
    }

    /// Sends request `n` and checks every byte of the response. Returns whether it came from the
    /// store.
    async fn request(&self, n: u64) -> bool {
        let path = format!("/{n}");
        let request =
            Request::get(format!("http://example.com{path}")).body(Body::empty()).expect("a request");
        let origin = Arc::clone(&self.origin) as Arc<dyn Origin>;
        let response = self.cache.fetch(request, origin).await.expect("every request is answered");
        let hit = response.cache_status().to_string().starts_with("hit");
        let whole = response.into_body().into_bytes(usize::MAX).await.expect("the body is complete");
        assert!(whole == page(&path).as_bytes(), "request {n} got other content");
        hit
    }

    /// Sends requests until a response comes from the store again.
    async fn recovers(&self) {
        let start = Instant::now();
        while !self.request(1).await {
            assert!(start.elapsed() < RECOVERY * 4, "the store does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn page(path: &str) -> String {
    path.repeat(2000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back() {
    let mut server = Server::start(&[]);
    let it = Setting::on(&server.url()).await;
    for _ in 0..2 {
        for n in 0..20 {
            it.request(n).await;
        }
        it.recovers().await;
        server.kill();
        for n in 0..200 {
            assert!(!it.request(n).await);
        }
        server.restart();
        it.recovers().await;
    }
    let stats = it.store.stats().await.expect("statistics");
    assert!(stats.failed > 0 && stats.rejected > 0, "{stats:?}");
}

/// A process starts before its servers: with `lazy_connect` it runs without them, and uses them as
/// soon as they are available.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_not_there_at_the_start() {
    let options = RedisOptions::default().with_lazy_connect(true);
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}/0");
    RedisStore::connect(&url, RedisOptions::default()).await.expect_err("by default that is an error");
    let it = Setting::with(&url, options.clone()).await;
    for n in 0..100 {
        assert!(!it.request(n).await);
    }
    let server = Server::start_at(port, &[]);
    it.recovers().await;
    server.cli(&["config", "set", "requirepass", "secret"]);
    let rejected = RedisStore::connect(&url, options.clone())
        .await
        .expect_err("a missing password is a permanent error");
    assert!(rejected.to_string().contains("password"), "{rejected}");

    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}")).join(",");
    let it = Setting::with(&format!("redis+cluster://{ports}"), options).await;
    for n in 0..20 {
        assert!(!it.request(n).await);
    }
}

/// The server accepts connections and never responds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs() {
    let server = Server::start(&[]);
    let it = Setting::on(&server.url()).await;
    it.request(1).await;
    it.recovers().await;
    server.signal("STOP");
    for n in 0..100 {
        it.request(n).await;
    }
    let fetches = it.origin.count();
    assert!(fetches >= 100, "{fetches}");
    server.signal("CONT");
    it.recovers().await;
}

/// With `maxmemory` and without eviction, writes fail and reads succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full() {
    for policy in ["noeviction", "allkeys-lru"] {
        let server = Server::start(&["--maxmemory", "4mb", "--maxmemory-policy", policy]);
        let it = Setting::on(&server.url()).await;
        for n in 0..1000 {
            it.request(n).await;
        }
        assert!(it.cache.drain(Duration::from_secs(10)).await);
        let mut hits = 0;
        for n in 0..1000 {
            hits += u32::from(it.request(n).await);
        }
        assert!(hits < 1000, "the server was not full");
        if policy == "noeviction" {
            assert!(hits > 20, "{hits} of those that fit are still served");
        }
        // Removal makes room.
        server.cli(&["flushall"]);
        it.recovers().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_dies() {
    let mut cluster = Cluster::start();
    let it = Setting::on(&cluster.url()).await;
    for n in 0..50 {
        it.request(n).await;
    }
    assert!(it.cache.drain(Duration::from_secs(10)).await);
    let master =
        cluster.0.iter().position(|node| node.cli(&["role"]).starts_with("master")).expect("a master");
    cluster.0[master].kill();
    // Its replica takes over after about a second. Until then every request still gets its
    // response.
    let start = Instant::now();
    loop {
        let mut hits = 0;
        for n in 0..50 {
            hits += u32::from(it.request(n).await);
        }
        if hits == 50 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "only {hits} of 50 are served from the store");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_to_another_node() {
    let cluster = Cluster::start();
    let it = Setting::on(&cluster.url()).await;
    for n in 0..100 {
        it.request(n).await;
    }
    assert!(it.cache.drain(Duration::from_secs(10)).await);
    let masters: Vec<_> = cluster.0.iter().filter(|node| node.cli(&["role"]).starts_with("master")).collect();
    let (from, to) = (masters[0].cli(&["cluster", "myid"]), masters[1].cli(&["cluster", "myid"]));
    let address = format!("127.0.0.1:{}", masters[0].port);
    let mut moving = std::process::Command::new("redis-cli")
        .args(["--cluster", "reshard", &address, "--cluster-from", &from, "--cluster-to", &to])
        .args(["--cluster-slots", "500", "--cluster-yes"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("redis-cli runs");
    while moving.try_wait().expect("a state").is_none() {
        for n in 0..100 {
            it.request(n).await;
        }
    }
    let mut hits = 0;
    for n in 0..100 {
        hits += u32::from(it.request(n).await);
    }
    assert!(hits >= 95, "{hits} of 100 are served from the store");
}

/// Three Sentinels monitor a master and its replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_sentinels_monitor_dies() {
    let mut servers = Monitored::start().await;
    let it = Setting::on(&servers.url()).await;
    it.request(1).await;
    it.recovers().await;
    servers.master.kill();
    let start = Instant::now();
    while !servers.replica.cli(&["role"]).starts_with("master") {
        it.request(1).await;
        assert!(start.elapsed() < Duration::from_secs(60), "no failover");
    }
    it.recovers().await;
}

/// Forwards bytes to and from a server, delayed by 100 ms in each direction while `is_slow`.
/// Returns the port.
async fn relay(to: u16, is_slow: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
            let (client, server) = (client.into_split(), server.into_split());
            for (mut from, mut to) in [(client.0, server.1), (server.0, client.1)] {
                let is_slow = Arc::clone(&is_slow);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read) = from.read(&mut buffer).await {
                        if is_slow.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    port
}

/// The network becomes slow: a round trip takes longer than the timeout of a command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_delays_by_100_ms() {
    let server = Server::start(&[]);
    let is_slow = Arc::new(AtomicBool::new(false));
    let port = relay(server.port, Arc::clone(&is_slow)).await;
    let it = Setting::on(&format!("redis://127.0.0.1:{port}/0")).await;
    it.request(1).await;
    it.recovers().await;
    is_slow.store(true, Ordering::SeqCst);
    for n in 0..100 {
        it.request(n).await;
    }
    assert!(it.origin.count() >= 100, "from the origin");
    is_slow.store(false, Ordering::SeqCst);
    it.recovers().await;
}
