#![doc = include_str!("../README.md")]

// Where to change what:
//
// - the path of a request through the proxy: `handle`, then `forward` on a miss
// - which requests are rejected, and with what: `reject`; their route: `route`, and its rules for
//   some requests: `rules`
// - limits on a request's content: `content`
// - sockets, connections and their timeouts, TLS, shutdown: `server`
// - notifications to a service manager: `service`
// - keys of the configuration file: `config`; the proxy that is built from it: `configured`

mod access;
mod body;
#[cfg(feature = "config")]
mod config;
#[cfg(feature = "config")]
mod configured;
mod content;
mod encoding;
mod forward;
mod handle;
mod keyed;
mod options;
mod purging;
mod readings;
mod redirect;
mod reject;
mod route;
mod rules;
mod server;
#[cfg(unix)]
mod service;
mod trace;

pub use access::{Access, AccessLog};
pub use body::ProxyBody;
#[cfg(feature = "config")]
pub use config::{
    AccessLogFormat, AdminConfig, BalanceConfig, CertificateConfig, ClientDirectivesConfig, Config,
    ConfigError, ForwardedFieldsConfig, HeadersConfig, HealthConfig, KeyConfig, LimitsConfig, ListenConfig,
    ListenerConfig, ListenerTlsConfig, LogConfig, NamesConfig, NotConfig, PurgeConfig, RangesConfig,
    RedirectConfig, RootsConfig, RouteConfig, TlsConfig, WhenConfig, WhenKeyConfig, parse_size, redact_url,
};
#[cfg(feature = "config")]
pub use configured::{
    BoundAddress, BoundProxy, ConfigChanges, ConfigSummary, Proxy, ProxyHandle, admin_token,
};
pub use handle::ReverseProxy;
pub use options::ProxyOptions;
pub use redirect::HttpsRedirect;
pub use route::Route;
pub use rules::{Condition, RouteRule};
#[cfg(feature = "tls")]
pub use server::{CertificateExpiry, CertificateFiles, Certificates};
pub use server::{
    InvalidProxyHeader, ListenAddress, ListenerOptions, ProxyHeader, ProxyServer, Reloader, RunningProxy,
    ServerHandle, ServerOptions, TlsError,
};
#[cfg(unix)]
pub use service::ServiceNotifier;
