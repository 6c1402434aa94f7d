//! Validates the tables `[[route.when]]`, and converts them to the rules of a route.

use http::{HeaderName, Method};
use larder_core::Overrides;

use super::validate::{check_cookie_name, header_name};
use crate::{
    Condition, RouteRule,
    config::{ConfigError, NamesConfig, NotConfig, RouteConfig, WhenConfig},
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
        let message =
            "there is no condition; add method, path, header, cookie, query or not, e.g. path = \"*\"";
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
    let WhenConfig { method, path, header, cookie, query, not, .. } = when;
    let mut conditions = of_keys(method, path, header, cookie, query)?.concat();
    let NotConfig { method, path, header, cookie, query } = not;
    let none = of_keys(method, path, header, cookie, query).map_err(|error| error.within("not"))?;
    conditions.extend(none.into_iter().filter(|key| !key.is_empty()).map(Condition::not));
    Ok(conditions)
}

/// Validates the conditions of each key. All of those of one key have to hold for it.
fn of_keys(
    method: &[String],
    path: &[String],
    header: &NamesConfig,
    cookie: &NamesConfig,
    query: &NamesConfig,
) -> Result<[Vec<Condition>; 5], ConfigError> {
    Ok([methods(method)?, paths(path)?, headers(header)?, cookies(cookie)?, parameters(query)])
}

/// Validates a condition on the method.
fn methods(names: &[String]) -> Result<Vec<Condition>, ConfigError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let methods = names.iter().map(|name| {
        let method = Method::from_bytes(name.as_bytes()).ok();
        let method = method.filter(|_| !name.bytes().any(|byte| byte.is_ascii_lowercase()));
        method.ok_or_else(|| ConfigError::new("method", format!("'{name}' is not a method, e.g. \"GET\"")))
    });
    Ok(vec![Condition::methods(methods.collect::<Result<Vec<_>, _>>()?)])
}

/// Validates a condition on the path.
fn paths(patterns: &[String]) -> Result<Vec<Condition>, ConfigError> {
    let starts_wrong = |path: &&String| !path.starts_with(['/', '*']) || path.contains('?');
    match patterns.iter().find(starts_wrong) {
        Some(path) => {
            let message = "is not a path with * for any text, e.g. \"/account/*\" or \"*.css\"";
            Err(ConfigError::new("path", format!("'{path}' {message}")))
        }
        None if patterns.is_empty() => Ok(Vec::new()),
        None => Ok(vec![Condition::paths(patterns)]),
    }
}

/// Validates conditions on headers.
fn headers(headers: &NamesConfig) -> Result<Vec<Condition>, ConfigError> {
    match headers {
        NamesConfig::Any(names) if names.is_empty() => Ok(Vec::new()),
        NamesConfig::Any(names) => {
            let names = names.iter().map(|name| header_name("header", name));
            Ok(vec![Condition::headers(names.collect::<Result<Vec<HeaderName>, _>>()?)])
        }
        NamesConfig::All(values) => {
            let all = values.iter();
            all.map(|(name, value)| Ok(Condition::header(header_name("header", name)?, value))).collect()
        }
    }
}

/// Validates conditions on cookies.
fn cookies(cookies: &NamesConfig) -> Result<Vec<Condition>, ConfigError> {
    match cookies {
        NamesConfig::Any(names) if names.is_empty() => Ok(Vec::new()),
        NamesConfig::Any(names) => {
            names.iter().try_for_each(|name| check_cookie_name("cookie", name))?;
            Ok(vec![Condition::cookies(names)])
        }
        NamesConfig::All(values) => {
            values.keys().try_for_each(|name| check_cookie_name("cookie", name))?;
            Ok(values.iter().map(|(name, value)| Condition::cookie(name, value)).collect())
        }
    }
}

/// Returns conditions on query parameters.
fn parameters(parameters: &NamesConfig) -> Vec<Condition> {
    match parameters {
        NamesConfig::Any(names) if names.is_empty() => Vec::new(),
        NamesConfig::Any(names) => vec![Condition::parameters(names)],
        NamesConfig::All(values) => {
            values.iter().map(|(name, value)| Condition::parameter(name, value)).collect()
        }
    }
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
