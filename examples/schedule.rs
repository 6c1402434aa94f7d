//! Shows the refresher: fetches three pages, and revalidates them every five seconds (or SECONDS).
//! The server responds with 304 and no body if a page is unchanged.
//!
//! ```text
//! cargo run -p larder-examples --example schedule
//! cargo run -p larder-examples --example schedule -- SECONDS
//! ```

use std::time::Duration;

use futures_util::StreamExt as _;
use larder::client::{CachedClient, Schedule};
use larder_examples::LocalServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |seconds| seconds.parse())?;
    let server = LocalServer::start(Duration::from_secs(60)).await?;
    let client = CachedClient::new()?;
    let (refresher, events) = client.refresher().jitter(Duration::from_millis(50)).start();
    for name in ["one", "two", "three"] {
        let url = format!("{}/{name}", server.url);
        refresher.add(url, Schedule::every(Duration::from_secs(seconds)))?;
    }
    // Three rounds of three pages. A real program would run until it is stopped.
    let mut events = events.take(9);
    while let Some(event) = events.next().await {
        println!("{}: {}", event.url.path(), event.outcome);
    }
    refresher.stop().await;
    println!("the server rendered {} pages", server.rendered());
    Ok(())
}
