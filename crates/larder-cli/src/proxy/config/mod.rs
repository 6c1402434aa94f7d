//! The configuration file of `larder proxy`: its keys, types and defaults.
//!
//! An unknown key or an invalid value is an error, so a file applies as a whole or not at all.
//! `CONFIG.md` documents the keys; the tests here check that it names each of them and no others.
//! `route` has the keys of a route, `values` the types of values; `origins` builds the routes.

mod route;
mod values;

use std::{net::SocketAddr, path::PathBuf};

use larder::core::adapter::TrustedProxies;
use serde::Deserialize;

pub(crate) use self::{
    route::{Balance, Headers, Health, Key, Roots, Route},
    values::{ClientDirectives, TargetFields, Time, TrustedNetworks},
};
use crate::store_url::{self, UsageError};

/// The file. Command-line options override it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) store: Vec<String>,
    pub(crate) private: bool,
    pub(crate) workers: Option<u16>,
    pub(crate) keep_alive: Option<Time>,
    pub(crate) trust_forwarded: bool,
    pub(crate) trusted_proxies: TrustedNetworks,
    pub(crate) forwarded_fields: TargetFields,
    pub(crate) share_set_cookie: bool,
    pub(crate) share_request_errors: bool,
    pub(crate) client_directives: Option<ClientDirectives>,
    pub(crate) compress: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) admin: Option<Admin>,
    pub(crate) log: Option<Log>,
    pub(crate) route: Vec<Route>,
}

impl Config {
    /// Returns the proxies of which the forwarded headers are trusted. An invalid network is a
    /// [`UsageError`].
    pub(crate) fn trusted_proxies(&self) -> Result<TrustedProxies, UsageError> {
        let networks = match &self.trusted_proxies {
            TrustedNetworks::One(network) => std::slice::from_ref(network),
            TrustedNetworks::Many(networks) => networks,
        };
        let mut trusted = TrustedProxies::default();
        if self.trust_forwarded {
            trusted = trusted.and(&TrustedProxies::private_networks());
        }
        for network in networks {
            trusted = trusted.and(&match &**network {
                "private" => TrustedProxies::private_networks(),
                network => network
                    .parse()
                    .map_err(|error| UsageError(format!("trusted_proxies (--trust-forwarded): {error}")))?,
            });
        }
        Ok(trusted.with_fields(self.forwarded_fields.into()))
    }
}

/// The table `[tls]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The table `[admin]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    pub(crate) token_file: Option<PathBuf>,
}

/// The table `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) access: Format,
    pub(crate) file: Option<PathBuf>,
}

/// The format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
}

impl Config {
    /// Parses the text of a file, and checks that it has a route, valid stores and a valid number
    /// of workers.
    pub(crate) fn parse(text: &str) -> Result<Self, UsageError> {
        let config: Self = toml::from_str(text).map_err(|error| UsageError(error.to_string()))?;
        if config.route.is_empty() {
            return Err(UsageError(
                "there is no [[route]]; add at least one, e.g.\n\n[[route]]\norigins = [\"http://127.0.0.1:3000\"]"
                    .to_owned(),
            ));
        }
        if let Some(workers) = config.workers.filter(|workers| !(1..=512).contains(workers)) {
            return Err(UsageError(format!("workers = {workers}: it must be a number from 1 to 512")));
        }
        store_url::check(&config.store)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../CONFIG.md");
    /// Each table of the file: the text that precedes a key of it, and the text that follows.
    const TABLES: [(&str, &str); 9] = [
        ("", ""),
        ("[tls]\n", ""),
        ("[admin]\n", ""),
        ("[log]\n", ""),
        ("[[route]]\norigins = []\n", ""),
        ("[[route]]\norigins = []\n[route.request_headers]\n", ""),
        ("[[route]]\norigins = []\n[route.response_headers]\n", ""),
        ("[[route]]\norigins = []\n[route.health]\n", ""),
        ("[[route]]\norigins = []\n[route.key]\n", ""),
    ];

    /// Returns the keys of a table, from the parser's error about an unknown key.
    fn keys(before: &str, after: &str) -> Vec<String> {
        let text = format!("{before}no-such-key = 1\n{after}");
        let error = toml::from_str::<Config>(&text).expect_err("no such key").to_string();
        let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_guide_documents_every_key() {
        let mut count = 0;
        for (before, after) in TABLES {
            for key in keys(before, after) {
                assert!(GUIDE.contains(&format!("| `{key}` |")), "CONFIG.md has no row for `{key}`");
                count += 1;
            }
        }
        assert!(count > 40, "{count} keys");
    }

    #[test]
    fn the_guide_has_no_unknown_keys_and_its_examples_parse() {
        let mut known: Vec<String> = TABLES.iter().flat_map(|(before, after)| keys(before, after)).collect();
        known.sort_unstable();
        for line in GUIDE.lines().filter_map(|line| line.strip_prefix("| `")) {
            let key = line.split('`').next().unwrap_or_default();
            assert!(
                known.binary_search_by(|known| known.as_str().cmp(key)).is_ok(),
                "CONFIG.md documents `{key}`, which is not a key"
            );
        }
        let examples: Vec<&str> =
            GUIDE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 2);
        for example in examples {
            let config = Config::parse(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
            crate::proxy::origins::RouteTable::new(&config)
                .unwrap_or_else(|error| panic!("{error}\n{example}"));
        }
    }

    /// A body that is stored was cut after 60 seconds without data, whatever the route allowed.
    #[test]
    fn the_cache_allows_the_pauses_of_every_route() {
        let route = |line: &str| format!("[[route]]\norigins = [\"http://127.0.0.1:1\"]\n{line}\n");
        let text = route("") + &route("prefix = \"/slow\"\norigin_body_timeout = \"2h\"");
        let table = Config::parse(&text).and_then(|config| crate::proxy::origins::RouteTable::new(&config));
        assert_eq!(table.expect("a valid file").max_body_timeout(), std::time::Duration::from_secs(7200));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let route = |line: &str| format!("[[route]]\norigins = [\"http://127.0.0.1:1\"]\n{line}\n");
        for (text, words) in [
            (String::new(), "there is no [[route]]"),
            ("[[route]]\norigins = []".to_owned(), "origins is empty"),
            ("[[route]]\nprefix = \"/\"".to_owned(), "missing field `origins`"),
            (route("freshness = \"soon\""), "'soon' is not a duration"),
            (route("freshness = 60"), "invalid type"),
            (route("max_object = \"much\""), "'much' is not a size"),
            (route("fresness = \"60s\""), "unknown field `fresness`"),
            (route("prefix = \"api\""), "does not start with /"),
            (route("vary = [\"no name\"]"), "'no name' is not a valid header name"),
            (route("key = { headers = [\"no name\"] }"), "'no name' is not a valid header name"),
            (route("key = { cookies = [\"a=b\"] }"), "'a=b' is not a valid cookie name"),
            (route("key = { post = true }"), "key.post needs key.content"),
            (route("balance = \"random\""), "unknown variant `random`"),
            (route("weights = [1, 2]"), "weights has 2 numbers for 1 origin"),
            (route("weights = [0]"), "a weight is a number from 1 to 100"),
            (route("origin_ca = \"/no/such/file\""), "can't read origin_ca /no/such/file"),
            (route("origin_cert = \"client.pem\""), "origin_cert and origin_key need each other"),
            (route("origin_roots = \"none\""), "origin_roots = \"none\" needs origin_ca"),
            (route("client_directives = \"obey\""), "unknown variant `obey`"),
            (route("languages = [\"german language\"]"), "'german language' is not a valid value"),
            (route("normalize = { Cookie = [\"a\"] }"), "'Cookie' does more than select a response"),
            (route("normalize = { X-Device = [] }"), "'x-device' needs at least one value"),
            (
                route("languages = [\"en\"]\nnormalize = { Accept-Language = [\"de\"] }"),
                "set languages or normalize, not both",
            ),
            (route("health = { path = \"healthz\" }"), "is not a path"),
            (route("response_headers = { set = { a = \"b\\n\" } }"), "is not a valid header value"),
            ("[[route]]\norigins = [\"127.0.0.1:1\"]".to_owned(), "http:// or https://"),
            (format!("store = [\"tape\"]\n{}", route("")), "unknown store 'tape'"),
            (format!("listen = \"here\"\n{}", route("")), "invalid socket address"),
            (format!("workers = 0\n{}", route("")), "workers = 0: it must be a number from 1 to 512"),
            (format!("workers = 1000\n{}", route("")), "workers = 1000"),
        ] {
            let parsed =
                Config::parse(&text).and_then(|config| crate::proxy::origins::RouteTable::new(&config));
            let error = parsed.expect_err(words).to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
