//! Runs the contract of every store on one server, on a Cluster, and on a memory store over a
//! server.

mod setting;

use std::sync::Arc;

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

larder_testkit::store_suite!(tiered, async {
    let far = Arc::new(setting::store(setting::shared()).await);
    larder_tiered::TieredStore::new(Arc::new(larder_memory::MemoryStore::default()), far)
});
