//! [`Values`] and [`Value`]: look up a value by its name, load it on a miss, and remove it.
//!
//! `loader` turns the load function into an origin; the engine does everything else.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, Method, Request};
use larder_core::{
    Body, Cache, CacheGroup, CacheKey, CacheMode, CacheResponse, FetchError, FetchOptions, Lookup,
    OverrideFn, Overrides, RequestHead, Scope, StoreError, TargetError,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    JsonError, ValueError,
    loader::{ErrorSlot, Loader},
};

/// Host in the keys of all values. No server has this name (RFC 6761 §6.4).
const HOST: &str = "values.invalid";
/// Most characters of a value's name in the target of its key.
const MAX_READABLE: usize = 200;

/// Methods of a [`Cache`] that store application values beside HTTP responses. Import the trait to
/// use them.
///
/// Values and responses never share a key. Two values with the same name are the same value, so a
/// name should contain everything that the value depends on, such as `user:42`.
///
/// ```
/// use larder_core::Cache;
/// use larder_memoize::Values as _;
///
/// async fn remove_user(cache: &Cache, id: u32) -> Result<(), larder_core::StoreError> {
///     cache.remove_value(&format!("user:{id}")).await
/// }
/// ```
#[async_trait]
pub trait Values {
    /// Returns a builder for looking up the value with this name. Any string is a valid name.
    fn value(&self, name: &str) -> Value;

    /// Removes the value with this name.
    ///
    /// After this method has returned, no caller receives the removed value, even if it was being
    /// loaded at the same time.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    async fn remove_value(&self, name: &str) -> Result<(), StoreError>;

    /// Removes all values of a group, with the guarantee of [`remove_value`](Self::remove_value).
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal.
    async fn remove_value_group(&self, group: &str) -> Result<(), StoreError>;
}

#[async_trait]
impl Values for Cache {
    fn value(&self, name: &str) -> Value {
        let overrides = Overrides::default().with_freshness(Duration::from_secs(60));
        Value { cache: self.clone(), key: key(name), overrides, negative_ttl: None }
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.purge(Scope::Key(&key(name))).await.map(drop)
    }

    async fn remove_value_group(&self, group: &str) -> Result<(), StoreError> {
        self.purge(Scope::Group(&CacheGroup::new(&format!("http://{HOST}"), group))).await.map(drop)
    }
}

/// A builder for looking up a value, created by [`Values::value`].
///
/// ```
/// use std::time::Duration;
///
/// use larder_core::Cache;
/// use larder_memoize::{ValueError, Values as _};
///
/// async fn table(cache: &Cache) -> Result<Vec<u32>, ValueError<std::io::Error>> {
///     let value = cache.value("table").ttl(Duration::from_secs(300)).groups(["tables"]);
///     value.get_or_try_insert_with(|| async { Ok((1..10).collect()) }).await
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Value {
    cache: Cache,
    key: CacheKey,
    overrides: Overrides,
    negative_ttl: Option<Duration>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("key", &self.key)
            .field("ttl", &self.overrides.freshness)
            .finish_non_exhaustive()
    }
}

impl Value {
    /// Sets how long the value is fresh after it was loaded. Default: 60 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.overrides.freshness = Some(ttl);
        self
    }

    /// Sets how long past its TTL a stale value is returned while a background task loads a new
    /// one. Default: zero.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.overrides.stale_while_revalidate = Some(window);
        self
    }

    /// Sets how long past its TTL a stale value is returned if loading a new one fails. Default:
    /// zero.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.overrides.stale_if_error = Some(window);
        self
    }

    /// Sets how long a failed load is cached, in whole seconds. Default: zero, which means that
    /// each call loads again.
    ///
    /// During that time, callers receive [`ValueError::NegativelyCached`] without a load. If
    /// [`stale_if_error`](Self::stale_if_error) allows it, they receive the stale value instead.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// Adds the value to groups, when it is loaded. [`Values::remove_value_group`] removes all
    /// values of a group.
    pub fn groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.overrides.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Returns the stored value, or runs `load` and stores its result.
    ///
    /// Concurrent calls for the same value are collapsed: one of them runs `load`, and the others
    /// wait for its result. `load` may run more than once, and it may run in a background task
    /// after this method has returned a stale value. It therefore cannot borrow: clone what it
    /// needs, such as a connection pool, into the closure. A store that fails counts as a miss.
    ///
    /// # Errors
    ///
    /// Returns [`ValueError::Load`] with the error of `load`, [`ValueError::NegativelyCached`] if a
    /// failed load is cached, [`ValueError::Json`] if the value cannot be converted to JSON or
    /// back, and [`ValueError::Fetch`] if the load did not complete.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. If other callers wait for this load, one of them runs its own
    /// `load`.
    pub async fn get_or_try_insert_with<T, E, F, Fut>(self, load: F) -> Result<T, ValueError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
    {
        let error: ErrorSlot<E> = Arc::default();
        let negative_ttl = self.negative_ttl;
        let value = PhantomData::<fn() -> T>;
        let loader = Arc::new(Loader { load, error: Arc::clone(&error), negative_ttl, value });
        match self.attempt(CacheMode::Default, &loader, &error).await? {
            Ok(value) => Ok(value),
            Err(_) => {
                // The value was stored by a program that uses another type for it, or reading its
                // body from the store failed.
                let _ = self.cache.purge(Scope::Key(&self.key)).await;
                self.attempt(CacheMode::NoStore, &loader, &error)
                    .await?
                    .map_err(|error| ValueError::Json(JsonError::new(error)))
            }
        }
    }

    /// Looks up or loads the value once. The inner result is an error if its JSON could not be
    /// read.
    async fn attempt<T, E, F, Fut>(
        &self,
        mode: CacheMode,
        loader: &Arc<Loader<F, T, E>>,
        error: &ErrorSlot<E>,
    ) -> Result<Result<T, serde_json::Error>, ValueError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
    {
        let response = self.fetch(mode, Arc::clone(loader) as _).await;
        let response = response.map_err(|fetch| error.lock().take().unwrap_or(ValueError::Fetch(fetch)))?;
        let failed = response.status().is_server_error();
        if let Some(error) = error.lock().take().filter(|_| failed) {
            return Err(error);
        }
        if failed {
            // This response is the cached failure of an earlier load or of another caller's.
            return Err(ValueError::NegativelyCached);
        }
        Ok(deserialize(response).await)
    }

    /// Looks up the value, and fetches it from `loader` on a miss.
    async fn fetch(
        &self,
        mode: CacheMode,
        loader: Arc<dyn larder_core::Origin>,
    ) -> Result<CacheResponse, FetchError> {
        let mut headers = HeaderMap::new();
        mode.apply(&mut headers);
        let miss = match self.cache.lookup(&self.key, &RequestHead::new(&Method::GET, &headers)).await {
            Lookup::Hit(response) => return Ok(response),
            Lookup::Miss(miss) => miss,
        };
        let options = FetchOptions::default().with_overrides(OverrideFn::always(self.overrides.clone()));
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.key.target().parse().map_err(|_| TargetError::Path)?;
        *request.headers_mut() = headers;
        miss.fetch(request, loader, &options).await
    }
}

/// Reads the body of a response, and converts it from JSON.
async fn deserialize<T: DeserializeOwned>(response: CacheResponse) -> Result<T, serde_json::Error> {
    let all = response.into_body().into_bytes(usize::MAX).await;
    serde_json::from_slice(&all.map_err(|error| serde_json::Error::io(std::io::Error::other(error)))?)
}

/// Returns the key of a value. Its target contains the letters and digits of the name, for readers
/// of a store's listing; the full name follows as the part that distinguishes values.
fn key(name: &str) -> CacheKey {
    let readable: String = name.chars().filter(char::is_ascii_alphanumeric).take(MAX_READABLE).collect();
    let key = CacheKey::from_parts("http", HOST, &format!("/{readable}"));
    key.expect("letters and digits are a path").with_extra(b"value").with_extra(name.as_bytes())
}
