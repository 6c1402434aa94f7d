//! Builds a cache on a memory store, an origin that the test scripts, and a clock that only the
//! test advances.
#![allow(dead_code, reason = "each test file uses only some of these helpers")]

use std::{sync::Arc, time::Duration};

use http::Request;
use larder_core::{
    Body, Cache, CacheKey, CacheResponse, CacheStore as _, Candidates, FetchError, FetchOptions, Limits,
    Lookup, Origin, RequestHead, Rules, TargetUri, policy::ClientDirectives,
};
use larder_memory::MemoryStore;
use larder_testkit::{Fault, FaultyStore, ManualClock, ManualOrigin, ReceivedRequests};

/// A cache and everything around it that a test controls.
pub(crate) struct Setting {
    pub(crate) cache: Cache,
    pub(crate) store: FaultyStore,
    pub(crate) clock: ManualClock,
    pub(crate) origin: Arc<ManualOrigin>,
    pub(crate) requests: ReceivedRequests,
}

/// Creates a setting with default limits.
pub(crate) fn setting() -> Setting {
    with(Limits::default())
}

/// Creates a setting with these limits.
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

/// A request that runs in a task.
pub(crate) type FetchTask = tokio::task::JoinHandle<Result<CacheResponse, FetchError>>;

/// Creates a request without a body to `http://example.com`.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("http://example.com{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

impl Setting {
    /// Sends a GET request in a new task.
    pub(crate) fn get(&self, path: &str, fields: &[(&str, &str)]) -> FetchTask {
        self.send(request("GET", path, fields))
    }

    /// Sends a request in a new task.
    pub(crate) fn send(&self, request: Request<Body>) -> FetchTask {
        let (cache, origin) = (self.cache.clone(), Arc::clone(&self.origin) as Arc<dyn Origin>);
        tokio::spawn(async move { cache.fetch(request, origin).await })
    }

    /// Sends a GET request in a new task, with these options.
    pub(crate) fn get_with(&self, path: &str, fields: &[(&str, &str)], options: &FetchOptions) -> FetchTask {
        let (cache, origin) = (self.cache.clone(), Arc::clone(&self.origin) as Arc<dyn Origin>);
        let (request, options) = (request("GET", path, fields), options.clone());
        tokio::spawn(async move {
            let key = CacheKey::new(&TargetUri::from_uri(request.uri())?);
            match cache.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
                Lookup::Hit(response) => Ok(response),
                Lookup::Miss(miss) => miss.fetch(request, origin, &options).await,
            }
        })
    }

    /// Sends a GET request in a new task, as a server's adapter does that handles the client's
    /// caching directives in this way.
    pub(crate) fn get_from_client(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        clients: ClientDirectives,
    ) -> FetchTask {
        self.send_from_client(request("GET", path, fields), clients)
    }

    /// Sends a request in a new task, with this handling of its caching directives.
    pub(crate) fn send_from_client(&self, request: Request<Body>, clients: ClientDirectives) -> FetchTask {
        let (cache, origin) = (self.cache.clone(), Arc::clone(&self.origin) as Arc<dyn Origin>);
        tokio::spawn(async move {
            let key = CacheKey::new(&TargetUri::from_uri(request.uri())?);
            let head = RequestHead::new(request.method(), request.headers()).with_client_directives(clients);
            match cache.lookup(&key, &head).await {
                Lookup::Hit(response) => Ok(response),
                Lookup::Miss(miss) => miss.fetch(request, origin, &FetchOptions::default()).await,
            }
        })
    }

    /// Returns the entries of `path` in the store.
    pub(crate) async fn stored(&self, path: &str) -> Candidates {
        let key = CacheKey::from_parts("http", "example.com", path).expect("a key");
        self.store.lookup(&key).await.expect("the store works")
    }

    /// Fetches `path` from the origin, which returns `content`.
    pub(crate) async fn fetch_and_store(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        content: &'static [u8],
    ) {
        let fetch = self.get(path, &[]);
        self.requests.next().await.respond(200, fields, content);
        assert_eq!(read(fetch).await.1, content);
    }

    /// Returns the `Cache-Status` and content of a stored response, without contacting the origin.
    pub(crate) async fn get_stored(&mut self, path: &str) -> (String, Vec<u8>) {
        let response = read(self.get(path, &[])).await;
        assert!(self.requests.is_empty(), "the origin was contacted");
        response
    }

    /// Advances the clock by `secs` seconds.
    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Makes the store fail in this way.
    pub(crate) fn fault(&self, fault: Fault) {
        self.store.set(fault);
    }
}

/// Runs the other tasks until each of them waits for the test.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Returns the `Cache-Status` and content of a response.
pub(crate) async fn read(fetch: FetchTask) -> (String, Vec<u8>) {
    let response = response_of(fetch).await;
    let status = response.cache_status().to_string();
    (status, content(response).await.expect("the content is whole"))
}

/// Returns the response of a task.
pub(crate) async fn response_of(fetch: FetchTask) -> CacheResponse {
    fetch.await.expect("no panic").expect("a response")
}

/// Reads the whole body of a response.
pub(crate) async fn content(response: CacheResponse) -> Result<Vec<u8>, String> {
    let all = response.into_body().into_bytes(usize::MAX).await;
    all.map(Vec::from).map_err(|error| error.to_string())
}
