//! The stores of others. Each keeps the head beside the body in its own way.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_cache::{CacheManager as _, HttpHeaders, HttpResponse, HttpVersion, MokaManager};
use http_cache_semantics::CachePolicy;
use larder_core::{EntryId, codec};
use larder_testkit::fixtures::{self, RESPONSE, fields};
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use super::{Making, Subject, setting};

type Kept = Arc<(HeaderMap, Bytes)>;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

fn kept(body: Bytes) -> Kept {
    Arc::new((fields(&RESPONSE), body))
}

/// Encodes head and body as Larder's disk store writes them.
fn whole(n: u64, body: &Bytes) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode_whole(&setting::key(n), &fixtures::head(), EntryId(7), body, &mut out).expect("it fits");
    out
}

fn read(n: u64, bytes: Vec<u8>) -> usize {
    let bytes = Bytes::from(bytes);
    codec::decode_whole(&bytes, &setting::key(n)).expect("it is whole").1.len()
}

struct InMap<M>(M);
struct Redb(Arc<Database>, #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir);
struct Cacache(PathBuf, #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir);
struct HttpCache(MokaManager);

fn name(n: u64) -> String {
    format!("http://example.com/catalogue/items/{n}")
}

pub(super) fn moka() -> Making {
    Box::pin(async { Arc::new(InMap(moka::sync::Cache::new(100_000))) as Arc<dyn Subject> })
}

pub(super) fn quick_cache() -> Making {
    Box::pin(async { Arc::new(InMap(quick_cache::sync::Cache::new(100_000))) as Arc<dyn Subject> })
}

pub(super) fn foyer() -> Making {
    Box::pin(async { Arc::new(InMap(foyer::CacheBuilder::new(100_000).build())) as Arc<dyn Subject> })
}

pub(super) fn redb() -> Making {
    Box::pin(async {
        let folder = tempfile::tempdir().expect("a folder");
        Arc::new(Redb(Arc::new(Database::create(folder.path().join("redb")).expect("it opens")), folder))
            as Arc<dyn Subject>
    })
}

pub(super) fn cacache() -> Making {
    Box::pin(async {
        let folder = tempfile::tempdir().expect("a folder");
        Arc::new(Cacache(folder.path().to_owned(), folder)) as Arc<dyn Subject>
    })
}

pub(super) fn http_cache() -> Making {
    Box::pin(async {
        Arc::new(HttpCache(MokaManager::new(::moka::future::Cache::new(100_000)))) as Arc<dyn Subject>
    })
}

/// A map with an eviction policy.
trait Map: Send + Sync {
    fn get(&self, name: &str) -> Option<Kept>;
    fn put(&self, name: String, kept: Kept);
    fn remove(&self, name: &str);
}

impl Map for moka::sync::Cache<String, Kept> {
    fn get(&self, name: &str) -> Option<Kept> {
        self.get(name)
    }

    fn put(&self, name: String, kept: Kept) {
        self.insert(name, kept);
    }

    fn remove(&self, name: &str) {
        self.invalidate(name);
    }
}

impl Map for quick_cache::sync::Cache<String, Kept> {
    fn get(&self, name: &str) -> Option<Kept> {
        self.get(name)
    }

    fn put(&self, name: String, kept: Kept) {
        self.insert(name, kept);
    }

    fn remove(&self, name: &str) {
        self.remove(name);
    }
}

impl Map for foyer::Cache<String, Kept> {
    fn get(&self, name: &str) -> Option<Kept> {
        self.get(name).map(|found| Arc::clone(found.value()))
    }

    fn put(&self, name: String, kept: Kept) {
        self.insert(name, kept);
    }

    fn remove(&self, name: &str) {
        self.remove(name);
    }
}

#[async_trait]
impl<M: Map> Subject for InMap<M> {
    async fn get(&self, n: u64) -> usize {
        self.0.get(&name(n)).expect("it is there").1.len()
    }

    async fn put(&self, n: u64, body: Bytes) {
        self.0.put(name(n), kept(body));
    }

    async fn remove(&self, n: u64) {
        self.0.remove(&name(n));
    }

    async fn freshen(&self, _: u64) {
        unreachable!("it has no heads");
    }
}

#[async_trait]
impl Subject for Redb {
    async fn get(&self, n: u64) -> usize {
        let table = self.0.begin_read().expect("it reads").open_table(TABLE).expect("a table");
        let found = table.get(n).expect("it reads").expect("it is there");
        read(n, found.value().to_vec())
    }

    async fn put(&self, n: u64, body: Bytes) {
        let mut write = self.0.begin_write().expect("it writes");
        write.set_durability(Durability::None).expect("it may");
        write.open_table(TABLE).expect("a table").insert(n, &*whole(n, &body)).expect("it writes");
        write.commit().expect("it writes");
    }

    async fn remove(&self, n: u64) {
        let mut write = self.0.begin_write().expect("it writes");
        write.set_durability(Durability::None).expect("it may");
        write.open_table(TABLE).expect("a table").remove(n).expect("it writes");
        write.commit().expect("it writes");
    }

    async fn freshen(&self, _: u64) {
        unreachable!("it has no heads");
    }
}

#[async_trait]
impl Subject for Cacache {
    async fn get(&self, n: u64) -> usize {
        read(n, cacache::read(&self.0, name(n)).await.expect("it is there"))
    }

    async fn put(&self, n: u64, body: Bytes) {
        cacache::write(&self.0, name(n), whole(n, &body)).await.expect("it writes");
    }

    async fn remove(&self, n: u64) {
        cacache::remove(&self.0, name(n)).await.expect("it removes");
    }

    async fn freshen(&self, _: u64) {
        unreachable!("it has no heads");
    }
}

#[async_trait]
impl Subject for HttpCache {
    async fn get(&self, n: u64) -> usize {
        self.0.get(&name(n)).await.expect("it reads").expect("it is there").0.body.len()
    }

    async fn put(&self, n: u64, body: Bytes) {
        let url = name(n);
        let request = Request::get(&url).body(()).expect("a request");
        let mut head = Response::new(());
        *head.headers_mut() = fields(&RESPONSE);
        let policy = CachePolicy::new(&request, &head);
        let response = HttpResponse {
            body: body.to_vec(),
            headers: HttpHeaders::from(head.headers()),
            status: 200,
            url: url.parse().expect("a URL"),
            version: HttpVersion::Http11,
            metadata: None,
        };
        self.0.put(url, response, policy).await.expect("it writes");
    }

    async fn remove(&self, n: u64) {
        self.0.delete(&name(n)).await.expect("it removes");
    }

    async fn freshen(&self, _: u64) {
        unreachable!("it has no heads");
    }
}
