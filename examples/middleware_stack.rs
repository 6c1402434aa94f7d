//! Shows the cache as a `reqwest-middleware`. A logging middleware behind it sees only the requests
//! that the cache forwards to the server.
//!
//! ```text
//! cargo run -p larder-examples --example middleware_stack
//! ```

use std::{sync::Arc, time::Duration};

use http::Extensions;
use larder::{
    client::{CacheMode, CachingMiddleware},
    core::{Cache, Rules},
    memory::MemoryStore,
};
use larder_examples::LocalServer;
use reqwest::{Client, Request, Response, redirect::Policy};
use reqwest_middleware::{ClientBuilder, Middleware, Next, Result};

/// Prints each request that it receives.
struct Log;

#[async_trait::async_trait]
impl Middleware for Log {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        println!("  to the server: {} {}", request.method(), request.url().path());
        next.run(request, extensions).await
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let server = LocalServer::start(Duration::from_secs(60)).await?;
    let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
    // Redirects are cached too if reqwest does not follow them itself: then each response of a
    // chain passes through the cache.
    let http = Client::builder().redirect(Policy::none()).build()?;
    let client = ClientBuilder::new(http).with(CachingMiddleware::new(cache.clone())).with(Log).build();
    for mode in [CacheMode::Default, CacheMode::Default, CacheMode::Reload] {
        let response = client.get(format!("{}/page", server.url)).with_extension(mode).send().await?;
        let cache_status = response.headers()["cache-status"].to_str()?.to_owned();
        println!("{cache_status}");
        response.bytes().await?;
        // The response is stored by a background task: wait until it has finished.
        cache.drain(Duration::from_secs(5)).await;
    }
    Ok(())
}
