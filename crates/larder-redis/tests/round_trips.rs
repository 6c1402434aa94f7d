//! Counts the round trips of each operation, on a connection through a relay. One round trip of the
//! removal of a group reads which processes have near copies.

mod setting;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use larder_core::{CacheGroup, CacheStore, Claim, Scope, StoredHead};
use larder_redis::RedisStore;
use larder_testkit::{head, key};
use setting::{Server, options};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Forwards the bytes of a connection one read at a time, and counts how often the client speaks
/// after the server has. Returns the port.
async fn counting_relay(to: u16, turns: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", to)).await.expect("the server listens");
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let (mut from_client, mut from_server) = (vec![0; 1 << 20], vec![0; 1 << 20]);
                let mut is_clients_turn = true;
                loop {
                    tokio::select! {
                        read = client.read(&mut from_client) => {
                            let Ok(read @ 1..) = read else { return };
                            turns.fetch_add(u64::from(is_clients_turn), Ordering::SeqCst);
                            is_clients_turn = false;
                            server.write_all(&from_client[..read]).await.expect("it forwards");
                        }
                        read = server.read(&mut from_server) => {
                            let Ok(read @ 1..) = read else { return };
                            is_clients_turn = true;
                            client.write_all(&from_server[..read]).await.expect("it forwards");
                        }
                    }
                }
            });
        }
    });
    port
}

struct Counted {
    store: RedisStore,
    turns: Arc<AtomicU64>,
    _server: Server,
}

impl Counted {
    async fn start() -> Self {
        let server = Server::start(&[]);
        let turns = Arc::new(AtomicU64::new(0));
        let port = counting_relay(server.port, Arc::clone(&turns)).await;
        let url = format!("redis://127.0.0.1:{port}/0");
        let store = RedisStore::connect(&url, options()).await.expect("it connects");
        let it = Self { store, turns, _server: server };
        // So that the server has all scripts.
        it.write("/a", &grouped(), true).await;
        it.freshen().await;
        it.evict().await;
        it.store.remove(Scope::Group(&group())).await.expect("it removes");
        it.store.remove(Scope::Key(&key("/a"))).await.expect("it removes");
        it
    }

    /// Returns the round trips of an operation.
    async fn count(&self, operation: impl Future<Output = ()>) -> u64 {
        let before = self.turns.load(Ordering::SeqCst);
        operation.await;
        self.turns.load(Ordering::SeqCst) - before
    }

    async fn write(&self, path: &str, head: &Arc<StoredHead>, commit: bool) {
        let reserved = self.store.reserve(&key(path)).await.expect("it reserves");
        let mut writer = reserved.begin(Arc::clone(head), None, head.keep_until()).await.expect("it begins");
        writer.write(Bytes::from_static(b"a short body")).await.expect("it takes a chunk");
        if commit {
            writer.commit().await.expect("it commits");
        }
    }

    async fn look_up(&self) {
        assert_eq!(self.store.lookup(&key("/a")).await.expect("it looks up").len(), 1);
    }

    async fn freshen(&self) {
        let found = self.store.lookup(&key("/a")).await.expect("it looks up");
        let (id, head) = (found[0].id, Arc::clone(&found[0].head));
        let keep_until = head.keep_until();
        self.store.freshen(&key("/a"), id, head, keep_until).await.expect("it freshens");
    }

    async fn remove(&self, scope: Scope<'_>) {
        self.store.remove(scope).await.expect("it removes");
    }

    async fn evict(&self) {
        let found = self.store.lookup(&key("/a")).await.expect("it looks up");
        assert!(self.store.evict(&key("/a"), found[0].id).await.expect("it evicts"));
    }
}

fn group() -> CacheGroup {
    CacheGroup::new("http://example.com", "g")
}

fn plain() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-control", "max-age=60")], &[]))
}

fn grouped() -> Arc<StoredHead> {
    Arc::new(head(&[("cache-control", "max-age=60"), ("cache-groups", "\"g\"")], &[]))
}

#[tokio::test]
async fn each_operation_has_few_round_trips() {
    let it = Counted::start().await;
    assert_eq!(it.count(it.write("/a", &plain(), false)).await, 1, "reserve, without a commit");
    assert_eq!(it.count(it.write("/a", &plain(), true)).await, 2, "reserve and commit");
    for n in 0..3 {
        assert_eq!(it.count(it.look_up()).await, 1, "lookup {n}");
    }
    assert_eq!(it.count(it.freshen()).await, 1 + 2, "lookup and freshen");
    assert_eq!(it.count(it.evict()).await, 1 + 1, "lookup and evict");
    assert_eq!(it.count(it.write("/a", &grouped(), true)).await, 3, "reserve, begin and commit with a group");
    assert_eq!(it.count(it.look_up()).await, 2, "lookup with a group");
    assert_eq!(it.count(it.freshen()).await, 2 + 4, "lookup and freshen with a group");
    assert_eq!(it.count(it.remove(Scope::Group(&group()))).await, 2 + 1, "removal of a group");
    assert_eq!(it.count(it.remove(Scope::Key(&key("/a")))).await, 1, "removal of a key");
    let removals = it.store.removals().expect("it has tokens");
    let token = async { removals.token(&key("/a")).await.map(|_| ()).expect("it reads") };
    assert_eq!(it.count(token).await, 1, "token of removals");
    let claimed = async {
        let claim = it.store.leases().expect("it has leases").claim(&key("/a")).await.expect("it claims");
        assert!(matches!(claim, Claim::Granted(_)));
        std::mem::forget(claim);
    };
    assert_eq!(it.count(claimed).await, 1, "claim of a lease");
}
