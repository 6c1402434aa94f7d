//! Shows the tower layer: an axum server caches a slow handler, and twenty concurrent requests run
//! it once.
//!
//! ```text
//! cargo run -p larder-examples --example axum_tower
//! ```
//!
//! The program starts the server, sends the requests itself, and ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header, routing::get};
use larder::{core::Cache, memory::MemoryStore, tower::CacheLayer};

/// Number of calls of the handler.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Takes 200 ms. `Cache-Control` makes the response cacheable for 60 s.
async fn report() -> ([(header::HeaderName, &'static str); 1], String) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    ([(header::CACHE_CONTROL, "max-age=60, stale-while-revalidate=30")], format!("report {calls}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
    let router = Router::new().route("/report", get(report)).layer(CacheLayer::new(cache));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/report", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let client = reqwest::Client::new();
    // The cache collapses the concurrent requests into one call of the handler.
    let requests = (0..20).map(|_| async { client.get(&url).send().await?.text().await });
    let bodies = futures_util::future::try_join_all(requests).await?;
    println!("{} responses, all '{}'", bodies.len(), bodies[0].trim());
    // The response is stored now, so the next request is a hit.
    let next = client.get(&url).send().await?;
    println!("then {}", next.headers()["cache-status"].to_str()?);
    println!("the handler ran {} time", CALLS.load(Ordering::SeqCst));
    Ok(())
}
