//! A value by its name: what is said of it, and how it is got.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, Method, Request};
use larder_core::{
    Body, Cache, CacheGroup, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup,
    OverrideFn, Overrides, RequestHead, StoreError, TargetError,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ValueError,
    loader::{Failure, Loader},
};

/// Whose values these are: no server has this name (RFC 6761 §6.4).
const HOST: &str = "values.invalid";
/// How much of a name stands in a target.
const READABLE: usize = 200;

/// Values in a [`Cache`], beside its responses. No response is ever found by a value's name.
#[async_trait]
pub trait Values {
    /// The value of this name.
    fn value(&self, name: &str) -> Value;

    /// Removes a value. When it returns, nobody gets it any more.
    ///
    /// # Errors
    ///
    /// If the store can't promise it.
    async fn remove_value(&self, name: &str) -> Result<(), StoreError>;

    /// Removes the values of a group.
    ///
    /// # Errors
    ///
    /// If the store can't promise it.
    async fn remove_value_group(&self, group: &str) -> Result<(), StoreError>;
}

#[async_trait]
impl Values for Cache {
    fn value(&self, name: &str) -> Value {
        let mut overrides = Overrides::default();
        overrides.freshness = Some(Duration::from_secs(60));
        Value { cache: self.clone(), key: key(name), overrides, failed_for: None }
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.purge_key(&key(name)).await
    }

    async fn remove_value_group(&self, group: &str) -> Result<(), StoreError> {
        self.purge_group(&CacheGroup::new(&format!("http://{HOST}"), group)).await
    }
}

/// A value that is about to be asked for.
#[derive(Debug, Clone)]
#[must_use]
pub struct Value {
    cache: Cache,
    key: CacheKey,
    overrides: Overrides,
    failed_for: Option<Duration>,
}

impl Value {
    /// How long it is kept before it is loaded again. Default: 60 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.overrides.freshness = Some(ttl);
        self
    }

    /// How long after that it is still given while a new one is loaded behind. Default: not at all.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.overrides.stale_while_revalidate = Some(window);
        self
    }

    /// How long after its time it is given if loading fails. Default: not at all.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.overrides.stale_if_error = Some(window);
        self
    }

    /// How long a failure to load it is remembered, in whole seconds: who asks meanwhile gets
    /// [`ValueError::NegativelyCached`], and nothing is loaded. An old value goes before that, where
    /// [`stale_if_error`](Self::stale_if_error) allows it. Default: not at all.
    pub fn negative_ttl(mut self, time: Duration) -> Self {
        self.failed_for = Some(time);
        self
    }

    /// Groups that it belongs to, to be removed together.
    pub fn groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.overrides.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// The value: what is kept, or what `load` brings, which is then kept. Of all who ask for it at the same time, one
    /// loads it. `load` may also run behind the answer, and more than once.
    ///
    /// # Errors
    ///
    /// [`ValueError::Load`] with what `load` said.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point. A load that others wait for is handed over.
    pub async fn get_or_try_insert_with<T, E, F, Fut>(self, load: F) -> Result<T, ValueError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
    {
        let failure: Failure<E> = Arc::default();
        let failed_for = self.failed_for;
        let loads = PhantomData::<fn() -> T>;
        let loader = Arc::new(Loader { load, failure: Arc::clone(&failure), failed_for, loads });
        match self.attempt(CacheMode::Default, &loader, &failure).await? {
            Ok(value) => Ok(value),
            Err(_) => {
                // Kept by a program that had another idea of it, or broken off on its way from the store.
                let _ = self.cache.purge_key(&self.key).await;
                self.attempt(CacheMode::NoStore, &loader, &failure).await?.map_err(ValueError::Json)
            }
        }
    }

    /// What is kept or loaded, if it can be read.
    async fn attempt<T, E, F, Fut>(
        &self,
        mode: CacheMode,
        loader: &Arc<Loader<F, T, E>>,
        failure: &Failure<E>,
    ) -> Result<Result<T, serde_json::Error>, ValueError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
    {
        let answer = self.ask(mode, Arc::clone(loader) as _).await;
        let answer = answer.map_err(|error| failure.lock().take().unwrap_or(ValueError::Fetch(error)))?;
        let failed = answer.status().is_server_error();
        if let Some(failure) = failure.lock().take().filter(|_| failed) {
            return Err(failure);
        }
        if failed {
            // Somebody else's load.
            return Err(ValueError::NegativelyCached);
        }
        Ok(read(answer).await)
    }

    async fn ask(
        &self,
        mode: CacheMode,
        loader: Arc<dyn larder_core::Origin>,
    ) -> Result<CacheResponse, FetchError> {
        let mut fields = HeaderMap::new();
        mode.apply(&mut fields);
        let found = match self.cache.lookup(&self.key, &RequestHead::new(&Method::GET, &fields)).await {
            Lookup::Hit(answer) => return Ok(answer),
            Lookup::Miss(found) => found,
        };
        let mut options = FetchOptions::default();
        options.overrides = Some(OverrideFn::always(self.overrides.clone()));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.key.target().parse().map_err(|_| TargetError::Path)?;
        *request.headers_mut() = fields;
        self.cache.resume(found, request, loader, &options).await
    }
}

async fn read<T: DeserializeOwned>(answer: CacheResponse) -> Result<T, serde_json::Error> {
    let broken = |error: larder_core::BodyError| serde_json::Error::io(std::io::Error::other(error));
    match answer.into_body().try_into_bytes() {
        Ok(bytes) => serde_json::from_slice(&bytes),
        Err(mut body) => {
            let mut all = Vec::new();
            while let Some(chunk) = body.chunk().await {
                all.extend_from_slice(&chunk.map_err(broken)?);
            }
            serde_json::from_slice(&all)
        }
    }
}

/// The key of a name. Its target is for people who look into a store; what tells values apart is behind it.
fn key(name: &str) -> CacheKey {
    let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(READABLE).collect();
    let key = CacheKey::of_parts("http", HOST, &format!("/{readable}"));
    key.expect("letters and digits are a path").with_extra(b"value").with_extra(name.as_bytes())
}
