//! Shows a shared cache: two actix-web servers with one Redis. A page is rendered once for both,
//! and a purge on one server reaches the other.
//!
//! ```text
//! redis-server --port 6390 --save '' &
//! cargo run -p larder-examples --example fleet -- redis://127.0.0.1:6390/0
//! ```
//!
//! The argument is the URL of the Redis server (default `redis://127.0.0.1:6379/0`). The program
//! starts both servers, sends the requests itself, and ends.

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
    core::{Body, Cache as Engine, CacheKey, Scope, TargetUri},
    prelude::{HyperOptions, HyperOrigin, MemoryStore, Origin as _, RedisOptions, RedisStore, TieredStore},
};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Number of calls of the handler in both servers together.
static RENDERED: AtomicUsize = AtomicUsize::new(0);

/// Returns a page that is cacheable for 60 s.
async fn report() -> HttpResponse {
    let count = RENDERED.fetch_add(1, Ordering::SeqCst) + 1;
    HttpResponse::Ok().insert_header(("cache-control", "max-age=60")).body(format!("report {count}"))
}

/// Starts a server on a free port. Its near tier is memory, and its far tier is Redis.
async fn server(redis: &str) -> Result<(Engine, String, ServerHandle), AnyError> {
    let far = RedisStore::connect(redis, RedisOptions::default()).await?;
    let store = TieredStore::new(Arc::new(MemoryStore::default()), Arc::new(far));
    let cache = Engine::builder(Arc::new(store)).build();
    let shared = cache.clone();
    let app =
        move || App::new().wrap(CacheMiddleware::new(shared.clone())).route("/report", web::get().to(report));
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0")?;
    let address = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_rt::spawn(running);
    Ok((cache, address, handle))
}

/// Requests the page from a server, and prints the response.
async fn request(server: &str) -> Result<(), AnyError> {
    let client = HyperOrigin::new(HyperOptions::to(server)?)?;
    let request = http::Request::get("http://example.com/report").body(Body::empty())?;
    let mut response = client.fetch(request).await?;
    let cache_status = response.headers().get("cache-status").cloned();
    let page = response.body_mut().chunk().await.transpose()?.unwrap_or_default();
    println!(
        "{server}: {} ({})",
        String::from_utf8_lossy(&page),
        cache_status.as_ref().map_or("", |value| value.to_str().unwrap_or(""))
    );
    Ok(())
}

fn main() -> Result<(), AnyError> {
    let redis = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379/0".to_owned());
    actix_rt::System::new().block_on(async {
        let ((one, first, a), (_, second, b)) = (server(&redis).await?, server(&redis).await?);
        let page = CacheKey::new(&TargetUri::parse("http://example.com/report")?);
        one.purge(Scope::Key(&page)).await?;
        for _ in 0..2 {
            for server in [&first, &second] {
                request(server).await?;
                actix_rt::time::sleep(Duration::from_millis(100)).await;
            }
        }
        one.purge(Scope::Key(&page)).await?;
        println!("purged at {first}");
        // The purge reaches the other server within a few milliseconds. A busy machine may take
        // longer.
        actix_rt::time::sleep(Duration::from_millis(500)).await;
        request(&second).await?;
        println!("rendered {} times", RENDERED.load(Ordering::SeqCst));
        futures_util::future::join(a.stop(true), b.stop(true)).await;
        Ok(())
    })
}
