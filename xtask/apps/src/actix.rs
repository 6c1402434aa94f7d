//! An actix-web application: the caching middleware around one handler, which the runner scripts.
//!
//! `POST /-/purge` removes the URL in its content, and bypasses the cache. With `balancer`, the
//! application trusts the forwarded fields of 127.0.0.1, as behind a load balancer.

use std::sync::Arc;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use larder::{
    actix::CacheMiddleware,
    core::{Cache, Rules, adapter::PurgeError},
    memory::MemoryStore,
};

use crate::script;

/// Runs the application; `script` is the address of the runner.
pub(crate) fn run(script: &str, is_behind_balancer: bool) -> anyhow::Result<()> {
    let script = script.to_owned();
    let trusted = if is_behind_balancer { "127.0.0.1" } else { "" }.parse()?;
    actix_rt::System::new().block_on(async move {
        let cache = Cache::builder(Arc::new(MemoryStore::default())).rules(Rules::shared()).build();
        let middleware = CacheMiddleware::new(cache)
            .ignore_query(["utm_*"])
            .trusted_proxies(trusted)
            .unless(|request| request.path().starts_with("/-/"));
        let app = move || {
            App::new()
                .wrap(middleware.clone())
                .app_data(web::Data::new(middleware.clone()))
                .app_data(web::Data::new(script.clone()))
                .app_data(web::PayloadConfig::new(1 << 20))
                .route("/-/purge", web::post().to(purge))
                .default_service(web::to(scripted))
        };
        let server = HttpServer::new(app).workers(1).bind_auto_h2c("127.0.0.1:0")?;
        println!("listening on http://{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}

/// Returns the response of the script.
async fn scripted(request: HttpRequest, body: web::Bytes, script: web::Data<String>) -> HttpResponse {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let url = {
        let connection = request.connection_info();
        format!("{}://{}{target}", connection.scheme(), connection.host())
    };
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let seen = script::Request { method: request.method().as_str(), target, url, headers, body: &body };
    match script::respond(&script, &seen).await {
        Ok(response) => {
            let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::IM_A_TEAPOT);
            let mut built = HttpResponse::build(status);
            for header in response.headers {
                built.append_header(header);
            }
            built.body(response.body)
        }
        Err(error) => HttpResponse::BadGateway().body(error.to_string()),
    }
}

/// Removes the stored responses of the URL in the content.
async fn purge(url: String, middleware: web::Data<CacheMiddleware>) -> HttpResponse {
    match middleware.purge_url(url.trim()).await {
        Ok(removed) => HttpResponse::Ok().body(format!("purged {removed:?}")),
        Err(error @ PurgeError::Target(_)) => HttpResponse::BadRequest().body(error.to_string()),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}
