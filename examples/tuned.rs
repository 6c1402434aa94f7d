//! A server with everything turned on: workers, keep-alive, compression, static files, and a cache in memory over Redis.
//!
//! `cargo run --release -p larder-examples --example tuned` runs without Redis; with `-- redis://127.0.0.1:6379/0` a fleet of
//! them shares one cache; while Redis is down, the handlers answer. Then `curl --compressed -i http://127.0.0.1:8080/report`,
//! and `curl -i http://127.0.0.1:8080/static/app.3f9ab1c2.js`.

use std::{sync::Arc, time::Duration};

use actix_files::Files;
use actix_web::{App, HttpResponse, HttpServer, http::header, web};
use larder::{
    actix::{CacheMiddleware, fingerprinted},
    compress::Compression,
    core::{Cache as Engine, CacheStore},
    prelude::{MemoryStore, RedisOptions, RedisStore, TieredStore},
};

async fn report() -> HttpResponse {
    actix_rt::time::sleep(Duration::from_millis(500)).await;
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "max-age=60, stale-while-revalidate=600"))
        .body("<p>a report that takes half a second</p>\n".repeat(200))
}

async fn store(redis: Option<String>) -> Result<Arc<dyn CacheStore>, Box<dyn std::error::Error>> {
    let near = Arc::new(MemoryStore::with_capacity(256 << 20));
    let Some(url) = redis else { return Ok(near) };
    let mut options = RedisOptions::default();
    // A server that can't start without its cache is a server that goes down with it.
    options.lazy_connect = true;
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
            .immutable(fingerprinted);
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
        // What is still being stored, or made anew, has a moment to end.
        engine.drain(Duration::from_secs(5)).await;
        Ok(())
    })
}
