//! Shows the engine without an adapter: fetches a URL twice. The first response comes over the
//! network, the second from memory if the server allows it.
//!
//! ```text
//! cargo run -p larder-examples --example fetch -- https://example.com/
//! ```

use std::sync::Arc;

use larder::prelude::{Body, Cache, HyperOptions, HyperOrigin, MemoryStore, Rules};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = std::env::args().nth(1).ok_or("missing argument: a URL, such as https://example.com/")?;
    // A private cache also stores responses with `Cache-Control: private`.
    let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
    let origin = Arc::new(HyperOrigin::new(HyperOptions::default())?);
    for _ in 0..2 {
        let request = http::Request::get(&url).body(Body::empty())?;
        let response = cache.fetch(request, Arc::clone(&origin) as _).await?;
        let (status, cache_status) = (response.status(), response.cache_status().to_string());
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(chunk) = body.chunk().await {
            length += chunk?.len();
        }
        println!("{status}, {length} bytes: {cache_status}");
    }
    Ok(())
}
