//! The admin listener: `POST /purge`, `GET /stats` and `GET /metrics`, on a port separate from the
//! proxy's.
//!
//! With a token, every request must send it. Without one, anyone who reaches the port may do
//! everything, so the listener must then be on loopback. A web page in a browser cannot purge: a
//! purge has the content type `application/json`, for which browsers first send a CORS preflight
//! request, and that fails.

use std::sync::Arc;

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::Server, http::header, middleware::from_fn, web,
};
use anyhow::Context as _;
use larder::{
    core::{Cache, CacheGroup, Scope, TargetUri},
    metrics::Counters,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::{config, shared::Shared};
use crate::store_url::UsageError;

/// The state of the admin listener.
pub(crate) struct Admin {
    pub(crate) cache: Cache,
    pub(crate) counters: Arc<Counters>,
    pub(crate) prometheus: PrometheusHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) started: Instant,
    pub(crate) token: Option<String>,
}

/// The body of `POST /purge`. Exactly one of `url`, `tag`, `prefix` and `all` is set.
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

/// Reads the token of the admin listener. Without a token file, an address other than loopback is
/// an error.
pub(crate) fn token(admin: &config::Admin) -> anyhow::Result<Option<String>> {
    let Some(path) = &admin.token_file else {
        if admin.listen.ip().is_loopback() {
            return Ok(None);
        }
        let why = format!(
            "admin listener {}: other machines can reach this address; set --admin-token-file (in the \
             configuration file: token_file), or listen on 127.0.0.1",
            admin.listen
        );
        return Err(UsageError(why).into());
    };
    read_token(path).map(Some)
}

/// Reads a token from a file. A token of fewer than 16 characters is an error.
pub(crate) fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    let token = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the admin token file {}", path.display()))?;
    let token = token.trim();
    if token.len() < 16 {
        let why = format!(
            "{}: the admin token must have at least 16 characters; create one with `openssl rand -hex 32`",
            path.display()
        );
        return Err(UsageError(why).into());
    }
    Ok(token.to_owned())
}

impl Admin {
    /// Binds the listener. Returns the server, and the address that it is bound to.
    pub(crate) fn serve(
        self,
        listen: std::net::SocketAddr,
    ) -> anyhow::Result<(Server, std::net::SocketAddr)> {
        let data = web::Data::new(self);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::JsonConfig::default().limit(64 * 1024).error_handler(|error, _| {
                    let response =
                        error_response(actix_web::http::StatusCode::BAD_REQUEST, &error.to_string());
                    actix_web::error::InternalError::from_response(error, response).into()
                }))
                .wrap(from_fn(require_token))
                .route("/purge", web::post().to(purge))
                .route("/stats", web::get().to(stats))
                .route("/metrics", web::get().to(prometheus))
                .default_service(web::to(|| async {
                    let message = "not found; there are POST /purge, GET /stats and GET /metrics";
                    error_response(actix_web::http::StatusCode::NOT_FOUND, message)
                }))
        });
        let server = server.workers(1).disable_signals().bind(listen).with_context(|| {
            format!("can't listen on {listen} for the admin listener (try another port with --admin)")
        })?;
        let address = server.addrs().first().copied().context("the admin listener has no address")?;
        Ok((server.run(), address))
    }
}

/// Creates a response with the message as `error`.
fn error_response(status: actix_web::http::StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": message }))
}

/// Rejects requests without the token, if there is one. The comparison takes constant time.
async fn require_token(
    request: actix_web::dev::ServiceRequest,
    next: actix_web::middleware::Next<actix_web::body::BoxBody>,
) -> Result<actix_web::dev::ServiceResponse<actix_web::body::BoxBody>, actix_web::Error> {
    let admin = request.app_data::<web::Data<Admin>>().and_then(|admin| admin.token.clone());
    let Some(token) = admin else {
        if let Some(why) = foreign_page(request.headers()) {
            return Ok(request.into_response(error_response(actix_web::http::StatusCode::FORBIDDEN, why)));
        }
        return next.call(request).await;
    };
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    if bool::from(given.ct_eq(token.as_bytes())) {
        return next.call(request).await;
    }
    let message = "the admin token is missing or wrong; send Authorization: Bearer TOKEN";
    let mut response = error_response(actix_web::http::StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Ok(request.into_response(response))
}

/// Returns why a request to a listener without a token is rejected: a page of another site in a
/// browser has sent it.
///
/// Any site can let its name resolve to this machine (DNS rebinding). Its pages then have that name
/// in `Host`, so only addresses and `localhost` are accepted there. A page of another origin has
/// that origin in `Origin`.
fn foreign_page(headers: &header::HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    if !name.eq_ignore_ascii_case("localhost") && name.parse::<std::net::IpAddr>().is_err() {
        return Some("Host must be an address or localhost; set --admin-token-file to use another name");
    }
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| authority == host);
    if headers.contains_key(header::ORIGIN) && !text(header::ORIGIN).is_some_and(own) {
        return Some("a page of another origin has sent this request");
    }
    None
}

/// Answers `POST /purge`.
async fn purge(admin: web::Data<Admin>, request: web::Json<Purge>) -> HttpResponse {
    match admin.purge(&request).await {
        Ok(result) => HttpResponse::Ok().json(result),
        Err(error) if error.is::<UsageError>() => {
            error_response(actix_web::http::StatusCode::BAD_REQUEST, &error.to_string())
        }
        Err(error) => error_response(actix_web::http::StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
    }
}

impl Admin {
    /// Purges, and returns the body of the response. An invalid request is a [`UsageError`].
    async fn purge(&self, request: &Purge) -> anyhow::Result<serde_json::Value> {
        let usage = |message: String| anyhow::Error::from(UsageError(message));
        let chosen = [request.url.is_some(), request.tag.is_some(), request.prefix.is_some(), request.all];
        if chosen.iter().filter(|chosen| **chosen).count() != 1 {
            return Err(usage("set exactly one of url, tag (with of), prefix and all".to_owned()));
        }
        let target = |url: &str| {
            TargetUri::parse(url)
                .map_err(|error| usage(format!("{url}: {error}; e.g. https://example.com/page")))
        };
        if let Some(url) = &request.url {
            let name = target(url)?;
            let purge = self.shared.route_table().purge_of_url(url)?;
            return self.purge_scopes(&purge.scopes(), name.as_str(), request.soft).await;
        }
        if let Some(tag) = &request.tag {
            let of = request.of.as_deref().ok_or_else(|| {
                usage("tag needs of, the origin of the group, e.g. https://example.com".to_owned())
            })?;
            let group = CacheGroup::new(target(of)?.origin(), tag);
            return self.purge_scopes(&[Scope::Group(&group)], tag, request.soft).await;
        }
        match &request.prefix {
            Some(prefix) => {
                let below = (self.shared.route_table().purge_of_prefix(prefix))
                    .map_err(|error| usage(format!("{prefix}: {error}; e.g. https://example.com/news/")))?;
                self.purge_scopes(&below.scopes(), prefix, request.soft).await
            }
            None => self.purge_scopes(&[Scope::All], "all", request.soft).await,
        }
    }

    /// Purges scopes, and returns the body of the response, with the number of entries if the
    /// store knows it.
    async fn purge_scopes(
        &self,
        scopes: &[Scope<'_>],
        name: &str,
        is_soft: bool,
    ) -> anyhow::Result<serde_json::Value> {
        let mut entries = Some(0);
        for scope in scopes {
            let purged =
                if is_soft { self.cache.soft_purge(*scope).await? } else { self.cache.purge(*scope).await? };
            entries = entries.zip(purged).map(|(sum, purged)| sum + purged);
        }
        let mut body = serde_json::json!({ "purged": name, "soft": is_soft });
        if let Some(entries) = entries {
            body["entries"] = entries.into();
            if matches!(scopes, [.., Scope::Prefix(_)]) && !is_soft {
                body["removed"] = entries.into();
            }
        }
        Ok(body)
    }
}

/// Answers `GET /stats`.
async fn stats(admin: web::Data<Admin>) -> HttpResponse {
    let counts = admin.counters.counts();
    let requests: serde_json::Map<_, _> =
        counts.requests.iter().map(|(outcome, count)| (outcome.name().to_owned(), (*count).into())).collect();
    let origins = admin.shared.route_table().health();
    let mut stores = Vec::new();
    for store in admin.shared.stores.iter() {
        stores.push(crate::stats::store_json(store).await);
    }
    HttpResponse::Ok().json(serde_json::json!({
        "uptime_seconds": admin.started.elapsed().as_secs(),
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

/// Answers `GET /metrics`.
async fn prometheus(admin: web::Data<Admin>, _request: HttpRequest) -> HttpResponse {
    for origin in admin.shared.route_table().health() {
        let up = if origin.healthy { 1.0 } else { 0.0 };
        metrics::gauge!("larder_origin_healthy", "origin" => origin.name).set(up);
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(admin.prometheus.render())
}
