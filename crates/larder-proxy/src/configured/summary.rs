//! Describes a configuration that has been checked, in plain words.

use std::{cmp::Reverse, fmt, time::Duration};

use super::{checked::Checked, validate::DEFAULT_ADDRESS};
use crate::{
    config::{AccessLogFormat, Config, ListenerConfig, ListenerTlsConfig, RouteConfig, TlsConfig},
    route::precedence,
};

/// A description of a proxy, from [`Proxy::check`](crate::Proxy::check): where it listens, and its
/// routes in the order in which they are tried.
///
/// ```
/// use larder_proxy::{Config, Proxy};
///
/// let summary = Proxy::check(Config::to("http://127.0.0.1:3000"))?;
/// assert_eq!(
///     summary.to_string(),
///     "listens on 127.0.0.1:8080, without TLS\n\
///      routes, of which the first that matches is used:\n\
///      \x20 /\n\
///      \x20     to http://127.0.0.1:3000\n"
/// );
/// # Ok::<(), larder_proxy::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSummary {
    lines: Vec<String>,
}

impl ConfigSummary {
    /// Describes a configuration.
    pub(super) fn new(checked: &Checked) -> Self {
        let config = &checked.current.config;
        let mut lines = top_level(config);
        lines.push("routes, of which the first that matches is used:".to_owned());
        let mut routes: Vec<&RouteConfig> = config.route.iter().collect();
        routes.sort_by_key(|route| Reverse(precedence(route.host.as_deref(), &route.prefix)));
        for (index, route) in routes.iter().enumerate() {
            let is_same = |other: &&RouteConfig| {
                other.prefix.trim_end_matches('/') == route.prefix.trim_end_matches('/')
                    && match (&other.host, &route.host) {
                        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                        (one, other) => one == other,
                    }
            };
            let never = if routes[..index].iter().any(is_same) {
                " (never used: another route has this host and prefix)"
            } else {
                ""
            };
            lines.push(format!("  {}{never}", route.name()));
            lines.extend(details(route, config).into_iter().map(|line| format!("      {line}")));
        }
        Self { lines }
    }
}

impl fmt::Display for ConfigSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Describes the keys outside of routes.
fn top_level(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if config.listen.is_some() || config.listener.is_empty() {
        let tls = of_certificates(config.tls.as_ref());
        lines.push(format!("listens on {}, {tls}", config.listen.unwrap_or(DEFAULT_ADDRESS)));
    }
    lines.extend(config.listener.iter().map(|listener| of_listener(listener, config)));
    if config.private {
        lines.push("is a private cache for a single user".to_owned());
    }
    if config.trust_forwarded || !config.trusted_proxies.is_empty() {
        let private = config.trust_forwarded.then_some("private");
        let networks = private.into_iter().chain(config.trusted_proxies.iter().map(String::as_str));
        let networks: Vec<&str> = networks.collect();
        lines.push(format!("trusts forwarded fields of {}", networks.join(", ")));
    }
    if !config.tag_fields.is_empty() {
        lines.push(format!("reads tags in {}", config.tag_fields.join(", ")));
    }
    if let Some(purge) = &config.purge {
        let networks = purge.from.iter().cloned();
        let token = purge.token_file.iter().map(|path| format!("those with the token in {}", path.display()));
        let clients: Vec<String> = networks.chain(token).collect();
        lines.push(format!("clients may purge: {}", clients.join(", ")));
    }
    if let Some(admin) = &config.admin {
        let token = match &admin.token_file {
            Some(path) => format!("with the token in {}", path.display()),
            None => "without a token".to_owned(),
        };
        lines.push(format!("admin listener on {}, {token}", admin.listen));
    }
    if let Some(log) = &config.log {
        let format = match log.access {
            AccessLogFormat::Text => "text",
            AccessLogFormat::Extended => "extended text",
            AccessLogFormat::Json => "JSON",
        };
        let place = log.file.as_ref().map(|path| path.display().to_string());
        let place = place.unwrap_or_else(|| "standard error".to_owned());
        lines.push(format!("access log as {format} to {place}"));
    }
    lines
}

/// Describes the certificates of a listener.
fn of_certificates(tls: Option<&TlsConfig>) -> String {
    let Some(tls) = tls else { return "without TLS".to_owned() };
    let mut text = format!("over TLS with {}", tls.cert.display());
    text.extend(tls.further.iter().map(|further| format!(" and {}", further.cert.display())));
    text
}

/// Describes a listener besides the first.
fn of_listener(listener: &ListenerConfig, config: &Config) -> String {
    let tls = match &listener.tls {
        ListenerTlsConfig::Off => None,
        ListenerTlsConfig::Shared => config.tls.as_ref(),
        ListenerTlsConfig::Own(tls) => Some(tls),
    };
    let mut text = format!("listens on {}, {}", listener.listen, of_certificates(tls));
    if let Some(senders) = &listener.proxy_protocol {
        text.push_str(", with the PROXY protocol");
        if !senders.is_empty() {
            text.push_str(&format!(" from {}", senders.join(", ")));
        }
    }
    if listener.redirect.is_some() {
        text.push_str(", redirects to HTTPS");
    }
    text
}

/// Describes a route.
fn details(route: &RouteConfig, config: &Config) -> Vec<String> {
    let mut lines = vec![format!("to {}", route.origins.join(", "))];
    let time = |text: &str, time: Duration| format!("{text} {}", humantime::format_duration(time));
    if !route.cache {
        lines.push("nothing is stored".to_owned());
    }
    lines.extend(route.freshness.map(|freshness| time("fresh for", freshness)));
    lines.extend(route.default_freshness.map(|freshness| time("without a lifetime, fresh for", freshness)));
    let key = &route.key;
    let lists = [
        ("query parameters without effect:", &route.ignore_query),
        ("headers in the key:", &key.headers),
        ("cookies in the key:", &key.cookies),
        ("languages:", &route.languages),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    lines.extend(lists.map(|(text, names)| format!("{text} {}", names.join(", "))));
    if route.compress.unwrap_or(config.compress) {
        lines.push("compressed".to_owned());
    }
    if !route.when.is_empty() {
        lines.push(format!("{} rule(s) for some requests, applied in their order", route.when.len()));
    }
    if let Some(slice) = route.ranges.slice {
        lines.push(format!("long representations in slices of {slice} bytes"));
    }
    if !route.upgrades {
        lines.push("no upgrades, such as WebSocket".to_owned());
    }
    if let Some(health) = &route.health {
        lines.push(format!("health checks of {}", health.path));
    }
    lines
}
