//! An axum server with a cache around a slow handler, and a client that asks it twenty times at once.
//!
//! `cargo run -p larder-examples --example axum_tower`

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header, routing::get};
use larder::{core::Cache, memory::MemoryStore, tower::CacheLayer};

static CALLS: AtomicUsize = AtomicUsize::new(0);

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
    let asking = (0..20).map(|_| async { client.get(&url).send().await?.text().await });
    let answers = futures_util::future::try_join_all(asking).await?;
    println!("{} answers, all '{}'", answers.len(), answers[0].trim());
    let again = client.get(&url).send().await?;
    println!("then {}", again.headers()["cache-status"].to_str()?);
    println!("the handler ran {} time", CALLS.load(Ordering::SeqCst));
    Ok(())
}
