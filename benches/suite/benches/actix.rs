//! The cost that the middleware adds to an actix-web application: the services without sockets,
//! bare and wrapped.

mod setting;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header,
    test, web,
};
use bytes::Bytes;
use larder_actix::CacheMiddleware;
use larder_memory::MemoryStore;
use larder_testkit::fixtures::RESPONSE;
use setting::{SIZES, body, criterion};

/// Responses with two headers, as small handlers send, and with ten.
async fn page(body: web::Data<Bytes>, says: &'static str, many: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, says));
    for field in RESPONSE.iter().filter(|(name, _)| many && *name != "cache-control") {
        response.insert_header(*field);
    }
    response.content_type("text/html").body(Bytes::clone(&body))
}

fn routes(body: Bytes) -> impl FnOnce(&mut web::ServiceConfig) {
    move |app| {
        app.app_data(web::Data::new(body))
            .route("/few", web::get().to(|body| page(body, "max-age=3600", false)))
            .route("/ten", web::get().to(|body| page(body, "max-age=3600", true)))
            .route("/nostore", web::get().to(|body| page(body, "no-store", false)));
    }
}

async fn call<B: MessageBody>(
    app: &impl Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
    path: &str,
    length: usize,
) {
    let request = test::TestRequest::get().uri(path).insert_header(("host", "example.com")).to_request();
    let response = app.call(request).await.expect("an answer");
    assert_eq!(response.into_body().size(), actix_web::body::BodySize::Sized(length as u64));
}

fn timed<B: MessageBody>(
    system: &actix_rt::SystemRunner,
    app: &impl Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
    count: u64,
    path: &str,
    length: usize,
) -> Duration {
    let begun = Instant::now();
    system.block_on(async {
        for _ in 0..count {
            call(app, path, length).await;
        }
    });
    begun.elapsed()
}

fn main() {
    let mut criterion = criterion();
    let system = actix_rt::System::new();
    for (size, length) in SIZES {
        for (case, path) in
            [("hit, 2 fields", "/few"), ("hit, 10 fields", "/ten"), ("not to be stored", "/nostore")]
        {
            let mut group = criterion.benchmark_group(format!("actix/{case}/{size}"));
            group.bench_function("bare handler", |bencher| {
                let app = system.block_on(test::init_service(App::new().configure(routes(body(length)))));
                bencher.iter_custom(|count| timed(&system, &app, count, path, length));
            });
            group.bench_function("larder", |bencher| {
                let store = Arc::new(MemoryStore::default());
                let cache = CacheMiddleware::new(larder_core::Cache::builder(store).build());
                let app = App::new().wrap(cache).configure(routes(body(length)));
                let app = system.block_on(test::init_service(app));
                bencher.iter_custom(|count| timed(&system, &app, count, path, length));
            });
            group.finish();
        }
    }
    criterion.final_summary();
}
