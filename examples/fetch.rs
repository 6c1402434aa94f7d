//! Fetches a page twice; the second time it comes from memory.
//!
//! `cargo run -p larder-examples --example fetch -- https://example.com/`

use std::sync::Arc;

use larder::prelude::{Body, Cache, HyperOptions, HyperOrigin, MemoryStore, Rules};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = std::env::args().nth(1).ok_or("give a URL, e.g. https://example.com/")?;
    actix_rt::System::new().block_on(async {
        // One user's cache: what is marked `private` is kept, too.
        let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::private()).build();
        let origin = Arc::new(HyperOrigin::new(HyperOptions::default())?);
        for _ in 0..2 {
            let request = http::Request::get(&url).body(Body::empty())?;
            let answer = cache.fetch(request, Arc::clone(&origin) as _).await?;
            let (status, how) = (answer.status(), answer.cache_status().to_string());
            let mut body = answer.into_body();
            let mut length = 0;
            while let Some(chunk) = body.chunk().await {
                length += chunk?.len();
            }
            println!("{status}, {length} bytes: {how}");
        }
        Ok(())
    })
}
