//! A cache on a memory store, an origin that the test plays, and a clock that stands still.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{sync::Arc, time::Duration};

use http::Request;
use larder_core::{Body, Cache, CacheResponse, FetchError, Limits, Origin, Rules};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore, ManualClock, ManualOrigin, Requests};

pub(crate) struct Setting {
    pub(crate) cache: Cache,
    pub(crate) store: FaultyStore,
    pub(crate) clock: ManualClock,
    pub(crate) origin: Arc<ManualOrigin>,
    pub(crate) requests: Requests,
}

pub(crate) fn setting() -> Setting {
    with(Limits::default())
}

pub(crate) fn with(limits: Limits) -> Setting {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    let clock = ManualClock::at(1_700_000_000);
    let (origin, requests) = ManualOrigin::new();
    let cache = Cache::builder(Arc::new(store.clone()))
        .clock(Arc::new(clock.clone()))
        .limits(limits)
        .rules(Rules::shared())
        .build();
    Setting { cache, store, clock, origin, requests }
}

pub(crate) type Asked = tokio::task::JoinHandle<Result<CacheResponse, FetchError>>;

pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("http://example.com{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

impl Setting {
    /// Asks in a task of its own.
    pub(crate) fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Asked {
        self.send(request("GET", path, fields))
    }

    pub(crate) fn send(&self, request: Request<Body>) -> Asked {
        let (cache, origin) = (self.cache.clone(), Arc::clone(&self.origin) as Arc<dyn Origin>);
        tokio::spawn(async move { cache.fetch(request, origin).await })
    }

    /// Asks, and lets the origin answer.
    pub(crate) async fn fetched(&mut self, path: &str, fields: &[(&str, &str)], content: &'static [u8]) {
        let asked = self.ask(path, &[]);
        self.requests.next().await.answer(200, fields, content);
        assert_eq!(read(asked).await.1, content);
    }

    /// Asks for what is stored; the origin must not hear of it.
    pub(crate) async fn stored(&mut self, path: &str) -> (String, Vec<u8>) {
        let answer = read(self.ask(path, &[])).await;
        assert!(self.requests.is_empty(), "the origin was asked");
        answer
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.store.set(fault);
    }
}

/// Waits until nothing else can run: every task waits for the test.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// How it was answered, and the content.
pub(crate) async fn read(asked: Asked) -> (String, Vec<u8>) {
    let answer = answered(asked).await;
    let status = answer.cache_status().to_string();
    (status, content(answer).await.expect("the content is whole"))
}

pub(crate) async fn answered(asked: Asked) -> CacheResponse {
    asked.await.expect("no panic").expect("an answer")
}

pub(crate) async fn content(answer: CacheResponse) -> Result<Vec<u8>, String> {
    let mut body = answer.into_body();
    let mut all = Vec::new();
    while let Some(chunk) = body.chunk().await {
        all.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
    }
    Ok(all)
}
