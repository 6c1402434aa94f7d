//! Compares the configurations before and after a reload.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{
    limits,
    shared::{Current, Started},
};
use crate::config::{Config, ListenerConfig, ListenerTlsConfig, RouteConfig};

/// Keys at the top level that a reload applies, beside `route`, some `limits`, and certificates of
/// listeners that had some before.
const APPLIED: [&str; 5] =
    ["client_directives", "compress", "forwarded_fields", "trust_forwarded", "trusted_proxies"];

/// What a reload has changed, and what it could not change.
///
/// Its text is one line, such as `changed: trusted_proxies, route /api (origins); listen needs a
/// restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    applied: Vec<String>,
    needs_restart: Vec<String>,
}

impl ConfigChanges {
    /// Compares the configuration of the start and that in force with a new one.
    pub(super) fn new(started: &Started, old: &Config, new: &Current) -> Self {
        let has_tls = old.tls.is_some() && new.config.tls.is_some();
        let is_applied = |key: &String| APPLIED.contains(&&**key) || has_tls && key == "tls";
        let has_parts = |key: &String| matches!(&**key, "route" | "limits" | "listener");
        let mut applied: Vec<String> =
            differing(old, &new.config).into_iter().filter(|key| is_applied(key)).collect();
        let limits = |old: &Config, is_applied: bool| {
            let keys = differing(&old.limits, &new.config.limits).into_iter();
            keys.filter(move |key| limits::APPLIED.contains(&&**key) == is_applied)
                .map(|key| format!("limits.{key}"))
        };
        applied.extend(limits(old, true));
        applied.extend(listeners(&old.listener, &new.config.listener).unwrap_or_default());
        applied.extend(routes(&old.route, &new.config.route));
        let fixed = differing(&started.config, &new.config).into_iter();
        let mut needs_restart: Vec<String> =
            fixed.filter(|key| !is_applied(key) && !has_parts(key)).collect();
        needs_restart.extend(limits(&started.config, false));
        if listeners(&started.config.listener, &new.config.listener).is_none() {
            needs_restart.push("listener".to_owned());
        }
        if new.table.max_origin_timeout() > started.limits.0 {
            needs_restart.push("route.origin_timeout (longer than any at the start)".to_owned());
        }
        if new.table.max_body_timeout() > started.limits.1 {
            needs_restart.push("route.origin_body_timeout (longer than any at the start)".to_owned());
        }
        Self { applied, needs_restart }
    }

    /// Returns what has changed: names of keys, and routes with the keys that differ.
    pub fn applied(&self) -> &[String] {
        &self.applied
    }

    /// Returns the keys that differ from those of the start and are only read there.
    pub fn needs_restart(&self) -> &[String] {
        &self.needs_restart
    }
}

impl fmt::Display for ConfigChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.applied {
            [] => f.write_str("no changes")?,
            applied => write!(f, "changed: {}", applied.join(", "))?,
        }
        match &*self.needs_restart {
            [] => Ok(()),
            [one] => write!(f, "; {one} needs a restart"),
            several => write!(f, "; {} need a restart", several.join(", ")),
        }
    }
}

/// Returns the keys of which the values differ.
fn differing<T: serde::Serialize>(one: &T, other: &T) -> Vec<String> {
    let [one, other] = [one, other].map(|value| serde_json::to_value(value).unwrap_or_default());
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return Vec::new() };
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// Describes which listeners have other certificates. Returns `None` if something else differs.
fn listeners(old: &[ListenerConfig], new: &[ListenerConfig]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for (old, new) in old.iter().zip(new) {
        match &*differing(old, new) {
            [] => {}
            [tls]
                if tls == "tls"
                    && matches!(
                        (&old.tls, &new.tls),
                        (ListenerTlsConfig::Own(_), ListenerTlsConfig::Own(_))
                    ) =>
            {
                found.push(format!("listener {} (tls)", new.listen));
            }
            _ => return None,
        }
    }
    (old.len() == new.len()).then_some(found)
}

/// Describes which routes were added, removed or changed.
fn routes(old: &[RouteConfig], new: &[RouteConfig]) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<&RouteConfig> = old.iter().collect();
    for route in new {
        let name = route.name();
        match left.iter().position(|old| old.name() == name) {
            None => found.push(format!("route {name} (added)")),
            Some(at) => {
                let keys = differing(left.remove(at), route);
                if !keys.is_empty() {
                    found.push(format!("route {name} ({})", keys.join(", ")));
                }
            }
        }
    }
    found.extend(left.iter().map(|route| format!("route {} (removed)", route.name())));
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::configured::checked::Checked;

    fn current(text: &str) -> Current {
        let config = Config::parse(text, |_| None).expect("valid");
        Checked::new(config).expect("valid").current
    }

    #[test]
    fn changes_are_named() {
        let route = |rest: &str| format!("[[route]]\norigins = \"http://127.0.0.1:1\"\n{rest}\n");
        let old = format!("workers = 1\n{}{}", route("prefix = \"/a\""), route("prefix = \"/b\""));
        let start = |text: &str| {
            let config = Config::parse(text, |_| None).expect("valid");
            let Checked { current, listeners, .. } = Checked::new(config).expect("valid");
            let limits = (current.table.max_origin_timeout(), current.table.max_body_timeout());
            Started { config: current.config, limits, listeners }
        };
        let started = start(&old);
        assert_eq!(started.limits.0, Duration::from_secs(180));
        for (new, expected) in [
            (old.clone(), "no changes"),
            (
                format!(
                    "workers = 1\ncompress = false\n{}{}",
                    route("prefix = \"/b\""),
                    route("prefix = \"/a\"")
                ),
                "no changes",
            ),
            (
                format!("listen = \"[::1]:1\"\n{}", route("prefix = \"/a\"")),
                "changed: route /b (removed); listen, workers need a restart",
            ),
            (
                format!(
                    "workers = 1\ncompress = true\n{}{}{}",
                    route("prefix = \"/a\"\ncache = false\nretries = 0"),
                    route("prefix = \"/b\""),
                    route("host = \"c\"\norigin_timeout = \"5m\""),
                ),
                "changed: compress, route /a (cache, retries), route c/ (added); route.origin_timeout \
                 (longer than any at the start) needs a restart",
            ),
            (
                format!(
                    "workers = 1\nlimits = {{ max_content = \"1MiB\", backlog = 1, content_timeout = \"1s\" }}\n\
                     listener = [{{ listen = \"unix:/x\" }}]\n{}{}",
                    route("prefix = \"/a\""),
                    route("prefix = \"/b\""),
                ),
                "changed: limits.content_timeout, limits.max_content; limits.backlog, listener need a restart",
            ),
        ] {
            let changes = ConfigChanges::new(&started, &started.config, &current(&new));
            assert_eq!(changes.to_string(), expected, "{new}");
        }
    }
}
