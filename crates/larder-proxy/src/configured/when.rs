//! Validates the tables `[[route.when]]`, and converts them to the rules of a route.

use http::{HeaderName, Method};
use larder_core::Overrides;

use super::validate::{check_cookie_name, header_name};
use crate::{
    Condition, RouteRule,
    config::{ConfigError, NamesConfig, RouteConfig, WhenConfig},
};

/// Validates the rules of a route.
pub(super) fn rules(route: &RouteConfig) -> Result<Vec<RouteRule>, ConfigError> {
    let rules = route.when.iter().enumerate();
    rules.map(|(index, when)| rule(when).map_err(|error| error.within(&format!("when[{index}]")))).collect()
}

/// Validates a rule.
fn rule(when: &WhenConfig) -> Result<RouteRule, ConfigError> {
    let conditions = conditions(when)?;
    if conditions.is_empty() {
        let message = "there is no condition; add method, path, header, cookie or query, e.g. path = \"*\"";
        return Err(ConfigError::new("", message));
    }
    let overrides = overrides(when);
    let has_effect =
        !(when.strip_cookies.is_empty() && when.key.cookies.is_empty()) || overrides != Overrides::default();
    match (when.bypass, has_effect) {
        (true, true) => {
            let message = "requests that bypass the cache have no other settings; remove them, or bypass";
            return Err(ConfigError::new("bypass", message));
        }
        (false, false) => {
            let message = "nothing follows from the conditions; add bypass, strip_cookies, key or freshness";
            return Err(ConfigError::new("", message));
        }
        _ => {}
    }
    for name in &when.strip_cookies {
        check_cookie_name("strip_cookies", name)?;
    }
    for name in &when.key.cookies {
        check_cookie_name("key.cookies", name)?;
    }
    Ok(RouteRule::new(conditions)
        .with_bypass(when.bypass)
        .with_stripped_cookies(&when.strip_cookies)
        .with_key_cookies(when.key.cookies.iter().cloned())
        .with_overrides(overrides))
}

/// Validates the conditions of a rule.
fn conditions(when: &WhenConfig) -> Result<Vec<Condition>, ConfigError> {
    let mut conditions = Vec::new();
    if !when.method.is_empty() {
        let methods = when.method.iter().map(|name| {
            let method = Method::from_bytes(name.as_bytes()).ok();
            let method = method.filter(|_| !name.bytes().any(|byte| byte.is_ascii_lowercase()));
            method
                .ok_or_else(|| ConfigError::new("method", format!("'{name}' is not a method, e.g. \"GET\"")))
        });
        conditions.push(Condition::methods(methods.collect::<Result<Vec<_>, _>>()?));
    }
    if !when.path.is_empty() {
        let starts_wrong = |path: &&String| !path.starts_with(['/', '*']) || path.contains('?');
        if let Some(path) = when.path.iter().find(starts_wrong) {
            let message = "is not a path with * for any text, e.g. \"/account/*\" or \"*.css\"";
            return Err(ConfigError::new("path", format!("'{path}' {message}")));
        }
        conditions.push(Condition::paths(&when.path));
    }
    match &when.header {
        NamesConfig::Any(names) if names.is_empty() => {}
        NamesConfig::Any(names) => {
            let names = names.iter().map(|name| header_name("header", name));
            conditions.push(Condition::headers(names.collect::<Result<Vec<HeaderName>, _>>()?));
        }
        NamesConfig::All(values) => {
            for (name, value) in values {
                conditions.push(Condition::header(header_name("header", name)?, value));
            }
        }
    }
    match &when.cookie {
        NamesConfig::Any(names) if names.is_empty() => {}
        NamesConfig::Any(names) => {
            names.iter().try_for_each(|name| check_cookie_name("cookie", name))?;
            conditions.push(Condition::cookies(names));
        }
        NamesConfig::All(values) => {
            values.keys().try_for_each(|name| check_cookie_name("cookie", name))?;
            conditions.extend(values.iter().map(|(name, value)| Condition::cookie(name, value)));
        }
    }
    match &when.query {
        NamesConfig::Any(names) if names.is_empty() => {}
        NamesConfig::Any(names) => conditions.push(Condition::parameters(names)),
        NamesConfig::All(values) => {
            conditions.extend(values.iter().map(|(name, value)| Condition::parameter(name, value)));
        }
    }
    Ok(conditions)
}

/// Collects the lifetimes that a rule sets.
fn overrides(when: &WhenConfig) -> Overrides {
    let mut overrides = Overrides::default();
    overrides.freshness = when.freshness;
    overrides.default_freshness = when.default_freshness;
    overrides.stale_while_revalidate = when.stale_while_revalidate;
    overrides.stale_if_error = when.stale_if_error;
    overrides
}
