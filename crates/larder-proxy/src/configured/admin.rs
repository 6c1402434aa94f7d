//! The admin listener: `POST /purge`, `GET /stats` and `GET /metrics`, on a port separate from the
//! proxy's.
//!
//! With a token, every request must send it. Without one, anyone who reaches the port may do
//! everything, so the listener must then be on loopback. A web page in a browser cannot purge:
//! requests of pages of other sites are rejected, and a purge has the content type
//! `application/json`, for which browsers first send a CORS preflight request that fails, or that
//! of `curl -d`, for which they send an `Origin`.

use std::{convert::Infallible, net::TcpListener, path::Path, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use larder_core::{Cache, CacheGroup, Purged, Scope, StoreError, TargetUri};
use larder_metrics::Counters;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    certificate::Certificate,
    metrics_text::{expiry_metrics, health_metrics, unconfirmed_metrics},
    shared::{MetricsText, Shared, StoreStats},
};
use crate::config::{AdminConfig, ConfigError};

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Longest time for the head of a request, and for its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a whole exchange. A purge may have to examine every stored entry.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(300);

/// Maximum number of connections. Others wait until one is closed.
const MAX_CONNECTIONS: usize = 64;

/// The state of the admin listener.
pub(super) struct Admin {
    pub(super) cache: Cache,
    pub(super) counters: Arc<Counters>,
    pub(super) metrics: Option<MetricsText>,
    pub(super) store_stats: Option<StoreStats>,
    pub(super) shared: Arc<Shared>,
    /// The certificates of all listeners.
    pub(super) certificates: Vec<Certificate>,
    pub(super) started: Instant,
    pub(super) token: Option<String>,
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
pub(super) fn token(admin: &AdminConfig) -> Result<Option<String>, ConfigError> {
    let Some(path) = &admin.token_file else {
        if admin.listen.ip().is_loopback() {
            return Ok(None);
        }
        let message = format!(
            "other machines can reach {}; set token_file (--admin-token-file), or listen on 127.0.0.1",
            admin.listen
        );
        return Err(ConfigError::new("listen", message));
    };
    admin_token(path).map(Some).map_err(|error| error.within("token_file"))
}

/// Reads the token of an admin listener from a file. White space at its ends is ignored.
///
/// ```no_run
/// let token = larder_proxy::admin_token("/etc/larder/token".as_ref())?;
/// # Ok::<(), larder_proxy::ConfigError>(())
/// ```
///
/// # Errors
///
/// Returns a [`ConfigError`] if the file cannot be read, or if the token has fewer than 16
/// characters.
pub fn admin_token(path: &Path) -> Result<String, ConfigError> {
    let name = path.display();
    let token = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::io("", format!("can't read the admin token file {name}: {error}")))?;
    let token = token.trim();
    if token.len() < 16 {
        let message = format!(
            "{name}: the admin token must have at least 16 characters; create one with `openssl rand -hex 32`"
        );
        return Err(ConfigError::new("", message));
    }
    Ok(token.to_owned())
}

/// The reason why a purge is not done.
enum PurgeFailure {
    /// The request is invalid.
    Invalid(String),
    /// The store cannot confirm the purge.
    Failed(StoreError),
}

impl From<StoreError> for PurgeFailure {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Admin {
    /// Answers a request.
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(rejection) = self.reject(request.headers()) {
            return rejection;
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/purge") => self.post_purge(request).await,
            (&Method::GET, "/stats") => json(StatusCode::OK, &self.stats().await),
            (&Method::GET, "/metrics") => self.metrics(),
            (_, "/purge" | "/stats" | "/metrics") => {
                error(StatusCode::METHOD_NOT_ALLOWED, "use POST for /purge, and GET for /stats and /metrics")
            }
            _ => {
                error(StatusCode::NOT_FOUND, "not found; there are POST /purge, GET /stats and GET /metrics")
            }
        }
    }

    /// Rejects requests without the token, if there is one. The comparison takes constant time.
    fn reject(&self, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let Some(token) = &self.token else {
            return foreign_page(headers).map(|why| error(StatusCode::FORBIDDEN, why));
        };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        if bool::from(given.ct_eq(token.as_bytes())) {
            return None;
        }
        let message = "the admin token is missing or wrong; send Authorization: Bearer TOKEN";
        let mut response = error(StatusCode::UNAUTHORIZED, message);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(response)
    }

    /// Answers `POST /purge`.
    async fn post_purge(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let purge = match read_json(request).await {
            Ok(purge) => purge,
            Err(message) => return error(StatusCode::BAD_REQUEST, &message),
        };
        match self.purge(&purge).await {
            Ok(result) => json(StatusCode::OK, &result),
            Err(PurgeFailure::Invalid(message)) => error(StatusCode::BAD_REQUEST, &message),
            Err(PurgeFailure::Failed(failed)) => {
                // With its causes.
                error(StatusCode::SERVICE_UNAVAILABLE, &format!("{failed:?}"))
            }
        }
    }

    /// Returns the body of the response to `GET /stats`.
    async fn stats(&self) -> serde_json::Value {
        let counts = self.counters.counts();
        let requests = counts.requests.iter();
        let requests: serde_json::Map<_, _> =
            requests.map(|(outcome, count)| (outcome.name().to_owned(), (*count).into())).collect();
        let origins = self.shared.current().table.health();
        let stores = match &self.store_stats {
            Some(stats) => serde_json::from_str(&stats().await).unwrap_or_default(),
            None => serde_json::Value::Null,
        };
        serde_json::json!({
            "uptime_seconds": self.started.elapsed().as_secs(),
            "requests": requests,
            "stored": counts.stored,
            "not_stored": counts.not_stored,
            "variants_evicted": counts.variants_evicted,
            "broken_bodies": counts.broken,
            "store_failures": counts.store_failures,
            "unconfirmed_removals": self.cache.unconfirmed_removals(),
            "stores": stores,
            "origins": origins.iter().map(|origin| {
                serde_json::json!({ "url": origin.name, "healthy": origin.healthy })
            }).collect::<Vec<_>>(),
        })
    }

    /// Answers `GET /metrics`: the metrics of the program, the number of unconfirmed removals, the
    /// health of the current origins, and the end of each certificate.
    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut text = self.metrics.as_ref().map(|render| render()).unwrap_or_default();
        text.push_str(&unconfirmed_metrics(self.cache.unconfirmed_removals()));
        text.push_str(&health_metrics(&self.shared.current().table.health()));
        text.push_str(&expiry_metrics(&self.certificates));
        response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    /// Purges, and returns the body of the response.
    async fn purge(&self, request: &Purge) -> Result<serde_json::Value, PurgeFailure> {
        let usage = PurgeFailure::Invalid;
        let chosen = [request.url.is_some(), request.tag.is_some(), request.prefix.is_some(), request.all];
        if chosen.iter().filter(|chosen| **chosen).count() != 1 {
            return Err(usage("set exactly one of url, tag (with of), prefix and all".to_owned()));
        }
        let target = |url: &str| {
            TargetUri::parse(url)
                .map_err(|error| usage(format!("{url}: {error}; e.g. https://example.com/page")))
        };
        let (cache, is_soft) = (&self.cache, request.soft);
        if let Some(url) = &request.url {
            let name = target(url)?;
            let purge = self.shared.current().table.purge_of_url(url);
            let purge = purge.map_err(|error| usage(format!("{url}: {error}")))?;
            let purged = if is_soft { purge.soft_purge(cache).await } else { purge.purge(cache).await };
            return Ok(answer(name.as_str(), is_soft, purged?));
        }
        let purge = async |scope: Scope<'_>| {
            if is_soft { cache.soft_purge(scope).await } else { cache.purge(scope).await }
        };
        if let Some(tag) = &request.tag {
            let group = match request.of.as_deref() {
                Some(of) => CacheGroup::new(target(of)?.origin(), tag),
                None if self.cache.rules().tag_fields.is_empty() => {
                    let message = "tag needs of, the origin of the group, e.g. https://example.com; without it, \
                                   it is one of the fields in tag_fields, and none is configured";
                    return Err(usage(message.to_owned()));
                }
                None => CacheGroup::tag(tag),
            };
            return Ok(answer(tag, is_soft, purge(Scope::Group(&group)).await?));
        }
        let Some(prefix) = &request.prefix else {
            return Ok(answer("all", is_soft, purge(Scope::All).await?));
        };
        let below = (self.shared.current().table.purge_of_prefix(prefix))
            .map_err(|error| usage(format!("{prefix}: {error}; e.g. https://example.com/news/")))?;
        let purged = if is_soft { below.soft_purge(cache).await } else { below.purge(cache).await }?;
        let mut body = answer(prefix, is_soft, purged);
        if let Some(removed) = purged.entries.filter(|_| !is_soft) {
            body["removed"] = removed.into();
        }
        Ok(body)
    }
}

/// Returns the body of the response to a purge, with the number of entries if the store knows it.
fn answer(name: &str, is_soft: bool, purged: Purged) -> serde_json::Value {
    let mut body = serde_json::json!({ "purged": name, "soft": is_soft });
    let nodes = purged.acknowledged + purged.unacknowledged;
    let members = [
        ("acknowledged", (nodes > 0).then_some(purged.acknowledged)),
        ("unacknowledged", (nodes > 0).then_some(purged.unacknowledged)),
        ("entries", purged.entries),
        ("near_entries", purged.near),
        ("far_entries", purged.far),
    ];
    for (name, number) in members {
        if let Some(number) = number {
            body[name] = number.into();
        }
    }
    body
}

/// Serves requests over HTTP/1.1, one for each connection, until the future is dropped.
pub(super) async fn serve(admin: Admin, listener: TcpListener, end: impl Future<Output = ()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener has failed"),
    };
    let (admin, connections) = (Arc::new(admin), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    // Closes the connections when it is dropped.
    let mut tasks = JoinSet::new();
    let mut end = pin!(end);
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = &mut end => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tasks.spawn(async move {
            let service = service_fn(|request| async { Ok::<_, Infallible>(admin.handle(request).await) });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).keep_alive(false);
            // A client that has left needs no response.
            let _ = timeout(EXCHANGE_TIMEOUT, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(permit);
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Reads the body of a purge. The error states what is wrong with it.
async fn read_json(request: Request<Incoming>) -> Result<Purge, String> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    // The second is that of `curl -d`. A page of another site can also send it, but not without an
    // `Origin`, and not with a token.
    let is_allowed = |allowed: &&str| kind.eq_ignore_ascii_case(allowed);
    if !["application/json", "application/x-www-form-urlencoded"].iter().any(is_allowed) {
        return Err("Content-Type must be application/json".to_owned());
    }
    let body = timeout(REQUEST_TIMEOUT, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let body = body.map_err(|_| format!("the body did not arrive within {REQUEST_TIMEOUT:?}"))?;
    let body = body.map_err(|error| format!("can't read the body: {error}"))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("the body is not a purge: {error}"))
}

/// Creates a response with the message as `error`.
fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "error": message }))
}

/// Creates a response of JSON.
fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    response(status, "application/json", value.to_string())
}

/// Creates a response of this content type.
fn response(status: StatusCode, kind: &'static str, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(content));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Returns why a request to a listener without a token is rejected: a page of another site in a
/// browser has sent it.
///
/// Any site can let its name resolve to this machine (DNS rebinding). Its pages then have that name
/// in `Host`, so only addresses and `localhost` are accepted there. A page of another origin has
/// that origin in `Origin`.
fn foreign_page(headers: &HeaderMap) -> Option<&'static str> {
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
