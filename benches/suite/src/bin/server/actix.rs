//! actix-web: bare, behind Larder, behind its own `Compress`, and behind a cache in Redis.

use std::{net::SocketAddr, sync::Arc};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Route, http::header, middleware::Compress, web};
use larder_actix::CacheMiddleware;
use larder_compress::Compression;
use larder_core::CacheStore;
use larder_memory::MemoryStore;
use larder_redis::{RedisOptions, RedisStore};

use crate::Pages;

fn handler() -> Route {
    let pages = Pages::new();
    web::to(move |request: HttpRequest| {
        let page = pages.get(request.path());
        let response = HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, page.kind))
            .insert_header((header::CACHE_CONTROL, page.control))
            .body(page.body);
        async { response }
    })
}

/// Serves an application with one worker.
macro_rules! serve {
    ($address:expr, $app:expr) => {
        actix_rt::System::new().block_on(async move {
            let server = HttpServer::new($app).workers(1).bind($address)?;
            Ok(server.run().await?)
        })
    };
}

pub(crate) fn bare(address: SocketAddr) -> anyhow::Result<()> {
    serve!(address, || App::new().default_service(handler()))
}

pub(crate) fn compress(address: SocketAddr) -> anyhow::Result<()> {
    serve!(address, || App::new().wrap(Compress::default()).default_service(handler()))
}

fn cached(address: SocketAddr, store: Arc<dyn CacheStore>, compressed: bool) -> anyhow::Result<()> {
    let cache = CacheMiddleware::new(larder_core::Cache::builder(store).build());
    let cache = if compressed { cache.compress(Compression::default()) } else { cache };
    serve!(address, move || App::new().wrap(cache.clone()).default_service(handler()))
}

pub(crate) fn larder(address: SocketAddr, compressed: bool) -> anyhow::Result<()> {
    cached(address, Arc::new(MemoryStore::default()), compressed)
}

pub(crate) fn larder_redis(address: SocketAddr, redis: &str) -> anyhow::Result<()> {
    let redis = redis.to_owned();
    actix_rt::System::new().block_on(async move {
        let store = RedisStore::connect(&redis, RedisOptions::default()).await?;
        let cache = CacheMiddleware::new(larder_core::Cache::builder(Arc::new(store)).build());
        let server = HttpServer::new(move || App::new().wrap(cache.clone()).default_service(handler()));
        Ok(server.workers(1).bind(address)?.run().await?)
    })
}

pub(crate) fn request_reply(address: SocketAddr, redis: &str) -> anyhow::Result<()> {
    let redis = redis.to_owned();
    serve!(address, move || {
        let cache = actix_request_reply_cache::RedisCacheMiddlewareBuilder::new(&redis).ttl(3600).build();
        App::new().wrap(cache).default_service(handler())
    })
}
