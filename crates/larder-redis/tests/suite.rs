//! Runs the contract of every store on one server, on a Cluster, and on a memory store over a
//! server.

mod setting;

use std::{sync::Arc, time::Duration};

use larder_core::{CacheStore, Scope};
use larder_memory::MemoryStore;
use larder_testkit::{head, key};
use larder_tiered::TieredStore;
use tokio::time::Instant;

larder_testkit::store_suite!(single, async { setting::store(setting::shared()).await });

larder_testkit::store_suite!(cluster, async {
    static CLUSTER: std::sync::OnceLock<(setting::Cluster, String)> = std::sync::OnceLock::new();
    let (_, url) = CLUSTER.get_or_init(|| {
        let cluster = setting::Cluster::start();
        let url = cluster.url();
        (cluster, url)
    });
    setting::store(url).await
});

larder_testkit::store_suite!(tiered, async { tiered_store().await });

/// Returns a memory store over a server, once its near copies are served: before, the entries have
/// the ids of the far store.
async fn tiered_store() -> TieredStore {
    let (near, far) = (Arc::new(MemoryStore::default()), setting::store(setting::shared()).await);
    let store = TieredStore::new(Arc::clone(&near) as Arc<dyn CacheStore>, Arc::new(far));
    let (page, head) = (key("/warm"), Arc::new(head(&[("cache-control", "max-age=60")], &[])));
    let reserved = store.reserve(&page).await.expect("it reserves");
    let keep_until = head.keep_until();
    let writer = reserved.begin(head, Some(0), keep_until).await.expect("it begins");
    writer.commit().await.expect("it commits");
    let start = Instant::now();
    while near.lookup(&page).await.expect("it looks up").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the feed does not connect");
        store.lookup(&page).await.expect("it looks up");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.remove(Scope::All).await.expect("it removes");
    store
}
