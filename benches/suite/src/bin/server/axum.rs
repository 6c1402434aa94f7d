//! axum: bare, and behind each cache for tower.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    extract::Request,
    http::{
        Response, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::IntoResponse,
    routing::any,
};
use http_body_util::Full;
use larder_memory::MemoryStore;
use tower::{ServiceBuilder, service_fn};
use tower_http_cache::prelude::InMemoryBackend;

use crate::Pages;

pub(crate) enum Layered {
    Bare,
    Larder,
    HttpCache,
    ResponseCache,
    TowerHttpCache,
}

pub(crate) fn serve(address: SocketAddr, layered: Layered) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let pages = Pages::new();
        let whole = pages.clone();
        let handler = move |request: Request| {
            let page = pages.get(request.uri().path());
            async move { ([(CONTENT_TYPE, page.kind), (CACHE_CONTROL, page.control)], page.body).into_response() }
        };
        let router = Router::new().route("/{*path}", any(handler));
        let hour = Duration::from_secs(3600);
        let router = match layered {
            Layered::Bare => router,
            Layered::Larder => {
                let cache = larder_core::Cache::builder(Arc::new(MemoryStore::default())).build();
                router.layer(larder_tower::CacheLayer::new(cache))
            }
            Layered::HttpCache => {
                let cache = http_cache_tower_server::ServerCacheLayer::new(http_cache::MokaManager::default());
                router.layer(ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(cache))
            }
            Layered::ResponseCache => router.layer(axum_response_cache::CacheLayer::with_lifespan(hour)),
            Layered::TowerHttpCache => {
                let backend = InMemoryBackend::new(10_000);
                let cache = tower_http_cache::prelude::CacheLayer::builder(backend)
                    .ttl(hour)
                    .max_body_size(Some(1 << 20))
                    .respect_cache_control(true)
                    .build();
                // It requires `Sync` bodies, which axum's are not.
                let service = service_fn(move |request: Request| {
                    let page = whole.get(request.uri().path());
                    let response = Response::builder().header(CONTENT_TYPE, page.kind);
                    let response = response.header(CACHE_CONTROL, page.control).body(Full::from(page.body));
                    async { response }
                });
                let layers = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(cache);
                Router::new().fallback_service(layers.service(service))
            }
        };
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, router).await?)
    })
}

async fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
