//! Shows an offline client: it serves pages from the disk store, also stale ones, and returns an
//! error for a page that is not stored.
//!
//! ```text
//! cargo run -p larder-examples --example offline
//! ```

use std::{sync::Arc, time::Duration};

use larder::{
    client::{CachedClient, ErrorKind},
    disk::{DiskOptions, DiskStore},
};
use larder_examples::LocalServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = LocalServer::start(Duration::from_secs(1)).await?;
    let folder = tempfile::tempdir()?;
    let store = Arc::new(DiskStore::open(folder.path(), DiskOptions::default())?);
    let online = CachedClient::builder().store(Arc::clone(&store) as _).partition("me").build()?;
    let page = online.get(format!("{}/known", server.url)).send().await?;
    print!("online, {}: {}", page.outcome(), page.text().await?);
    // The response is stored on disk by a background task: wait until it has finished.
    online.cache().drain(Duration::from_secs(5)).await;
    // Let the page become stale.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let offline = CachedClient::builder().store(store).partition("me").offline().build()?;
    let page = offline.get(format!("{}/known", server.url)).send().await?;
    print!("offline, {}: {}", page.outcome(), page.text().await?);
    match offline.get(format!("{}/unknown", server.url)).send().await {
        Err(error) if error.kind() == ErrorKind::NotCached => println!("offline, {error}"),
        other => println!("{other:?}"),
    }
    Ok(())
}
