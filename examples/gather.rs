//! Shows `fetch_all`: fetches several URLs concurrently. One is already in the cache. Another is in
//! the list twice, and is fetched once.
//!
//! ```text
//! cargo run -p larder-examples --example gather
//! ```

use std::time::Duration;

use futures_util::StreamExt as _;
use larder::client::CachedClient;
use larder_examples::LocalServer;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = LocalServer::start(Duration::from_secs(60)).await?;
    let client = CachedClient::new()?;
    client.get(format!("{}/one", server.url)).send().await?.text().await?;

    let start = Instant::now();
    let urls = ["one", "two", "three", "two"].map(|name| format!("{}/{name}", server.url));
    let mut pages = client.fetch_all(urls).concurrency(8).per_host(6).retry(2).in_order();
    while let Some(page) = pages.next().await {
        match page.result {
            Ok(response) => print!("{}: {}", response.outcome(), response.text().await?),
            Err(error) => eprintln!("{error}"),
        }
    }
    println!("all pages in {} ms", start.elapsed().as_millis());
    Ok(())
}
