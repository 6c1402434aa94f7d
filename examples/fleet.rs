//! Two actix-web servers and one Redis: a page is made once for both, and a purge on one is seen by the other.
//!
//! `redis-server --port 6390 --save '' &`, and then `cargo run -p larder-examples --example fleet redis://127.0.0.1:6390/0`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use larder::{
    actix::CacheMiddleware,
    core::{Body, Cache as Engine, TargetUri},
    prelude::{HyperOptions, HyperOrigin, MemoryStore, Origin as _, RedisOptions, RedisStore, TieredStore},
};

type Anything = Box<dyn std::error::Error + Send + Sync>;

static MADE: AtomicUsize = AtomicUsize::new(0);

async fn report() -> HttpResponse {
    let count = MADE.fetch_add(1, Ordering::SeqCst) + 1;
    HttpResponse::Ok().insert_header(("cache-control", "max-age=60")).body(format!("report {count}"))
}

/// Memory near, Redis far; connected at the start, closed with the server.
async fn server(redis: &str) -> Result<(Engine, String, ServerHandle), Anything> {
    let far = RedisStore::connect(redis, RedisOptions::default()).await?;
    let store = TieredStore::new(Arc::new(MemoryStore::default()), Arc::new(far));
    let cache = Engine::builder(Arc::new(store)).build();
    let kept = cache.clone();
    let app =
        move || App::new().wrap(CacheMiddleware::new(kept.clone())).route("/report", web::get().to(report));
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0")?;
    let address = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_rt::spawn(running);
    Ok((cache, address, handle))
}

async fn ask(server: &str) -> Result<(), Anything> {
    let client = HyperOrigin::new(HyperOptions::to(server)?)?;
    let request = http::Request::get("http://example.com/report").body(Body::empty())?;
    let mut response = client.fetch(request).await?;
    let how = response.headers().get("cache-status").cloned();
    let page = response.body_mut().chunk().await.transpose()?.unwrap_or_default();
    println!(
        "{server}: {} ({})",
        String::from_utf8_lossy(&page),
        how.as_ref().map_or("", |how| how.to_str().unwrap_or(""))
    );
    Ok(())
}

fn main() -> Result<(), Anything> {
    let redis = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379/0".to_owned());
    actix_rt::System::new().block_on(async {
        let ((one, first, a), (_, second, b)) = (server(&redis).await?, server(&redis).await?);
        let page = TargetUri::parse("http://example.com/report")?;
        one.purge(&page).await?;
        for _ in 0..2 {
            for server in [&first, &second] {
                ask(server).await?;
                actix_rt::time::sleep(Duration::from_millis(100)).await;
            }
        }
        one.purge(&page).await?;
        println!("purged at {first}");
        // The other has heard of it after a few milliseconds; this is for machines that are busy.
        actix_rt::time::sleep(Duration::from_millis(500)).await;
        ask(&second).await?;
        println!("made {} times", MADE.load(Ordering::SeqCst));
        futures_util::future::join(a.stop(true), b.stop(true)).await;
        Ok(())
    })
}
