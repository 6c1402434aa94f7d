//! The configuration file: its keys, types and defaults.
//!
//! An unknown key or an invalid value is an error, so a file applies as a whole or not at all.
//! `CONFIG.md` documents the keys; the tests here check that it names each of them and no others.
//! `route`, `listener` and `limits` have the keys of their tables, `values` the types of values;
//! `de` parses, with the variables of `variables`; `source` finds the line of an error.
//! `configured` builds the proxy.

mod de;
mod error;
mod limits;
mod listener;
mod purge;
mod redact;
mod route;
mod source;
mod values;
mod variables;
mod when;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use self::{
    de::{Document, TableParser},
    source::{Lines, Source},
};
pub use self::{
    error::ConfigError,
    limits::LimitsConfig,
    listener::{
        CertificateConfig, ListenConfig, ListenerConfig, ListenerTlsConfig, RedirectConfig, TlsConfig,
    },
    purge::PurgeConfig,
    redact::redact_url,
    route::{BalanceConfig, HeadersConfig, HealthConfig, KeyConfig, RangesConfig, RootsConfig, RouteConfig},
    values::{AccessLogFormat, ClientDirectivesConfig, ForwardedFieldsConfig, parse_size},
    when::{NamesConfig, NotConfig, WhenConfig, WhenKeyConfig},
};

/// Longest text of a configuration, in bytes.
const MAX_LENGTH: u64 = 4 << 20;

/// The settings of a proxy, its routes and their origins: a configuration file of `larder proxy`.
///
/// Each field is a key of the file.
/// [CONFIG.md](https://github.com/larder-cache/larder/blob/main/crates/larder-proxy/CONFIG.md)
/// describes them all. [`Proxy::from_config`](crate::Proxy::from_config) checks what a single value
/// does not show.
///
/// ```
/// use larder_proxy::Config;
///
/// let text = r#"
///     listen = "0.0.0.0:${PORT:-8080}"
///
///     [[route]]
///     origins = ["http://127.0.0.1:3000"]
/// "#;
/// let config = Config::parse(text, |name| std::env::var(name).ok())?;
/// assert_eq!(config.route[0].prefix, "/");
/// # Ok::<(), larder_proxy::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Address of the first listener; port 0 selects a free port. Default: `127.0.0.1:8080`, or
    /// none if there are tables `[[listener]]`.
    #[serde(deserialize_with = "values::address")]
    pub listen: Option<SocketAddr>,
    /// The store, or a near tier and a far tier, as texts. [`Proxy`](crate::Proxy) does not read
    /// them: the program opens the stores. Default: none.
    pub store: Vec<String>,
    /// Whether to act as a private cache for a single user. Default: false.
    pub private: bool,
    /// Number of worker threads, 1 to 512. Default: one for each core.
    pub workers: Option<u16>,
    /// How long an idle connection of a client stays open. Default: 75 s.
    #[serde(deserialize_with = "values::duration")]
    pub keep_alive: Option<Duration>,
    /// Longest time that a request waits for an origin while a stale response may be served
    /// instead. Default: 10 s.
    #[serde(deserialize_with = "values::duration")]
    pub stale_if_error_timeout: Option<Duration>,
    /// Whether to trust the proxies in loopback and private networks. Default: false.
    pub trust_forwarded: bool,
    /// Networks of the proxies in front of which `Forwarded` and `X-Forwarded-*` are trusted;
    /// `private` for loopback and private networks. Default: none.
    pub trusted_proxies: Vec<String>,
    /// The fields of trusted proxies that state scheme and host.
    pub forwarded_fields: ForwardedFieldsConfig,
    /// Whether to store responses with `Set-Cookie` where `Cache-Control` allows it. Default:
    /// false.
    pub share_set_cookie: bool,
    /// Whether to store errors that one client's request may have caused, where `Cache-Control`
    /// allows it. Default: false.
    pub share_request_errors: bool,
    /// Fields in which responses list their tags, such as `Surrogate-Key`. Default: none.
    pub tag_fields: Vec<String>,
    /// What to do with `Cache-Control` and `Pragma` of requests. Default: `collapse`, or `honor`
    /// for a private cache.
    pub client_directives: Option<ClientDirectivesConfig>,
    /// Whether to compress responses, and store the compressed form. Default: false.
    pub compress: bool,
    /// The certificates of `listen`, and of listeners with `tls = true`. Default: without TLS.
    pub tls: Option<TlsConfig>,
    /// Listeners besides `listen`. Default: none.
    pub listener: Vec<ListenerConfig>,
    /// Limits on clients and their connections.
    pub limits: LimitsConfig,
    /// The admin listener. Default: none.
    pub admin: Option<AdminConfig>,
    /// Which clients may purge by requests. Default: none.
    pub purge: Option<PurgeConfig>,
    /// The access log. Default: none.
    pub log: Option<LogConfig>,
    /// The routes, at least one.
    pub route: Vec<RouteConfig>,
    #[serde(skip)]
    source: Source,
}

/// The admin listener: the table `[admin]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "values::required_address")]
    pub listen: SocketAddr,
    /// File with the token that requests must send; required if `listen` is not a loopback
    /// address. Default: none.
    pub token_file: Option<PathBuf>,
}

impl AdminConfig {
    /// Creates the table for a listener without a token.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, token_file: None }
    }
}

/// The access log: the table `[log]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// The format of the lines.
    pub access: AccessLogFormat,
    /// File to which lines are appended. Default: standard error.
    pub file: Option<PathBuf>,
}

impl LogConfig {
    /// Creates the table for lines on standard error.
    pub fn new(access: AccessLogFormat) -> Self {
        Self { access, file: None }
    }
}

impl Config {
    /// Creates the configuration of a proxy with one route to one origin, without retries.
    pub fn to(origin: &str) -> Self {
        Self { route: vec![RouteConfig::to(origin)], ..Self::default() }
    }

    /// Parses a text in TOML. `variable` returns the value of an environment variable, for
    /// `${NAME}` in texts.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if the text is not TOML, has an unknown key, a value of the wrong
    /// form or a variable that is not set, or has no route.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| lines.at(span.start));
            ConfigError::new("", error.message()).at(line)
        })?;
        let document = Document { lines: &lines, variable: &variable };
        let mut config = Self::deserialize(TableParser { document: &document, table: table.get_ref() })?;
        config.source = Source::new(&lines, table.get_ref());
        if config.route.is_empty() {
            let message = "there is no [[route]]; add at least one, e.g.\n\n[[route]]\norigins = [\"http://127.0.0.1:3000\"]";
            return Err(ConfigError::new("", message));
        }
        Ok(config)
    }

    /// Reads a file, and parses it as [`parse`](Self::parse) does. Errors have the name of the
    /// file.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if the file cannot be read, is longer than 4 MiB, or is invalid.
    pub fn read(path: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let unreadable = |error: &dyn std::fmt::Display| {
            ConfigError::io("", format!("can't read the configuration file {name}: {error}"))
        };
        let length = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
        if length > MAX_LENGTH {
            return Err(unreadable(&format!("it has {length} bytes, and at most {MAX_LENGTH} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        let mut config = Self::parse(&text, variable).map_err(|error| error.of_file(Some(&name)))?;
        config.source.set_file(&name);
        Ok(config)
    }

    /// Adds the file and the line to an error about this configuration: those of its
    /// [key](ConfigError::key), or of the table that lacks it.
    pub fn locate(&self, error: ConfigError) -> ConfigError {
        self.source.locate(error)
    }
}
