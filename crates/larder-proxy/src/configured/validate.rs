//! Validates the keys of a configuration, and converts them to the options of other crates.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use http::{
    HeaderName, HeaderValue, Uri,
    header::{ACCEPT_LANGUAGE, InvalidHeaderName},
};
use larder_core::{
    Overrides, RangeOptions,
    adapter::{ContentInKey, FieldNormalization, KeyRules, TrustedProxies},
};
use larder_origin::{
    Balance, ClientCertificate, FailoverOptions, HeaderRules, HealthCheck, HyperOptions, HyperOrigin,
    TrustedRoots,
};

use crate::config::{
    BalanceConfig, Config, ConfigError, HeadersConfig, HealthConfig, KeyConfig, RangesConfig, RootsConfig,
    RouteConfig, redact_url,
};

/// Default of `listen`.
pub(super) const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Default of `origin_timeout`: longest time until an origin sends the head of a response.
pub(super) const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Placeholder host in the URI of health checks, for routes that match more than one host.
pub(super) const HEALTH_HOST: &str = "health.invalid";

/// Reads a file that a key names.
pub(super) fn read(key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path)
        .map_err(|error| ConfigError::io(key, format!("can't read the file {}: {error}", path.display())))
}

/// Returns the proxies of which the forwarded headers are trusted.
pub(super) fn trusted_proxies(config: &Config) -> Result<TrustedProxies, ConfigError> {
    let mut trusted = TrustedProxies::default();
    if config.trust_forwarded {
        trusted = trusted.and(&TrustedProxies::private_networks());
    }
    trusted = trusted.and(&networks("trusted_proxies", &config.trusted_proxies)?);
    Ok(trusted.with_fields(config.forwarded_fields.into()))
}

/// Returns the names of the fields in which responses list their tags.
pub(super) fn tag_fields(config: &Config) -> Result<Vec<HeaderName>, ConfigError> {
    let parse = |(index, name): (usize, &String)| {
        let message = |_| format!("'{name}' is not the name of a header field; e.g. \"Surrogate-Key\"");
        name.parse().map_err(|error: InvalidHeaderName| {
            ConfigError::new(format!("tag_fields[{index}]"), message(error))
        })
    };
    config.tag_fields.iter().enumerate().map(parse).collect()
}

/// Returns the addresses in a list of networks, in which `private` stands for loopback and private
/// networks.
pub(super) fn networks(key: &str, list: &[String]) -> Result<TrustedProxies, ConfigError> {
    let mut all = TrustedProxies::default();
    for (index, network) in list.iter().enumerate() {
        all = all.and(&match &**network {
            "private" => TrustedProxies::private_networks(),
            network => {
                let parsed = network.parse();
                parsed.map_err(|error| ConfigError::new(format!("{key}[{index}]"), error))?
            }
        });
    }
    Ok(all)
}

/// Validates how requests for ranges are fetched.
pub(super) fn ranges(ranges: &RangesConfig) -> Result<RangeOptions, ConfigError> {
    let mut options = RangeOptions::default();
    options.whole_limit = ranges.whole_limit.unwrap_or(options.whole_limit);
    if ranges.slice.is_some_and(|size| !(64 << 10..=64 << 20).contains(&size)) {
        return Err(ConfigError::new("slice", "the size of slices is from 64KiB to 64MiB"));
    }
    options.slice = ranges.slice;
    Ok(options)
}

/// Returns whether a text can be the host of a route: a name, or an address with the brackets of
/// IPv6, after `*` for all names below one.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_address = name.starts_with('[') && name.ends_with(']');
    let is_wrong = |c: char| c.is_whitespace() || "/?#@*".contains(c) || c == ':' && !is_address;
    !name.is_empty() && !name.contains(is_wrong)
}

/// Validates how requests are distributed among the origins of a route.
pub(super) fn failover(route: &RouteConfig) -> Result<FailoverOptions, ConfigError> {
    let balance = match route.balance {
        BalanceConfig::First => Balance::First,
        BalanceConfig::RoundRobin => Balance::RoundRobin,
        BalanceConfig::LeastConnections => Balance::LeastConnections,
    };
    Ok(FailoverOptions::default()
        .with_retries(route.retries)
        .with_balance(balance)
        .with_weights(weights(route)?))
}

/// Validates the weights of a route's origins.
fn weights(route: &RouteConfig) -> Result<Vec<u32>, ConfigError> {
    let (weights, origins) = (&route.weights, route.origins.len());
    if !weights.is_empty() && weights.len() != origins {
        let message = format!("there are {} numbers for {origins} origin(s)", weights.len());
        return Err(ConfigError::new("weights", message));
    }
    if let Some(weight) = weights.iter().find(|weight| !(1..=100).contains(*weight)) {
        return Err(ConfigError::new("weights", format!("{weight}: a weight is a number from 1 to 100")));
    }
    Ok(weights.clone())
}

/// Validates one origin of a route.
pub(super) fn origin(index: usize, route: &RouteConfig) -> Result<HyperOptions, ConfigError> {
    let url = &route.origins[index];
    let invalid = |error: &dyn std::fmt::Display| {
        ConfigError::new(format!("origins[{index}]"), format!("{}: {error}", redact_url(url)))
    };
    let mut options = HyperOptions::to(url)
        .map_err(|error| invalid(&error))?
        .with_origin_host(route.origin_host)
        .with_http2_only(route.origin_http2)
        .with_head_timeout(route.origin_timeout.unwrap_or(DEFAULT_ORIGIN_TIMEOUT));
    options.connect_timeout = route.origin_connect_timeout.unwrap_or(options.connect_timeout);
    options.body_timeout = route.origin_body_timeout.unwrap_or(options.body_timeout);
    options.event_timeout = route.origin_event_timeout.unwrap_or(options.event_timeout);
    options.total_timeout = route.origin_total_timeout;
    options.max_connections = route.origin_connections.unwrap_or(options.max_connections);
    options.max_waiting = route.origin_waiting.unwrap_or(options.max_waiting);
    options.trusted_roots = trusted_roots(route)?;
    if let Some(path) = &route.origin_ca {
        options.root_certificates = read("origin_ca", path)?;
    }
    options.client_certificate = match (&route.origin_cert, &route.origin_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            Some(ClientCertificate::new(read("origin_cert", cert)?, read("origin_key", key)?))
        }
        (Some(_), None) => return Err(ConfigError::new("origin_cert", "origin_key is missing beside it")),
        (None, Some(_)) => return Err(ConfigError::new("origin_key", "origin_cert is missing beside it")),
    };
    HyperOrigin::new(options.clone()).map_err(|error| invalid(&error))?;
    Ok(options)
}

/// Validates which certificate authorities are trusted beside `origin_ca`.
fn trusted_roots(route: &RouteConfig) -> Result<TrustedRoots, ConfigError> {
    match route.origin_roots {
        RootsConfig::Mozilla => Ok(TrustedRoots::Mozilla),
        RootsConfig::None if route.origin_ca.is_some() => Ok(TrustedRoots::OnlyConfigured),
        RootsConfig::None => Err(ConfigError::new("origin_roots", "\"none\" needs origin_ca")),
        #[cfg(feature = "system-roots")]
        RootsConfig::System => Ok(TrustedRoots::System),
        #[cfg(not(feature = "system-roots"))]
        RootsConfig::System => {
            let message = "\"system\" is not available: this program was built without it";
            Err(ConfigError::new("origin_roots", message))
        }
    }
}

/// Validates the health check of a route.
pub(super) fn check(health: &HealthConfig, host: Option<&str>) -> Result<HealthCheck, ConfigError> {
    let mut check = HealthCheck::default();
    let host = host.filter(|host| !host.starts_with('*')).unwrap_or(HEALTH_HOST);
    check.uri = format!("http://{host}{}", health.path)
        .parse::<Uri>()
        .ok()
        .filter(|_| health.path.starts_with('/'))
        .ok_or_else(|| {
            ConfigError::new("path", format!("'{}' is not a path; e.g. \"/healthz\"", health.path))
        })?;
    check.interval = health.every.unwrap_or(check.interval);
    check.timeout = health.timeout.unwrap_or(check.timeout);
    check.unhealthy_after = health.unhealthy_after.unwrap_or(check.unhealthy_after);
    check.healthy_after = health.healthy_after.unwrap_or(check.healthy_after);
    Ok(check)
}

/// Parses the name of a header.
pub(super) fn header_name(key: &str, name: &str) -> Result<HeaderName, ConfigError> {
    name.parse().map_err(|_| ConfigError::new(key, format!("'{name}' is not a valid header name")))
}

/// Checks the name of a cookie.
pub(super) fn check_cookie_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(ConfigError::new(key, format!("'{name}' is not a valid cookie name")));
    }
    Ok(())
}

/// Validates the header rules of a route.
pub(super) fn header_rules(headers: &HeadersConfig) -> Result<HeaderRules, ConfigError> {
    let set = headers.set.iter().map(|(name, text)| {
        let key = format!("set.{name}");
        let value = HeaderValue::from_str(text)
            .map_err(|_| ConfigError::new(&key, "the value is not a valid header value"));
        Ok((header_name(&key, name)?, value?))
    });
    let remove = headers.remove.iter().map(|name| header_name("remove", name));
    let (set, remove) = (set.collect::<Result<Vec<_>, _>>()?, remove.collect::<Result<Vec<_>, _>>()?);
    Ok(HeaderRules::default().with_remove(remove).with_set(set))
}

/// Validates what is part of the keys of a route.
pub(super) fn key_rules(route: &RouteConfig) -> Result<KeyRules, ConfigError> {
    let KeyConfig { headers, cookies, content, post } = &route.key;
    cookies.iter().try_for_each(|name| check_cookie_name("key.cookies", name))?;
    let headers =
        headers.iter().map(|name| header_name("key.headers", name)).collect::<Result<Vec<_>, _>>()?;
    let rules = KeyRules::default()
        .with_ignored_query(route.ignore_query.iter().cloned())
        .with_headers(headers)
        .with_cookies(cookies.iter().cloned());
    let Some(limit) = content else {
        let message = "key.content is missing beside it, e.g. content = \"64KiB\"";
        return if *post { Err(ConfigError::new("key.post", message)) } else { Ok(rules) };
    };
    let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
    Ok(rules.with_content(ContentInKey::default().with_max_length(limit).with_post(*post)))
}

/// Collects the request headers of a route that are replaced by a normal form.
pub(super) fn normalization(route: &RouteConfig) -> Result<FieldNormalization, ConfigError> {
    let mut normalization = FieldNormalization::default();
    if !route.languages.is_empty() {
        normalization = normalization
            .with_languages(&route.languages)
            .map_err(|error| ConfigError::new("languages", error))?;
    }
    for (name, values) in &route.normalize {
        if !route.languages.is_empty() && name.eq_ignore_ascii_case(ACCEPT_LANGUAGE.as_str()) {
            let message = format!("{name}: set languages or normalize, not both");
            return Err(ConfigError::new("normalize", message));
        }
        normalization = normalization
            .with_values(name, values)
            .map_err(|error| ConfigError::new(format!("normalize.{name}"), error))?;
    }
    Ok(normalization)
}

/// Collects the caching rules of a route.
pub(super) fn overrides(route: &RouteConfig) -> Result<Overrides, ConfigError> {
    let mut overrides = Overrides::default();
    overrides.no_store = !route.cache;
    overrides.freshness = route.freshness;
    overrides.default_freshness = route.default_freshness;
    overrides.stale_while_revalidate = route.stale_while_revalidate;
    overrides.stale_if_error = route.stale_if_error;
    overrides.vary = route.vary.iter().map(|name| header_name("vary", name)).collect::<Result<_, _>>()?;
    overrides.groups = route.groups.iter().map(|group| group.as_str().into()).collect();
    Ok(overrides)
}
