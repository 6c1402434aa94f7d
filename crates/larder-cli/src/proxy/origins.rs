//! From what a configuration says of its routes to the routes themselves.
//!
//! What is shared by all workers, the health of origins, is made once; connections belong to a worker, which makes its own origins.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use larder::{
    actix::Route,
    compress::Compression,
    core::{Origin, OverrideFn, Overrides},
    origin::{
        Balance, Failover, FailoverOptions, HeaderRewrite, HeaderRules, Health, HealthCheck, HyperOptions,
        HyperOrigin, OriginHealth,
    },
};
use tokio::task::JoinSet;

use super::config::{self, Config};
use crate::store_url::UsageError;

/// How long an origin may take to answer, where nobody says.
pub(crate) const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A host that there is not, for checks of a route for every host.
const HEALTH_HOST: &str = "health.invalid";

/// Routes that were looked at and can be made.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<RoutePlan>,
}

#[derive(Debug)]
struct RoutePlan {
    host: Option<String>,
    prefix: String,
    origins: Vec<HyperOptions>,
    health: Arc<Health>,
    check: Option<HealthCheck>,
    failover: FailoverOptions,
    request: HeaderRules,
    response: HeaderRules,
    overrides: Overrides,
    ignore_query: Vec<String>,
    max_object: Option<u64>,
    compress: Option<Arc<Compression>>,
}

impl RouteTable {
    /// What is wrong with a route shows here, and not when it is used.
    pub(crate) fn new(config: &Config) -> Result<Self, UsageError> {
        let compression = Arc::new(Compression::default());
        let routes = config.route.iter().enumerate().map(|(index, route)| {
            let compress = route.compress.unwrap_or(config.compress).then(|| Arc::clone(&compression));
            RoutePlan::new(route, compress).map_err(|error| match config.route.len() {
                1 => error,
                _ => UsageError(format!("route {} ({}): {error}", index + 1, route.prefix)),
            })
        });
        Ok(Self { routes: routes.collect::<Result<_, _>>()? })
    }

    /// The longest that an origin may take.
    pub(crate) fn max_origin_timeout(&self) -> Duration {
        let each = self.routes.iter().map(|route| {
            let one = route
                .origins
                .iter()
                .map(|origin| origin.head_timeout)
                .max()
                .unwrap_or(DEFAULT_ORIGIN_TIMEOUT);
            one * (route.failover.retries + 1)
        });
        each.max().unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// The routes, with origins of this thread's own.
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.routes.iter().map(RoutePlan::route).collect()
    }

    /// Begins the health checks. They end when what is returned is dropped.
    pub(crate) fn watch(&self) -> JoinSet<()> {
        let mut checks = JoinSet::new();
        for route in &self.routes {
            let Some(check) = &route.check else { continue };
            for (index, origin) in route.origins.iter().enumerate() {
                let mut origin = origin.clone();
                // Asked for by the route's name, or else by its own.
                origin.origin_host |= check.uri.host() == Some(HEALTH_HOST);
                checks.spawn_local(Arc::clone(&route.health).watch(index, hyper(&origin), check.clone()));
            }
        }
        checks
    }

    /// Every origin, and whether it is well.
    pub(crate) fn health(&self) -> Vec<OriginHealth> {
        self.routes.iter().flat_map(|route| route.health.report()).collect()
    }
}

impl RoutePlan {
    fn new(route: &config::Route, compress: Option<Arc<Compression>>) -> Result<Self, UsageError> {
        if !route.prefix.starts_with('/') {
            return Err(UsageError(format!("prefix '{}' does not begin with /", route.prefix)));
        }
        if route.origins.is_empty() {
            let why = "origins is empty; e.g. origins = [\"http://127.0.0.1:3000\"]";
            return Err(UsageError(why.to_owned()));
        }
        let origins = route.origins.iter().map(|url| origin(url, route)).collect::<Result<Vec<_>, _>>()?;
        let mut failover = FailoverOptions::default();
        failover.retries = route.retries;
        failover.balance = match route.balance {
            config::Balance::First => Balance::First,
            config::Balance::RoundRobin => Balance::RoundRobin,
        };
        Ok(Self {
            host: route.host.clone(),
            prefix: route.prefix.clone(),
            health: Health::new(route.origins.iter().map(String::as_str)),
            origins,
            check: route.health.as_ref().map(|health| check(health, route.host.as_deref())).transpose()?,
            failover,
            request: rules(&route.request_headers)?,
            response: rules(&route.response_headers)?,
            overrides: overrides(route)?,
            ignore_query: route.ignore_query.clone(),
            max_object: route.max_object.map(|size| size.0),
            compress,
        })
    }

    fn route(&self) -> Route {
        let mut origin = match &*self.origins {
            [only] if self.failover.retries == 0 && self.check.is_none() => hyper(only),
            several => {
                let origins = several.iter().map(hyper).collect();
                Arc::new(Failover::new(origins, Arc::clone(&self.health), self.failover.clone())) as _
            }
        };
        if !(self.request.is_empty() && self.response.is_empty()) {
            origin = Arc::new(HeaderRewrite::new(origin, self.request.clone(), self.response.clone()));
        }
        let mut route = Route::to(origin).prefix(&self.prefix).ignore_query(self.ignore_query.clone());
        if let Some(host) = &self.host {
            route = route.host(host);
        }
        if self.overrides != Overrides::default() {
            route = route.overrides(OverrideFn::always(self.overrides.clone()));
        }
        if let Some(most) = self.max_object {
            route = route.max_object(most);
        }
        match &self.compress {
            Some(compression) => route.compress(Arc::clone(compression)),
            None => route,
        }
    }
}

fn hyper(options: &HyperOptions) -> Arc<dyn Origin> {
    Arc::new(HyperOrigin::new(options.clone()).expect("the same options made one before"))
}

fn origin(url: &str, route: &config::Route) -> Result<HyperOptions, UsageError> {
    let wrong = |error: &dyn std::fmt::Display| UsageError(format!("origin {url}: {error}"));
    let mut options = HyperOptions::to(url).map_err(|error| wrong(&error))?;
    options.origin_host = route.origin_host;
    options.head_timeout = route.origin_timeout.map_or(DEFAULT_ORIGIN_TIMEOUT, |time| time.0);
    HyperOrigin::new(options.clone()).map_err(|error| wrong(&error))?;
    Ok(options)
}

fn check(health: &config::Health, host: Option<&str>) -> Result<HealthCheck, UsageError> {
    let mut check = HealthCheck::default();
    let host = host.filter(|host| !host.starts_with('*')).unwrap_or(HEALTH_HOST);
    check.uri = format!("http://{host}{}", health.path)
        .parse::<Uri>()
        .ok()
        .filter(|_| health.path.starts_with('/'))
        .ok_or_else(|| UsageError(format!("health.path '{}' is no path, e.g. \"/healthz\"", health.path)))?;
    check.every = health.every.map_or(check.every, |time| time.0);
    check.timeout = health.timeout.map_or(check.timeout, |time| time.0);
    check.unhealthy_after = health.unhealthy_after.unwrap_or(check.unhealthy_after);
    check.healthy_after = health.healthy_after.unwrap_or(check.healthy_after);
    Ok(check)
}

fn name(name: &str) -> Result<HeaderName, UsageError> {
    name.parse().map_err(|_| UsageError(format!("'{name}' is no name of a header field")))
}

fn rules(headers: &config::Headers) -> Result<HeaderRules, UsageError> {
    let set = headers.set.iter().map(|(field, value)| {
        let value = HeaderValue::from_str(value);
        Ok((name(field)?, value.map_err(|_| UsageError(format!("the value of '{field}' can't be sent")))?))
    });
    Ok(HeaderRules {
        remove: headers.remove.iter().map(|field| name(field)).collect::<Result<_, _>>()?,
        set: set.collect::<Result<_, UsageError>>()?,
    })
}

fn overrides(route: &config::Route) -> Result<Overrides, UsageError> {
    let mut overrides = Overrides::default();
    overrides.no_store = !route.cache;
    overrides.freshness = route.freshness.map(|time| time.0);
    overrides.default_freshness = route.default_freshness.map(|time| time.0);
    overrides.stale_while_revalidate = route.stale_while_revalidate.map(|time| time.0);
    overrides.stale_if_error = route.stale_if_error.map(|time| time.0);
    overrides.vary = route.vary.iter().map(|field| name(field)).collect::<Result<_, _>>()?;
    overrides.groups = route.groups.iter().map(|group| group.as_str().into()).collect();
    Ok(overrides)
}
