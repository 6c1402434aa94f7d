//! Shows a production setup of actix-web: workers, keep-alive, compression, static files, and a
//! memory cache in front of Redis.
//!
//! ```text
//! cargo run --release -p larder-examples --example tuned
//! cargo run --release -p larder-examples --example tuned -- redis://127.0.0.1:6379/0
//! cargo run --release -p larder-examples --example tuned -- - 127.0.0.1:9000
//! ```
//!
//! The first command caches in memory only. With the second, several servers share one cache; while
//! Redis is unavailable, requests go to the handlers. The second argument is the address to listen
//! on (default `127.0.0.1:8080`); `-` as the first means no Redis. Then, in another terminal:
//!
//! ```text
//! curl --compressed -i http://127.0.0.1:8080/report
//! curl -i http://127.0.0.1:8080/static/app.3f9ab1c2.js
//! ```

use std::{sync::Arc, time::Duration};

use actix_files::Files;
use actix_web::{App, HttpResponse, HttpServer, http::header, web};
use larder::{
    actix::{CacheMiddleware, is_fingerprinted},
    compress::Compression,
    core::{Cache as Engine, CacheStore},
    prelude::{MemoryStore, RedisOptions, RedisStore, TieredStore},
};

/// Takes half a second. `Cache-Control` makes the response cacheable for 60 s.
async fn report() -> HttpResponse {
    actix_rt::time::sleep(Duration::from_millis(500)).await;
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "max-age=60, stale-while-revalidate=600"))
        .body("<p>a report that takes half a second</p>\n".repeat(200))
}

/// Creates a memory store of 256 MiB, in front of Redis if `redis` is a URL.
async fn store(redis: Option<String>) -> Result<Arc<dyn CacheStore>, Box<dyn std::error::Error>> {
    let near = Arc::new(MemoryStore::with_capacity(256 << 20));
    let Some(url) = redis else { return Ok(near) };
    // Connect in the background: the server must start even if Redis is unavailable.
    let options = RedisOptions::default().with_lazy_connect(true);
    let far = RedisStore::connect(&url, options).await?;
    Ok(Arc::new(TieredStore::new(near, Arc::new(far))))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let redis = arguments.next().filter(|url| url != "-");
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    actix_rt::System::new().block_on(async {
        let engine = Engine::builder(store(redis).await?).build();
        let cache = CacheMiddleware::new(engine.clone())
            .compress(Compression::default())
            .default_freshness(Duration::from_secs(60))
            .stale_if_error(Duration::from_secs(3600))
            .ignore_query(["utm_*", "fbclid"])
            .immutable(is_fingerprinted);
        let files = concat!(env!("CARGO_MANIFEST_DIR"), "/static");
        let app = move || {
            App::new()
                .wrap(cache.clone())
                .route("/report", web::get().to(report))
                .service(Files::new("/static", files).try_compressed())
        };
        let server = HttpServer::new(app)
            .workers(std::thread::available_parallelism().map_or(2, usize::from))
            .keep_alive(Duration::from_secs(75))
            .client_request_timeout(Duration::from_secs(10))
            .shutdown_timeout(30)
            .bind(listen)?;
        println!("listening on http://{}", server.addrs()[0]);
        server.run().await?;
        // Give background stores and revalidations up to 5 s to finish.
        engine.drain(Duration::from_secs(5)).await;
        Ok(())
    })
}
