//! engine
mod answer;
mod builder;
mod error;
pub use answer::Answer;
pub use builder::{CacheBuilder, Limits};
pub use error::FetchError;
use crate::*;
use std::sync::Arc;
use http::Request;

/// The cache: looks up, decides, fetches once, tees, stores, revalidates, invalidates. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Cache { pub(crate) inner: Arc<Inner> }
#[derive(Debug)]
pub(crate) struct Inner { pub(crate) name: Box<str>, pub(crate) rules: Rules }

/// What a look-up alone could do.
#[derive(Debug)]
pub enum Lookup {
    /// Answered without the origin.
    Answered(Answer),
    /// The origin is needed: hand this to [`Cache::resume`], with the whole request.
    Forward(Found),
}
/// What a look-up found, so that it need not be done again.
#[derive(Debug)]
pub struct Found { pub(crate) key: CacheKey, pub(crate) candidates: Candidates }

impl Cache {
    /// Begins a cache on `store`.
    pub fn builder(store: Arc<dyn CacheStore>) -> CacheBuilder { unimplemented!() }
    /// Steps 1 to 4 for adapters whose request type is not `http`'s: answers from the store where that needs no origin.
    /// Never fails: a store that fails is a miss.
    pub async fn lookup<F: Fields>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup { unimplemented!() }
    /// Goes on where `lookup` stopped. `request.uri()` is absolute (scheme and authority); it is normalised here, hop-by-hop fields are removed here.
    pub async fn resume(&self, found: Found, request: Request<Body>, origin: Arc<dyn Origin>) -> Result<Answer, FetchError> { unimplemented!() }
    /// The whole way: look-up and, where needed, the origin.
    pub async fn fetch(&self, request: Request<Body>, origin: Arc<dyn Origin>) -> Result<Answer, FetchError> { unimplemented!() }
    /// Removes what is stored for this target, with all variants.
    pub async fn purge(&self, target: &TargetUri) -> Result<(), StoreError> { unimplemented!() }
    pub async fn purge_group(&self, group: &CacheGroup) -> Result<(), StoreError> { unimplemented!() }
    pub async fn purge_all(&self) -> Result<(), StoreError> { unimplemented!() }
    /// The `Cache-Status` field value for this answer (one list member).
    pub fn cache_status_value(&self, answer: &Answer) -> http::HeaderValue { unimplemented!() }
    /// As a `http` response: stored fields plus `Age` and `Cache-Status`.
    pub fn into_http(&self, answer: Answer) -> http::Response<Body> { unimplemented!() }
    /// The response that tells a client of this failure: 400, 502, 503 or 504, plain text that says which, and `Cache-Status`.
    pub fn error_response(&self, error: &FetchError) -> http::Response<Body> { unimplemented!() }
    /// Waits for background work (fills that go on without their client, revalidations), at most `limit`. 
    pub async fn drain(&self, limit: std::time::Duration) { unimplemented!() }
}
