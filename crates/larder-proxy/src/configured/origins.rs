//! Builds the routes of the proxy from its configuration, and runs the health checks.
//!
//! All workers share the health of the origins, which exists once. Each worker has its own
//! connections, so it builds its own origins.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "compress")]
use larder_compress::Compression;
use larder_core::{
    Origin, OverrideFn, Overrides, RangeOptions, TargetError,
    adapter::{FieldNormalization, KeyRules, PurgePrefix, PurgeUrl},
    policy::ClientDirectives,
};
use larder_origin::{
    Failover, FailoverOptions, HeaderRewrite, HeaderRules, Health, HealthCheck, HyperOptions, HyperOrigin,
    OriginHealth, UrlRewrite,
};
use tokio::task::JoinSet;

use super::{
    validate::{self, DEFAULT_ORIGIN_TIMEOUT, HEALTH_HOST},
    when,
};
use crate::{
    Route, RouteRule,
    config::{Config, ConfigError, RouteConfig},
    rules::have_forms,
};

/// The routes of a configuration that has been validated. Building them cannot fail.
#[derive(Debug)]
pub(super) struct RouteTable {
    routes: Vec<ValidatedRoute>,
}

/// One route. Its origins are options from which each worker builds its own.
#[derive(Debug)]
struct ValidatedRoute {
    host: Option<String>,
    prefix: String,
    origins: Vec<HyperOptions>,
    map_back: bool,
    health: Arc<Health>,
    check: Option<HealthCheck>,
    failover: FailoverOptions,
    request: HeaderRules,
    response: HeaderRules,
    overrides: Overrides,
    key_rules: KeyRules,
    max_object: Option<u64>,
    ranges: RangeOptions,
    upgrades: bool,
    #[cfg(feature = "compress")]
    compress: Option<Arc<Compression>>,
    client_directives: Option<ClientDirectives>,
    normalization: FieldNormalization,
    rules: Vec<RouteRule>,
}

impl RouteTable {
    /// Validates the routes of a configuration. All their errors occur here.
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        #[cfg(feature = "compress")]
        let compression = {
            let compression = Compression::default();
            let max = config.limits.max_encoders.unwrap_or(compression.max_encoders);
            Arc::new(compression.with_max_encoders(max))
        };
        let routes = config.route.iter().enumerate().map(|(index, route)| {
            let validated = ValidatedRoute::new(route, config);
            #[cfg(feature = "compress")]
            let validated = validated.map(|validated| {
                let compress = route.compress.unwrap_or(config.compress);
                ValidatedRoute { compress: compress.then(|| Arc::clone(&compression)), ..validated }
            });
            validated.map_err(|error| error.within(&format!("route[{index}]")))
        });
        Ok(Self { routes: routes.collect::<Result<_, _>>()? })
    }

    /// Returns the longest time that a request may take at any route's origins, with all retries.
    pub(super) fn max_origin_timeout(&self) -> Duration {
        let timeouts = self.routes.iter().map(|route| {
            let attempt = route
                .origins
                .iter()
                .map(|origin| origin.head_timeout)
                .max()
                .unwrap_or(DEFAULT_ORIGIN_TIMEOUT);
            attempt.saturating_mul(route.failover.retries.saturating_add(1))
        });
        timeouts.max().unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// Returns the longest pause within a response body that any route's origins may make. The
    /// origin of each route has its own limit.
    pub(super) fn max_body_timeout(&self) -> Duration {
        let origins = self.routes.iter().flat_map(|route| &route.origins);
        let timeouts = origins.map(|origin| origin.body_timeout.max(origin.event_timeout));
        timeouts.max().unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// Returns what a purge of a URL concerns.
    ///
    /// The URL is that of the client. Which route it belongs to makes a difference only for the
    /// key, so what each route would store is purged.
    pub(super) fn purge_of_url(&self, url: &str) -> Result<PurgeUrl, TargetError> {
        let mut purge = PurgeUrl::parse(url, &KeyRules::default())?;
        for route in &self.routes {
            purge = purge.and(PurgeUrl::parse(url, &route.key_rules())?);
        }
        Ok(purge)
    }

    /// Returns what a purge by prefix concerns.
    pub(super) fn purge_of_prefix(&self, prefix: &str) -> Result<PurgePrefix, TargetError> {
        let below = PurgePrefix::parse(prefix)?;
        let has_forms = self.routes.iter().any(|route| route.key_rules().has_parts());
        Ok(if has_forms { below.and_forms() } else { below })
    }

    /// Builds the routes, with origins for the worker that calls this.
    pub(super) fn routes(&self) -> Vec<Route> {
        self.routes.iter().map(ValidatedRoute::route).collect()
    }

    /// Starts the health checks. They stop when the returned set is dropped.
    pub(super) fn start_health_checks(&self) -> JoinSet<()> {
        let mut checks = JoinSet::new();
        for route in &self.routes {
            let Some(check) = &route.check else { continue };
            for (index, origin) in route.origins.iter().enumerate() {
                let mut origin = origin.clone();
                // The Host header is the route's host, or else the origin's own name.
                origin.origin_host |= check.uri.host() == Some(HEALTH_HOST);
                checks.spawn(Arc::clone(&route.health).watch(index, hyper(&origin), check.clone()));
            }
        }
        checks
    }

    /// Returns the health of every origin.
    pub(super) fn health(&self) -> Vec<OriginHealth> {
        self.routes.iter().flat_map(|route| route.health.report()).collect()
    }
}

impl ValidatedRoute {
    /// Validates a route.
    fn new(route: &RouteConfig, config: &Config) -> Result<Self, ConfigError> {
        if !route.prefix.starts_with('/') {
            return Err(ConfigError::new("prefix", format!("'{}' does not start with /", route.prefix)));
        }
        if let Some(host) = route.host.as_deref().filter(|host| !validate::is_host(host)) {
            let message = format!("'{host}' is not a host name; write it without scheme, port and path");
            return Err(ConfigError::new("host", message));
        }
        if route.origins.is_empty() {
            let message = "the list is empty; e.g. origins = [\"http://127.0.0.1:3000\"]";
            return Err(ConfigError::new("origins", message));
        }
        if cfg!(not(feature = "compress")) && route.compress.unwrap_or(config.compress) {
            return Err(ConfigError::new("compress", "this program was built without compression"));
        }
        let origins = (0..route.origins.len()).map(|index| validate::origin(index, route));
        let directives = route.client_directives.or(config.client_directives);
        let request = validate::header_rules(&route.request_headers);
        let response = validate::header_rules(&route.response_headers);
        let check = route.health.as_ref().map(|health| validate::check(health, route.host.as_deref()));
        Ok(Self {
            host: route.host.clone(),
            prefix: route.prefix.clone(),
            health: Health::new(route.origins.iter().map(String::as_str)),
            origins: origins.collect::<Result<_, _>>()?,
            map_back: route.map_back,
            check: check.transpose().map_err(|error| error.within("health"))?,
            failover: validate::failover(route)?,
            request: request.map_err(|error| error.within("request_headers"))?,
            response: response.map_err(|error| error.within("response_headers"))?,
            overrides: validate::overrides(route)?,
            key_rules: validate::key_rules(route)?,
            rules: when::rules(route)?,
            max_object: route.max_object,
            ranges: validate::ranges(&route.ranges).map_err(|error| error.within("ranges"))?,
            upgrades: route.upgrades,
            #[cfg(feature = "compress")]
            compress: None,
            client_directives: directives.map(ClientDirectives::from),
            normalization: validate::normalization(route)?,
        })
    }

    /// Returns the rules by which requests get their keys, with those of the rules for some of the
    /// requests.
    fn key_rules(&self) -> KeyRules {
        let is_partitioned = self.key_rules.partitioned || have_forms(&self.rules);
        self.key_rules.clone().with_partitioned(is_partitioned)
    }

    /// Builds one of the origins.
    fn origin(&self, options: &HyperOptions) -> Arc<dyn Origin> {
        let origin = hyper(options);
        if self.map_back { Arc::new(UrlRewrite::new(origin, options)) } else { origin }
    }

    /// Builds the route.
    fn route(&self) -> Route {
        let mut origin = match &*self.origins {
            // Without retries and checks, one origin needs no failover.
            [only] if self.failover.retries == 0 && self.check.is_none() => self.origin(only),
            origins => {
                let origins = origins.iter().map(|origin| self.origin(origin)).collect();
                Arc::new(Failover::new(origins, Arc::clone(&self.health), self.failover.clone())) as _
            }
        };
        if !(self.request.is_empty() && self.response.is_empty()) {
            origin = Arc::new(HeaderRewrite::new(origin, self.request.clone(), self.response.clone()));
        }
        let mut route = Route::to(origin)
            .prefix(&self.prefix)
            .key_rules(self.key_rules.clone())
            .ranges(self.ranges)
            .upgrades(self.upgrades);
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
        #[cfg(feature = "compress")]
        if let Some(compression) = &self.compress {
            route = route.compress(Arc::clone(compression));
        }
        route.normalize(self.normalization.clone()).rules(self.rules.clone())
    }
}

/// Builds an origin from validated options.
fn hyper(options: &HyperOptions) -> Arc<dyn Origin> {
    Arc::new(HyperOrigin::new(options.clone()).expect("the options were validated by building an origin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that is stored was cut after 60 seconds without data, whatever the route allowed.
    #[test]
    fn the_cache_allows_the_pauses_of_every_route() {
        let mut config = Config::to("http://127.0.0.1:1");
        config.route.push(RouteConfig::to("http://127.0.0.1:1"));
        config.route[1].origin_body_timeout = Some(Duration::from_secs(7200));
        let table = RouteTable::new(&config).expect("valid");
        assert_eq!(table.max_body_timeout(), Duration::from_secs(7200));
    }
}
