//! Four nodes with memory near and one Redis far: a cold page, and a purge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{Request, Response};
use larder_core::{Body, Cache, CacheStore, Origin, OriginError, TargetUri};
use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};
use larder_tiered::TieredStore;

#[derive(Debug, Default)]
struct Slow {
    asked: AtomicUsize,
}

#[async_trait]
impl Origin for Slow {
    async fn fetch(&self, _: Request<Body>) -> Result<Response<Body>, OriginError> {
        let count = self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let response = Response::builder().header("cache-control", "max-age=3600");
        Ok(response.body(Body::from(format!("{count}"))).expect("a response"))
    }

    fn outlives_request(&self) -> bool {
        true
    }
}

async fn ask(cache: &Cache, origin: &Arc<Slow>) -> anyhow::Result<bytes::Bytes> {
    let request = Request::get("http://example.com/page").body(Body::empty())?;
    let mut answer = cache.fetch(request, Arc::clone(origin) as Arc<dyn Origin>).await?;
    let mut body = answer.take_body();
    Ok(body.next_piece().await.transpose().map_err(|error| anyhow::anyhow!(error))?.unwrap_or_default())
}

pub(crate) async fn run(url: &str) -> anyhow::Result<()> {
    let origin = Arc::new(Slow::default());
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let far = Arc::new(RedisStore::connect(url, RedisOptions::default()).await?);
        let store: Arc<dyn CacheStore> = Arc::new(TieredStore::new(Arc::new(MemoryStore::default()), far));
        nodes.push(Cache::builder(store).build());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let asking: Vec<_> = (0..400)
        .map(|n| {
            let (cache, origin) = (nodes[n % 4].clone(), Arc::clone(&origin));
            tokio::spawn(async move {
                ask(&cache, &origin).await?;
                anyhow::Ok(begun.elapsed())
            })
        })
        .collect();
    let mut took = Vec::new();
    for asked in asking {
        took.push(asked.await??);
    }
    took.sort();
    println!("\n| four nodes, 100 requests each, one cold page, origin 200 ms | |\n|---|---|");
    println!("| requests at the origin | {} |", origin.asked.load(Ordering::SeqCst));
    println!("| half answered after | {:.0?} |", took[200]);
    println!("| all answered after | {:.0?} |", took[399]);
    let target = TargetUri::parse("http://example.com/page")?;
    let mut last = Vec::new();
    for _ in 0..9 {
        for cache in &nodes {
            ask(cache, &origin).await?;
            ask(cache, &origin).await?;
        }
        let old = ask(&nodes[1], &origin).await?;
        nodes[0].purge(&target).await?;
        let purged = Instant::now();
        let mut stale = Duration::ZERO;
        for cache in &nodes[1..] {
            while ask(cache, &origin).await? == old {
                stale = purged.elapsed();
            }
        }
        last.push(stale);
    }
    last.sort();
    println!(
        "| from a purge's return to the last stale answer of another node, median of 9 | {:.2?} |",
        last[4]
    );
    Ok(())
}
