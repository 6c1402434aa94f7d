//! Larder on Redis: a private server, started for the first benchmark that needs it.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};
use larder_tiered::TieredStore;

use super::{Making, ours::Ours};

static SERVER: Mutex<Option<(Child, u16)>> = Mutex::new(None);

pub(super) fn larder() -> Making {
    Box::pin(async { Ours::on(connect().await) })
}

pub(super) fn tiered() -> Making {
    Box::pin(async {
        let near = Arc::new(MemoryStore::with_capacity(1 << 30));
        let tiers = TieredStore::new(near, Arc::new(connect().await));
        // The near tier is used once its invalidation feed is connected.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ours::on(tiers)
    })
}

async fn connect() -> RedisStore {
    let url = format!("redis://127.0.0.1:{}", port());
    let options = RedisOptions::default().with_command_timeout(Duration::from_secs(5));
    RedisStore::connect(&url, options).await.expect("it connects")
}

fn port() -> u16 {
    let mut server = SERVER.lock().expect("no panic");
    if let Some((_, port)) = &*server {
        return *port;
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it listens").port();
    drop(free);
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server (apt-get install redis-server)");
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    *server = Some((child, port));
    port
}

pub(super) fn stop() {
    if let Some((mut child, _)) = SERVER.lock().expect("no panic").take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
