//! axum: bare, and behind each cache for tower.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::IntoResponse,
    routing::any,
};
use larder_memory::MemoryStore;
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
                let manager = http_cache_server::MokaManager::default();
                router.layer(http_cache_tower_server::ServerCacheLayer::new(manager))
            }
            Layered::ResponseCache => router.layer(axum_response_cache::CacheLayer::with_lifespan(hour)),
            Layered::TowerHttpCache => {
                let backend = InMemoryBackend::new(10_000);
                let cache = tower_http_cache::prelude::CacheLayer::builder(backend)
                    .ttl(hour)
                    .max_body_size(Some(1 << 20))
                    .respect_cache_control(true)
                    .build();
                router.layer(cache)
            }
        };
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, router).await?)
    })
}
