//! The blocking client and the runtime that its clones share.

use std::{fmt, sync::Arc, time::Duration};

use http::Method;
use larder_core::{Cache, Purged};
use reqwest::{IntoUrl, Request};
use tokio::runtime::Runtime;

use super::{BlockingRequest, BlockingResponse};
use crate::{CachedClientBuilder, Error, ErrorKind};

/// A blocking client with an HTTP cache, for programs without async code (feature `blocking`).
/// Clones share the connections and the cache.
///
/// The client runs its connections and the background tasks of its cache in a thread of its own. Do
/// not use it in async code: like `reqwest::blocking`, its methods panic there.
///
/// ```no_run
/// use larder_reqwest::BlockingClient;
///
/// # fn main() -> Result<(), larder_reqwest::Error> {
/// let text = BlockingClient::new()?.get("https://example.com/").send()?.text()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlockingClient {
    client: crate::CachedClient,
    pub(super) runtime: Arc<ClientRuntime>,
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

impl BlockingClient {
    /// Creates a client with a private cache in memory of up to 64 MiB.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if TLS or the thread of the client cannot be initialized, or if the
    /// feature `memory` is disabled.
    pub fn new() -> Result<Self, Error> {
        Self::from_builder(crate::CachedClient::builder())
    }

    /// Creates a client with the settings of a builder.
    ///
    /// ```
    /// use std::time::Duration;
    /// use larder_reqwest::{BlockingClient, CachedClient};
    ///
    /// # fn main() -> Result<(), larder_reqwest::Error> {
    /// let builder = CachedClient::builder().timeout(Duration::from_secs(30));
    /// let client = BlockingClient::from_builder(builder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if a setting is invalid, or if the thread of the client cannot be
    /// started.
    pub fn from_builder(builder: CachedClientBuilder) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("larder-client")
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorKind::Request, None).with_source(error))?;
        let runtime = Arc::new(ClientRuntime(Some(runtime)));
        let client = {
            let _entered = runtime.get().enter();
            builder.build()?
        };
        Ok(Self { client, runtime })
    }

    /// Creates a GET request.
    pub fn get(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::GET, url)
    }

    /// Creates a HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::HEAD, url)
    }

    /// Creates a POST request.
    pub fn post(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::POST, url)
    }

    /// Creates a PUT request.
    pub fn put(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::PUT, url)
    }

    /// Creates a PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::PATCH, url)
    }

    /// Creates a DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> BlockingRequest {
        self.request(Method::DELETE, url)
    }

    /// Creates a request with any method. An invalid URL is reported when the request is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> BlockingRequest {
        BlockingRequest::new(self.client.request(method, url), Arc::clone(&self.runtime))
    }

    /// Sends a request, and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`CachedClient::execute`](crate::CachedClient::execute).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn execute(&self, request: Request) -> Result<BlockingResponse, Error> {
        let response = self.runtime.get().block_on(self.client.execute(request))?;
        Ok(BlockingResponse::new(response, Arc::clone(&self.runtime)))
    }

    /// Removes the stored responses of a URL, and returns how many that were, as far as the store
    /// knows it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`CachedClient::purge_url`](crate::CachedClient::purge_url).
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn purge_url(&self, url: impl IntoUrl) -> Result<Purged, Error> {
        self.runtime.get().block_on(self.client.purge_url(url))
    }

    /// Waits until background tasks have stored their responses, for at most `limit`. Returns
    /// whether they have.
    ///
    /// Call it before a program with a store on disk ends.
    ///
    /// # Panics
    ///
    /// Panics in async code.
    pub fn drain(&self, limit: Duration) -> bool {
        self.runtime.get().block_on(self.client.cache().drain(limit))
    }

    /// Returns the cache.
    pub fn cache(&self) -> &Cache {
        self.client.cache()
    }
}

/// The runtime of a client, which may be dropped anywhere.
pub(super) struct ClientRuntime(Option<Runtime>);

impl ClientRuntime {
    /// Returns the runtime.
    pub(super) fn get(&self) -> &Runtime {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl Drop for ClientRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for it would panic in async code.
            runtime.shutdown_background();
        }
    }
}
