//! Shows the caching client on reqwest: fetches a page twice. The second response comes from the
//! cache.
//!
//! ```text
//! cargo run -p larder-examples --example page_cache
//! ```

use std::time::Duration;

use larder::client::CachedClient;
use larder_examples::LocalServer;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = LocalServer::start(Duration::from_secs(60)).await?;
    let client = CachedClient::new()?;
    for _ in 0..2 {
        let start = Instant::now();
        let page = client.get(format!("{}/hello", server.url)).send().await?.error_for_status()?;
        let (status, outcome) = (page.status(), page.outcome());
        print!("{status}, {outcome}, in {} ms: {}", start.elapsed().as_millis(), page.text().await?);
    }
    println!("the server rendered {} page", server.rendered());
    Ok(())
}
