//! Shows the actix-web middleware: the handler takes a second, and runs at most once a minute.
//!
//! ```text
//! cargo run -p larder-examples --example middleware
//! ```
//!
//! Then, in another terminal, twice:
//!
//! ```text
//! curl -i http://127.0.0.1:8080/report
//! ```

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, http::header, web};
use larder::{
    actix::CacheMiddleware,
    core::Cache as Engine,
    prelude::{MemoryStore, Rules},
};

/// Takes a second. `Cache-Control` makes the response cacheable for 60 s.
async fn report() -> HttpResponse {
    actix_rt::time::sleep(Duration::from_secs(1)).await;
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "max-age=60, stale-if-error=600"))
        .insert_header((header::ETAG, "\"report-1\""))
        .body("a report that takes a second\n")
}

fn main() -> std::io::Result<()> {
    actix_rt::System::new().block_on(async {
        // All workers share one cache.
        let cache = Engine::builder(Arc::new(MemoryStore::default())).rules(Rules::shared()).build();
        let app = move || {
            App::new().wrap(CacheMiddleware::new(cache.clone())).route("/report", web::get().to(report))
        };
        let server = HttpServer::new(app).keep_alive(Duration::from_secs(75)).bind("127.0.0.1:8080")?;
        println!("listening on http://127.0.0.1:8080");
        server.run().await
    })
}
