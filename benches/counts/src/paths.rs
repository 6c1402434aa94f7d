//! The paths that are counted. Each is set up once; every iteration then does the same work and
//! never waits.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, StatusCode};
use larder_core::{
    Body, Cache, CacheKey, CacheStore, EntryId, Lookup, RequestHead, Rules, StoredBody, TargetUri, Timestamp,
    codec, policy::Exchange,
};
use larder_disk::{DiskOptions, DiskStore};
use larder_memory::MemoryStore;
use larder_testkit::{
    FnOrigin, ManualClock,
    fixtures::{NOW, REQUEST, RESPONSE, fields, head, put},
    key,
};

/// One iteration.
type Path = Box<dyn FnMut()>;
type Make = fn() -> Path;

/// Returns all paths.
pub(crate) const ALL: &[(&str, Make)] = &[
    ("policy: key of a request", policy_key),
    ("policy: fresh hit", policy_hit),
    ("policy: storing", policy_storing),
    ("codec: encode, 1 KiB", encode),
    ("codec: decode, 1 KiB", decode),
    ("memory: look-up", memory_lookup),
    ("memory: fill", memory_fill),
    ("disk: look-up and body, 1 KiB", disk_lookup),
    ("engine: hit, CacheResponse", engine_hit),
    ("engine: hit, http::Response", engine_response),
    ("engine: revalidation answered with 304", engine_not_modified),
    ("engine: miss, not stored", || engine_miss(&[("cache-control", "no-store")], 4096)),
    ("engine: miss, not stored as before", || engine_miss(&[("cache-control", "no-store")], 1)),
    ("engine: miss, stored", || engine_miss(&[("cache-control", "max-age=3600")], 4096)),
];

const KEYS: u64 = 1000;
const BODY: Bytes = Bytes::from_static(&[b'x'; 1024]);

/// Polls a future once. It must be ready, because the paths never wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

fn policy_key() -> Path {
    Box::new(|| {
        let path = black_box("/articles/2026/larder?page=2");
        black_box(CacheKey::from_parts("http", black_box("example.com"), path)).expect("a key");
    })
}

fn policy_hit() -> Path {
    let (fields, rules, stored) = (fields(&REQUEST), Rules::shared(), head());
    Box::new(move || {
        let request = RequestHead::new(&Method::GET, &fields);
        let _ = black_box(rules.reuse(&request, [black_box(&*stored)], Timestamp::from_secs(NOW)));
    })
}

fn policy_storing() -> Path {
    let (asked, response, rules) = (fields(&REQUEST), fields(&RESPONSE), Rules::shared());
    let target = TargetUri::parse("http://example.com/catalogue").expect("a target");
    let at = Timestamp::from_secs(NOW);
    let exchange = Exchange { request_time: at, response_time: at };
    Box::new(move || {
        let request = RequestHead::new(&Method::GET, &asked);
        black_box(rules.storable(&target, &request, StatusCode::OK, &response, exchange)).expect("it may be");
    })
}

fn encoded() -> Vec<u8> {
    let mut whole = Vec::new();
    codec::encode_whole(&key("/42"), &head(), EntryId(7), &[b'x'; 1024], &mut whole).expect("it fits");
    whole
}

fn encode() -> Path {
    let (key, head, mut whole) = (key("/42"), head(), encoded());
    Box::new(move || {
        whole.clear();
        codec::encode_whole(&key, &head, EntryId(7), black_box(&[b'x'; 1024]), &mut whole).expect("it fits");
    })
}

fn decode() -> Path {
    let (key, whole) = (key("/42"), Bytes::from(encoded()));
    Box::new(move || drop(black_box(codec::decode_whole(black_box(&whole), &key)).expect("it is whole")))
}

fn filled() -> MemoryStore {
    let (store, head) = (MemoryStore::default(), head());
    for n in 0..KEYS {
        now(put(&store, &key(&format!("/{n}")), &head, BODY)).expect("it is stored");
    }
    store
}

/// Looks up each key in turn: the position of one key depends on a random seed, the sum over all
/// does not.
fn keys() -> impl FnMut() -> CacheKey {
    let keys: Vec<CacheKey> = (0..KEYS).map(|n| key(&format!("/{n}"))).collect();
    let mut n = 0;
    move || {
        n = (n + 1) % keys.len();
        keys[n].clone()
    }
}

fn memory_lookup() -> Path {
    let (store, mut key) = (filled(), keys());
    Box::new(move || assert_eq!(now(store.lookup(&key())).expect("it looks up").len(), 1))
}

fn memory_fill() -> Path {
    let (store, key, head) = (filled(), key("/42"), head());
    Box::new(move || now(put(&store, &key, &head, BODY)).expect("it is stored"))
}

fn disk_lookup() -> Path {
    let folder = tempfile::tempdir().expect("a folder");
    let options = DiskOptions::default().with_max_bytes(1 << 30).with_read_cache_bytes(0);
    let store = DiskStore::open(folder.path().join("larder"), options).expect("it opens");
    let (key, head) = (key("/42"), head());
    // Filling waits for the disk; reading what was just written does not, because it is in memory.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(put(&store, &key, &head, BODY)).expect("it is stored");
    Box::new(move || {
        let _kept = &folder;
        let found = now(store.lookup(&key)).expect("it looks up");
        assert!(matches!(&found[0].body, StoredBody::Whole(body) if body.len() == 1024));
    })
}

fn cache() -> Cache {
    Cache::builder(Arc::new(filled())).clock(Arc::new(ManualClock::at(NOW))).build()
}

fn engine_hit() -> Path {
    let (cache, mut key, fields) = (cache(), keys(), fields(&REQUEST));
    Box::new(move || {
        let found = now(cache.lookup(&key(), &RequestHead::new(&Method::GET, &fields)));
        assert!(matches!(black_box(found), Lookup::Hit(_)));
    })
}

fn engine_response() -> Path {
    let (cache, key, fields) = (cache(), key("/42"), fields(&REQUEST));
    Box::new(move || match now(cache.lookup(&key, &RequestHead::new(&Method::GET, &fields))) {
        Lookup::Hit(answer) => drop(black_box(cache.into_http(answer))),
        Lookup::Miss(_) => panic!("it is there"),
    })
}

fn engine_not_modified() -> Path {
    let (cache, key, mut fields) = (cache(), key("/42"), fields(&REQUEST));
    fields.insert("if-none-match", HeaderValue::from_static("\"abcdef123456\""));
    Box::new(move || match now(cache.lookup(&key, &RequestHead::new(&Method::GET, &fields))) {
        Lookup::Hit(answer) => assert_eq!(cache.into_http(answer).status(), StatusCode::NOT_MODIFIED),
        Lookup::Miss(_) => panic!("it is there"),
    })
}

/// Uses this many URLs in turn.
fn engine_miss(says: &'static [(&'static str, &'static str)], urls: usize) -> Path {
    let cache = cache();
    let origin = FnOrigin::fixed(says, &[b'x'; 1024]);
    let asked = fields(&REQUEST);
    let urls: Vec<String> = (0..urls).map(|n| format!("http://example.com/miss/{n}")).collect();
    let mut n = 0;
    Box::new(move || {
        n += 1;
        let mut request = Request::get(&urls[n % urls.len()]).body(Body::empty()).expect("a request");
        *request.headers_mut() = asked.clone();
        black_box(now(cache.fetch(request, Arc::clone(&origin) as _))).expect("an answer");
    })
}
