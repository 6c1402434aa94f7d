//! Builds the routes of the proxy from its configuration, and runs the health checks.
//!
//! All workers share the health of the origins, which exists once. Each worker has its own
//! connections, so it builds its own origins.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri, header::ACCEPT_LANGUAGE};
use larder::{
    compress::Compression,
    core::{
        Origin, OverrideFn, Overrides, TargetError,
        adapter::{ContentInKey, FieldNormalization, InvalidNormalization, KeyRules, PurgePrefix, PurgeUrl},
        policy::ClientDirectives,
    },
    origin::{
        Balance, ClientCertificate, Failover, FailoverOptions, HeaderRewrite, HeaderRules, Health,
        HealthCheck, HyperOptions, HyperOrigin, OriginHealth, TrustedRoots,
    },
    proxy::Route,
};
use tokio::task::JoinSet;

use super::config::{self, Config};
use crate::store_url::UsageError;

/// Default of `origin_timeout`: longest time until an origin sends the head of a response.
pub(crate) const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Placeholder host in the URI of health checks, for routes that match more than one host.
const HEALTH_HOST: &str = "health.invalid";

/// The routes of a configuration that has been validated. Building them cannot fail.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<ValidatedRoute>,
}

/// One route. Its origins are options from which each worker builds its own.
#[derive(Debug)]
struct ValidatedRoute {
    host: Option<String>,
    prefix: String,
    origins: Vec<HyperOptions>,
    health: Arc<Health>,
    check: Option<HealthCheck>,
    failover: FailoverOptions,
    request: HeaderRules,
    response: HeaderRules,
    overrides: Overrides,
    key_rules: KeyRules,
    max_object: Option<u64>,
    compress: Option<Arc<Compression>>,
    client_directives: Option<ClientDirectives>,
    normalization: FieldNormalization,
}

impl RouteTable {
    /// Validates the routes of a configuration. All their errors occur here.
    pub(crate) fn new(config: &Config) -> Result<Self, UsageError> {
        let compression = Arc::new(Compression::default());
        let routes = config.route.iter().enumerate().map(|(index, route)| {
            let compress = route.compress.unwrap_or(config.compress).then(|| Arc::clone(&compression));
            let validated = ValidatedRoute::new(route, compress).map(|route| ValidatedRoute {
                client_directives: route.client_directives.or(config.client_directives.map(Into::into)),
                ..route
            });
            validated.map_err(|error| match config.route.len() {
                1 => error,
                _ => UsageError(format!("route {} ({}): {error}", index + 1, route.prefix)),
            })
        });
        Ok(Self { routes: routes.collect::<Result<_, _>>()? })
    }

    /// Returns the longest time that a request may take at any route's origins, with all retries.
    pub(crate) fn max_origin_timeout(&self) -> Duration {
        let timeouts = self.routes.iter().map(|route| {
            let attempt = route
                .origins
                .iter()
                .map(|origin| origin.head_timeout)
                .max()
                .unwrap_or(DEFAULT_ORIGIN_TIMEOUT);
            attempt * (route.failover.retries + 1)
        });
        timeouts.max().unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// Returns the longest pause within a response body that any route's origins may make. The
    /// origin of each route has its own limit.
    pub(crate) fn max_body_timeout(&self) -> Duration {
        let origins = self.routes.iter().flat_map(|route| &route.origins);
        let timeouts = origins.map(|origin| origin.body_timeout.max(origin.event_timeout));
        timeouts.max().unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// Returns what a purge of a URL concerns.
    ///
    /// The URL is that of the client. Which route it belongs to makes a difference only for the
    /// key, so what each route would store is purged.
    pub(crate) fn purge_of_url(&self, url: &str) -> Result<PurgeUrl, TargetError> {
        let mut purge = PurgeUrl::parse(url, &KeyRules::default())?;
        for route in &self.routes {
            purge = purge.and(PurgeUrl::parse(url, &route.key_rules)?);
        }
        Ok(purge)
    }

    /// Returns what a purge by prefix concerns.
    pub(crate) fn purge_of_prefix(&self, prefix: &str) -> Result<PurgePrefix, TargetError> {
        let below = PurgePrefix::parse(prefix)?;
        let has_forms = self.routes.iter().any(|route| route.key_rules.has_parts());
        Ok(if has_forms { below.and_forms() } else { below })
    }

    /// Builds the routes, with origins for the worker that calls this.
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.routes.iter().map(ValidatedRoute::route).collect()
    }

    /// Starts the health checks. They stop when the returned set is dropped.
    pub(crate) fn start_health_checks(&self) -> JoinSet<()> {
        let mut checks = JoinSet::new();
        for route in &self.routes {
            let Some(check) = &route.check else { continue };
            for (index, origin) in route.origins.iter().enumerate() {
                let mut origin = origin.clone();
                // The Host header is the route's host, or else the origin's own name.
                origin.origin_host |= check.uri.host() == Some(HEALTH_HOST);
                checks.spawn_local(Arc::clone(&route.health).watch(index, hyper(&origin), check.clone()));
            }
        }
        checks
    }

    /// Returns the health of every origin.
    pub(crate) fn health(&self) -> Vec<OriginHealth> {
        self.routes.iter().flat_map(|route| route.health.report()).collect()
    }
}

impl ValidatedRoute {
    /// Validates a route.
    fn new(route: &config::Route, compress: Option<Arc<Compression>>) -> Result<Self, UsageError> {
        if !route.prefix.starts_with('/') {
            return Err(UsageError(format!("prefix '{}' does not start with /", route.prefix)));
        }
        if route.origins.is_empty() {
            let message = "origins is empty; e.g. origins = [\"http://127.0.0.1:3000\"]";
            return Err(UsageError(message.to_owned()));
        }
        let origins = route.origins.iter().map(|url| origin(url, route)).collect::<Result<Vec<_>, _>>()?;
        let balance = match route.balance {
            config::Balance::First => Balance::First,
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastConnections => Balance::LeastConnections,
        };
        let failover = FailoverOptions::default()
            .with_retries(route.retries)
            .with_balance(balance)
            .with_weights(weights(route)?);
        Ok(Self {
            host: route.host.clone(),
            prefix: route.prefix.clone(),
            health: Health::new(route.origins.iter().map(String::as_str)),
            origins,
            check: route.health.as_ref().map(|health| check(health, route.host.as_deref())).transpose()?,
            failover,
            request: header_rules(&route.request_headers)?,
            response: header_rules(&route.response_headers)?,
            overrides: overrides(route)?,
            key_rules: key_rules(route)?,
            max_object: route.max_object.map(|size| size.0),
            compress,
            client_directives: route.client_directives.map(ClientDirectives::from),
            normalization: normalization(route)?,
        })
    }

    /// Builds the route.
    fn route(&self) -> Route {
        let mut origin = match &*self.origins {
            // Without retries and checks, one origin needs no failover.
            [only] if self.failover.retries == 0 && self.check.is_none() => hyper(only),
            origins => {
                let origins = origins.iter().map(hyper).collect();
                Arc::new(Failover::new(origins, Arc::clone(&self.health), self.failover.clone())) as _
            }
        };
        if !(self.request.is_empty() && self.response.is_empty()) {
            origin = Arc::new(HeaderRewrite::new(origin, self.request.clone(), self.response.clone()));
        }
        let mut route = Route::to(origin).prefix(&self.prefix).key_rules(self.key_rules.clone());
        if let Some(host) = &self.host {
            route = route.host(host);
        }
        if self.overrides != Overrides::default() {
            route = route.overrides(OverrideFn::always(self.overrides.clone()));
        }
        if let Some(bytes) = self.max_object {
            route = route.max_object(bytes);
        }
        if let Some(directives) = self.client_directives {
            route = route.client_directives(directives);
        }
        route = route.normalize(self.normalization.clone());
        match &self.compress {
            Some(compression) => route.compress(Arc::clone(compression)),
            None => route,
        }
    }
}

/// Builds an origin from validated options.
fn hyper(options: &HyperOptions) -> Arc<dyn Origin> {
    Arc::new(HyperOrigin::new(options.clone()).expect("the options were validated by building an origin"))
}

/// Validates the weights of a route's origins.
fn weights(route: &config::Route) -> Result<Vec<u32>, UsageError> {
    let (weights, origins) = (&route.weights, route.origins.len());
    if !weights.is_empty() && weights.len() != origins {
        let count = weights.len();
        return Err(UsageError(format!("weights has {count} numbers for {origins} origin(s)")));
    }
    if let Some(weight) = weights.iter().find(|weight| !(1..=100).contains(*weight)) {
        return Err(UsageError(format!("weights: {weight}: a weight is a number from 1 to 100")));
    }
    Ok(weights.clone())
}

/// Reads a file that a key of a route names.
fn read(key: &str, path: &std::path::Path) -> Result<Vec<u8>, UsageError> {
    std::fs::read(path).map_err(|error| UsageError(format!("can't read {key} {}: {error}", path.display())))
}

/// Validates one origin of a route.
fn origin(url: &str, route: &config::Route) -> Result<HyperOptions, UsageError> {
    let invalid = |error: &dyn std::fmt::Display| UsageError(format!("origin {url}: {error}"));
    let mut options = HyperOptions::to(url)
        .map_err(|error| invalid(&error))?
        .with_origin_host(route.origin_host)
        .with_http2_only(route.origin_http2)
        .with_head_timeout(route.origin_timeout.map_or(DEFAULT_ORIGIN_TIMEOUT, |time| time.0));
    let time = |time: Option<config::Time>, default| time.map_or(default, |time| time.0);
    options.connect_timeout = time(route.origin_connect_timeout, options.connect_timeout);
    options.body_timeout = time(route.origin_body_timeout, options.body_timeout);
    options.event_timeout = time(route.origin_event_timeout, options.event_timeout);
    options.total_timeout = route.origin_total_timeout.map(|time| time.0);
    options.max_connections = route.origin_connections.unwrap_or(options.max_connections);
    options.max_waiting = route.origin_waiting.unwrap_or(options.max_waiting);
    options.trusted_roots = match route.origin_roots {
        config::Roots::Mozilla => TrustedRoots::Mozilla,
        config::Roots::System => TrustedRoots::System,
        config::Roots::None => TrustedRoots::OnlyConfigured,
    };
    if options.trusted_roots == TrustedRoots::OnlyConfigured && route.origin_ca.is_none() {
        return Err(invalid(&"origin_roots = \"none\" needs origin_ca"));
    }
    if let Some(path) = &route.origin_ca {
        options.root_certificates = read("origin_ca", path)?;
    }
    options.client_certificate = match (&route.origin_cert, &route.origin_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            Some(ClientCertificate::new(read("origin_cert", cert)?, read("origin_key", key)?))
        }
        _ => return Err(UsageError("origin_cert and origin_key need each other".to_owned())),
    };
    HyperOrigin::new(options.clone()).map_err(|error| invalid(&error))?;
    Ok(options)
}

/// Validates the health check of a route.
fn check(health: &config::Health, host: Option<&str>) -> Result<HealthCheck, UsageError> {
    let mut check = HealthCheck::default();
    let host = host.filter(|host| !host.starts_with('*')).unwrap_or(HEALTH_HOST);
    check.uri = format!("http://{host}{}", health.path)
        .parse::<Uri>()
        .ok()
        .filter(|_| health.path.starts_with('/'))
        .ok_or_else(|| {
            UsageError(format!("health.path '{}' is not a path; e.g. \"/healthz\"", health.path))
        })?;
    check.interval = health.every.map_or(check.interval, |time| time.0);
    check.timeout = health.timeout.map_or(check.timeout, |time| time.0);
    check.unhealthy_after = health.unhealthy_after.unwrap_or(check.unhealthy_after);
    check.healthy_after = health.healthy_after.unwrap_or(check.healthy_after);
    Ok(check)
}

/// Parses the name of a header.
fn header_name(name: &str) -> Result<HeaderName, UsageError> {
    name.parse().map_err(|_| UsageError(format!("'{name}' is not a valid header name")))
}

/// Validates the header rules of a route.
fn header_rules(headers: &config::Headers) -> Result<HeaderRules, UsageError> {
    let set = headers.set.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value)
            .map_err(|_| UsageError(format!("the value of '{name}' is not a valid header value")));
        Ok((header_name(name)?, value?))
    });
    let remove = headers.remove.iter().map(|name| header_name(name)).collect::<Result<Vec<_>, _>>()?;
    let set = set.collect::<Result<Vec<_>, UsageError>>()?;
    Ok(HeaderRules::default().with_remove(remove).with_set(set))
}

/// Validates what is part of the keys of a route.
fn key_rules(route: &config::Route) -> Result<KeyRules, UsageError> {
    let config::Key { headers, cookies, content, post } = &route.key;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if let Some(name) = cookies.iter().find(|name| name.is_empty() || !name.bytes().all(is_token)) {
        return Err(UsageError(format!("'{name}' is not a valid cookie name")));
    }
    let headers = headers.iter().map(|name| header_name(name)).collect::<Result<Vec<_>, _>>()?;
    let rules = KeyRules::default()
        .with_ignored_query(route.ignore_query.iter().cloned())
        .with_headers(headers)
        .with_cookies(cookies.iter().cloned());
    let Some(limit) = content else {
        let message = "key.post needs key.content, e.g. content = \"64KiB\"";
        return if *post { Err(UsageError(message.to_owned())) } else { Ok(rules) };
    };
    let limit = usize::try_from(limit.0).unwrap_or(usize::MAX);
    Ok(rules.with_content(ContentInKey::default().with_max_length(limit).with_post(*post)))
}

/// Collects the request headers of a route that are replaced by a normal form.
fn normalization(route: &config::Route) -> Result<FieldNormalization, UsageError> {
    let invalid = |error: InvalidNormalization| UsageError(error.to_string());
    let mut normalization = FieldNormalization::default();
    if !route.languages.is_empty() {
        normalization = normalization.with_languages(&route.languages).map_err(invalid)?;
    }
    for (name, values) in &route.normalize {
        if !route.languages.is_empty() && name.eq_ignore_ascii_case(ACCEPT_LANGUAGE.as_str()) {
            return Err(UsageError(format!("{name}: set languages or normalize, not both")));
        }
        normalization = normalization.with_values(name, values).map_err(invalid)?;
    }
    Ok(normalization)
}

/// Collects the caching rules of a route.
fn overrides(route: &config::Route) -> Result<Overrides, UsageError> {
    let mut overrides = Overrides::default();
    overrides.no_store = !route.cache;
    overrides.freshness = route.freshness.map(|time| time.0);
    overrides.default_freshness = route.default_freshness.map(|time| time.0);
    overrides.stale_while_revalidate = route.stale_while_revalidate.map(|time| time.0);
    overrides.stale_if_error = route.stale_if_error.map(|time| time.0);
    overrides.vary = route.vary.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
    overrides.groups = route.groups.iter().map(|group| group.as_str().into()).collect();
    Ok(overrides)
}
