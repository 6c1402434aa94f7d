//! The admin listener: purge, statistics and metrics, for the owner. On another port than the one that everybody reaches.
//!
//! Whoever has the token may do everything here; without one, whoever reaches the port, which is why it is then on loopback only.
//! A browser's page can send no purge: it would need a content type that browsers ask about first.

use std::sync::Arc;

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::Server, http::header, middleware::from_fn, web,
};
use anyhow::Context as _;
use larder::{
    core::{Cache, CacheGroup, TargetUri},
    metrics::Counters,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::{Shared, config};
use crate::store_url::UsageError;

/// What the admin's answers are made of.
pub(crate) struct Admin {
    pub(crate) cache: Cache,
    pub(crate) counters: Arc<Counters>,
    pub(crate) prometheus: PrometheusHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) begun: Instant,
    pub(crate) token: Option<String>,
}

/// What is to be purged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Purge {
    url: Option<String>,
    tag: Option<String>,
    of: Option<String>,
    prefix: Option<String>,
    all: bool,
    soft: bool,
}

/// The token, if there is one; without, only loopback will do.
pub(crate) fn token(admin: &config::Admin) -> anyhow::Result<Option<String>> {
    let Some(path) = &admin.token_file else {
        if admin.listen.ip().is_loopback() {
            return Ok(None);
        }
        let why = format!(
            "--admin {}: others can reach that address; give a token with --admin-token-file, or use 127.0.0.1",
            admin.listen
        );
        return Err(UsageError(why).into());
    };
    read_token(path).map(Some)
}

/// The token in a file.
pub(crate) fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let token = token.trim();
    if token.len() < 16 {
        let why =
            format!("{}: a token has 16 characters at least; e.g. openssl rand -hex 32", path.display());
        return Err(UsageError(why).into());
    }
    Ok(token.to_owned())
}

impl Admin {
    /// Listens, and says where.
    pub(crate) fn serve(
        self,
        listen: std::net::SocketAddr,
    ) -> anyhow::Result<(Server, std::net::SocketAddr)> {
        let data = web::Data::new(self);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::JsonConfig::default().limit(64 * 1024).error_handler(|error, _| {
                    let response = refusal(actix_web::http::StatusCode::BAD_REQUEST, &error.to_string());
                    actix_web::error::InternalError::from_response(error, response).into()
                }))
                .wrap(from_fn(authorised))
                .route("/purge", web::post().to(purge))
                .route("/stats", web::get().to(stats))
                .route("/metrics", web::get().to(prometheus))
                .default_service(web::to(|| async {
                    let what = "there are POST /purge, GET /stats and GET /metrics";
                    refusal(actix_web::http::StatusCode::NOT_FOUND, what)
                }))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .bind(listen)
            .with_context(|| format!("can't listen on {listen} for --admin; is it in use?"))?;
        let address = server.addrs().first().copied().context("it listens")?;
        Ok((server.run(), address))
    }
}

fn refusal(status: actix_web::http::StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": why }))
}

/// Lets those in who have the token.
async fn authorised(
    request: actix_web::dev::ServiceRequest,
    next: actix_web::middleware::Next<actix_web::body::BoxBody>,
) -> Result<actix_web::dev::ServiceResponse<actix_web::body::BoxBody>, actix_web::Error> {
    let admin = request.app_data::<web::Data<Admin>>().and_then(|admin| admin.token.clone());
    let Some(token) = admin else { return next.call(request).await };
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    if bool::from(given.ct_eq(token.as_bytes())) {
        return next.call(request).await;
    }
    let why = "the token is missing or wrong; send Authorization: Bearer TOKEN";
    let mut response = refusal(actix_web::http::StatusCode::UNAUTHORIZED, why);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Ok(request.into_response(response))
}

async fn purge(admin: web::Data<Admin>, what: web::Json<Purge>) -> HttpResponse {
    match admin.purge(&what).await {
        Ok(removed) => HttpResponse::Ok().json(removed),
        Err(error) if error.is::<UsageError>() => {
            refusal(actix_web::http::StatusCode::BAD_REQUEST, &error.to_string())
        }
        Err(error) => refusal(actix_web::http::StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
    }
}

impl Admin {
    async fn purge(&self, what: &Purge) -> anyhow::Result<serde_json::Value> {
        let usage = |why: String| anyhow::Error::from(UsageError(why));
        let chosen = [what.url.is_some(), what.tag.is_some(), what.prefix.is_some(), what.all];
        if chosen.iter().filter(|chosen| **chosen).count() != 1 {
            return Err(usage(
                "one of url, tag (with of), prefix or all says what is to be purged".to_owned(),
            ));
        }
        let target = |url: &str| {
            TargetUri::parse(url)
                .map_err(|error| usage(format!("{url}: {error}; e.g. https://example.com/page")))
        };
        if let Some(url) = &what.url {
            let target = target(url)?;
            if what.soft {
                self.cache.soft_purge(&target).await?
            } else {
                self.cache.purge(&target).await?
            }
            return Ok(serde_json::json!({ "purged": target.as_str(), "soft": what.soft }));
        }
        if let Some(tag) = &what.tag {
            let of = what
                .of
                .as_deref()
                .ok_or_else(|| usage("of says whose tag it is, e.g. https://example.com".to_owned()))?;
            let group = CacheGroup::new(target(of)?.origin(), tag);
            match what.soft {
                true => self.cache.soft_purge_group(&group).await?,
                false => self.cache.purge_group(&group).await?,
            }
            return Ok(serde_json::json!({ "purged": tag, "soft": what.soft }));
        }
        if what.soft {
            let prefix = what.prefix.as_deref().unwrap_or_default();
            self.cache.soft_purge_prefix(prefix).await?;
            return Ok(serde_json::json!({ "purged": if what.all { "all" } else { prefix }, "soft": true }));
        }
        if let Some(prefix) = &what.prefix {
            let removed = self.cache.purge_prefix(prefix).await?;
            return Ok(serde_json::json!({ "purged": prefix, "removed": removed }));
        }
        self.cache.purge_all().await?;
        Ok(serde_json::json!({ "purged": "all" }))
    }
}

async fn stats(admin: web::Data<Admin>) -> HttpResponse {
    let counts = admin.counters.counts();
    let requests: serde_json::Map<_, _> =
        counts.requests.iter().map(|(outcome, count)| (outcome.name().to_owned(), (*count).into())).collect();
    let origins = admin.shared.plan().health();
    let mut stores = Vec::new();
    for store in admin.shared.stores.each() {
        stores.push(crate::stats::of(store).await);
    }
    HttpResponse::Ok().json(serde_json::json!({
        "uptime_seconds": admin.begun.elapsed().as_secs(),
        "requests": requests,
        "stored": counts.stored,
        "not_stored": counts.not_stored,
        "broken_bodies": counts.broken,
        "store_failures": counts.store_failures,
        "stores": stores,
        "origins": origins.iter().map(|origin| {
            serde_json::json!({ "url": origin.name, "healthy": origin.healthy })
        }).collect::<Vec<_>>(),
    }))
}

async fn prometheus(admin: web::Data<Admin>, _request: HttpRequest) -> HttpResponse {
    for origin in admin.shared.plan().health() {
        let up = if origin.healthy { 1.0 } else { 0.0 };
        metrics::gauge!("larder_origin_healthy", "origin" => origin.name).set(up);
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(admin.prometheus.render())
}
