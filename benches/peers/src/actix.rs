//! actix servers: a fixed response without and with routing, and behind the middleware.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use actix_http::{
    HttpService, Request, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use actix_service::fn_service;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use larder::{actix::CacheMiddleware, prelude::MemoryStore};
use larder_testkit::fixtures;

use crate::Pages;

fn fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in fixtures::RESPONSE {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    fields
}

/// Serves on actix-http, without routing.
pub(crate) fn bare(address: SocketAddr) -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async move {
        let service = || {
            let (head, pages) = (fields(), Pages::new());
            let answer = move |request: Request| {
                let mut response = Response::with_body(StatusCode::OK, pages.get(request.path()).body);
                *response.headers_mut() = head.clone();
                async { Ok::<_, Infallible>(response) }
            };
            HttpService::build().tcp_nodelay(true).finish(fn_service(answer)).tcp()
        };
        actix_server::Server::build().workers(1).bind("bare", address, service)?.run().await?;
        Ok(())
    })
}

/// Serves on actix-web, with routing, and optionally with the middleware.
pub(crate) fn web(address: SocketAddr, cached: bool) -> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let cache = larder::core::Cache::builder(store).build();
    actix_rt::System::new().block_on(async move {
        let handler = || {
            let (head, pages) = (fields(), Pages::new());
            web::to(move |request: HttpRequest| {
                let mut response = HttpResponse::new(StatusCode::OK);
                *response.headers_mut() = head.clone();
                let response = response.set_body(pages.get(request.path()).body);
                async { response }
            })
        };
        if cached {
            let app = move || App::new().wrap(CacheMiddleware::new(cache.clone())).default_service(handler());
            HttpServer::new(app).workers(1).bind(address)?.run().await?;
        } else {
            HttpServer::new(move || App::new().default_service(handler()))
                .workers(1)
                .bind(address)?
                .run()
                .await?;
        }
        Ok(())
    })
}
