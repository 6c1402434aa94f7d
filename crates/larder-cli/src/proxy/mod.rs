//! `larder proxy`: merges command line and configuration file, and runs the proxy until a signal
//! stops it. `larder check` checks a configuration file.
//!
//! The proxy, its configuration file and its admin listener are in `larder-proxy`.

mod descriptors;
mod inherited;
mod recorder;
mod service;

use std::{
    io::Write as _,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use larder::proxy::{
    AdminConfig, BoundProxy, ClientDirectivesConfig, Config, ConfigError, Proxy, ServiceNotifier, TlsConfig,
    redact_url,
};
use tokio::{
    runtime::LocalOptions,
    signal::unix::{SignalKind, signal},
    task::spawn_local,
};

use self::service::Service;
use crate::{
    humanize::{parse_address, parse_duration},
    stats::store_json,
    store_url::{self, Stores, UsageError},
};

/// Run a caching reverse proxy in front of one or more servers.
///
/// The proxy follows the rules of HTTP caching (RFC 9111): it stores what Cache-Control allows. The
/// Cache-Status header of each response shows what the cache did. The command prints `listening on
/// http://ADDR` when it accepts connections.
///
/// SIGTERM and SIGINT stop the proxy when the requests in flight are done, or after 30 seconds.
/// SIGHUP reloads the file of --config. If the new file is invalid, the proxy keeps the previous
/// configuration. Without --config, SIGHUP ends the proxy at once.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "larder proxy [OPTIONS] --origin <URL>
       larder proxy [OPTIONS] --config <FILE>",
    after_help = "Examples:
  # Cache in memory, in front of one server.
  larder proxy --origin http://127.0.0.1:3000

  # Cache up to 20 GiB on disk, and compress responses.
  larder proxy --origin http://127.0.0.1:3000 --compress \\
    --store 'disk:/var/cache/larder?max=20GiB'

  # Memory as near tier, a shared Redis server as far tier.
  larder proxy --origin http://127.0.0.1:3000 \\
    --store memory:1GiB --store redis://cache:6379/0

  # In front of a site that needs its own name as Host.
  larder proxy --origin https://example.com --origin-host

  # Serve over TLS on all interfaces.
  larder proxy --origin http://127.0.0.1:3000 \\
    --listen 0.0.0.0:443 \\
    --tls-cert cert.pem --tls-key key.pem

  # With an admin listener; then, in another terminal:
  #   larder stats --admin http://127.0.0.1:9321
  larder proxy --origin http://127.0.0.1:3000 \\
    --admin 127.0.0.1:9321

  # Several origins, routes, health checks: see CONFIG.md.
  larder proxy --config larder.toml"
)]
pub(crate) struct Args {
    /// Origin server to which requests are forwarded, e.g. http://127.0.0.1:3000.
    ///
    /// A path in the URL is put in front of the path of each request.
    #[arg(long, value_name = "URL", required_unless_present = "config", conflicts_with = "config")]
    origin: Option<String>,
    /// Configuration file with routes and origins; reloaded on SIGHUP.
    ///
    /// The file can also set most of the options below. Options on the command line override it.
    /// CONFIG.md describes all keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// IP address and port to listen on; port 0 selects a free port [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Listen also if another proxy of this user listens on the address, for a restart without a
    /// gap.
    ///
    /// Start the new process, wait until it prints `listening on`, then stop the old one with
    /// SIGTERM. Until then, both get connections, also for the admin listener.
    #[arg(long)]
    take_over: bool,
    /// Store for responses: memory:512MiB, disk:PATH?max=10GiB or redis://HOST:PORT/DB [default:
    /// memory].
    ///
    /// memory holds up to 512 MiB, memory:2GiB up to 2 GiB. The process needs up to 1.1 times as
    /// much, and 80 MiB. disk:PATH?max=10GiB holds up to 10 GiB; without max, up to what was given
    /// last, or 1 GiB. rediss:// is Redis over TLS. redis+sentinel:// and redis+cluster:// take
    /// several addresses, separated by commas.
    ///
    /// With two --store options, the first is a near tier, which must be memory, and the second a
    /// far tier, which several proxies can share. Lookups try the near tier first; responses are
    /// written to both.
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Act as a private cache for a single user: also store responses that are marked `private`.
    #[arg(long)]
    private: bool,
    /// Address of the admin listener, with /purge, /stats and /metrics, e.g. 127.0.0.1:9321
    /// [default: none].
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    admin: Option<SocketAddr>,
    /// File with the token that admin requests must send; required if --admin is not a loopback
    /// address.
    ///
    /// Requests send it in the header `Authorization: Bearer TOKEN`. The token must have at least
    /// 16 characters. White space at its ends is ignored.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// Number of worker threads, 1 to 512 [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// How long an idle client connection stays open; 0s closes it after each response [default:
    /// 75s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    keep_alive: Option<Duration>,
    /// Compress responses with br, zstd or gzip, as clients accept, and store the compressed form.
    #[arg(long)]
    compress: bool,
    /// Longest wait for the head of the origin's response [default: 60s].
    ///
    /// After that the client gets status 504, or a stale response where that is allowed.
    #[arg(long, value_name = "DURATION", conflicts_with = "config", value_parser = parse_duration)]
    origin_timeout: Option<Duration>,
    /// File with further certificate authorities that are trusted for the origin, in PEM format.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    origin_ca: Option<PathBuf>,
    /// Send the origin's own name in the Host header, instead of the client's Host.
    #[arg(long, conflicts_with = "config")]
    origin_host: bool,
    /// Trust the Forwarded and X-Forwarded-* headers of the proxies in these networks.
    ///
    /// A list such as 10.0.0.0/8,192.0.2.7; without a value, loopback and private networks. The
    /// scheme and host that a trusted proxy has received are the target of the request. From other
    /// clients these headers are replaced, since anyone can send them.
    #[arg(long, value_name = "NETWORKS", num_args = 0..=1, require_equals = true, default_missing_value = "private")]
    trust_forwarded: Option<String>,
    /// Store responses with Set-Cookie where Cache-Control allows it. Every client gets the same
    /// cookie.
    #[arg(long)]
    share_set_cookie: bool,
    /// Store errors that one client's request may have caused, such as 400 and 416, where
    /// Cache-Control allows it. Every client gets the same error.
    #[arg(long)]
    share_request_errors: bool,
    /// What to do with Cache-Control and Pragma of requests, such as no-cache of a reload [default:
    /// collapse, or honor with --private].
    #[arg(long, value_name = "WHAT", value_enum)]
    client_directives: Option<ClientDirectives>,
    /// Serve over TLS with this certificate chain, a file in PEM format.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, a file in PEM format.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Check the options and the configuration file, print a summary, and exit.
    ///
    /// Everything is checked that a start checks, also the files that are named. No address is
    /// bound and no connection opened. The exit code is 0, or 2 if something is wrong.
    #[arg(long)]
    check: bool,
}

/// What to do with `Cache-Control` and `Pragma` of requests.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ClientDirectives {
    /// Obey each of them.
    Honor,
    /// Ignore all of them.
    Ignore,
    /// Send at most one reload a second to the origin for each stored response.
    Collapse,
}

impl From<ClientDirectives> for ClientDirectivesConfig {
    fn from(directives: ClientDirectives) -> Self {
        match directives {
            ClientDirectives::Honor => Self::Honor,
            ClientDirectives::Ignore => Self::Ignore,
            ClientDirectives::Collapse => Self::Collapse,
        }
    }
}

/// Check a configuration file of `larder proxy`.
///
/// Everything is checked that a start checks: keys and values, the files that are named,
/// certificates and their keys, URLs and networks. No address is bound and no connection opened.
/// The command prints a summary. The exit code is 0, or 2 if something is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # Before a reload with `kill -HUP`.
  larder check larder.toml")]
pub(crate) struct CheckArgs {
    /// Configuration file of `larder proxy --config`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs `larder check`.
pub(crate) fn run_check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    print_check(&args.file.display().to_string(), read_config(&args.file), |error| error)
}

/// Runs `larder proxy`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(&args);
    if args.check {
        let name = args.config.as_ref().map(|file| file.display().to_string());
        let name = name.unwrap_or_else(|| "the command line".to_owned());
        return print_check(&name, config, |error| from_options(&args, error));
    }
    // Before threads exist, and before a file gets the number of an inherited socket.
    let sockets = inherited::sockets()?;
    // Errors in the configuration occur here, before anything is opened.
    let config = config.map_err(failure)?;
    Proxy::check(config.clone()).map_err(|error| failure(from_options(&args, error)))?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // The workers of the proxy have runtimes of their own.
    let runtime = runtime.enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(args, config, sockets))
}

/// Checks a configuration, and prints a summary of it. Each error is wrong usage.
fn print_check(
    name: &str,
    config: Result<Config, ConfigError>,
    explain: impl Fn(ConfigError) -> ConfigError,
) -> anyhow::Result<ExitCode> {
    let invalid = |error| UsageError(explain(error).to_string());
    let config = config.map_err(invalid)?;
    let stores: Vec<String> = config.store.iter().map(|url| redact_url(url)).collect();
    let summary = Proxy::check(config).map_err(invalid)?;
    println!("{name} is valid");
    println!(
        "stores responses in {}",
        if stores.is_empty() { "memory".to_owned() } else { stores.join(", then ") }
    );
    print!("{summary}");
    Ok(ExitCode::SUCCESS)
}

/// Returns the configuration: the file, if there is one, with the command-line options over it.
fn config(args: &Args) -> Result<Config, ConfigError> {
    let mut config = match (&args.config, &args.origin) {
        (Some(path), _) => read_config(path)?,
        (None, origin) => Config::to(origin.as_deref().unwrap_or_default()),
    };
    if args.origin.is_some() {
        let route = &mut config.route[0];
        route.origin_host = args.origin_host;
        route.origin_timeout = args.origin_timeout;
        route.origin_ca.clone_from(&args.origin_ca);
    }
    config.listen = args.listen.or(config.listen);
    if !args.store.is_empty() {
        config.store.clone_from(&args.store);
        check_stores(&config)?;
    }
    config.private |= args.private;
    config.workers = args.workers.or(config.workers);
    config.keep_alive = args.keep_alive.or(config.keep_alive);
    config.compress |= args.compress;
    if let Some(networks) = &args.trust_forwarded {
        config.trusted_proxies = vec![networks.clone()];
        config.trust_forwarded = false;
    }
    config.share_set_cookie |= args.share_set_cookie;
    config.share_request_errors |= args.share_request_errors;
    config.client_directives = args.client_directives.map(Into::into).or(config.client_directives);
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(TlsConfig::new(cert, key));
    }
    if let Some(listen) = args.admin {
        let from_file = config.admin.take().and_then(|admin| admin.token_file);
        let mut admin = AdminConfig::new(listen);
        admin.token_file = args.admin_token_file.clone().or(from_file);
        config.admin = Some(admin);
    }
    Ok(config)
}

/// Reads the configuration file.
fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let config = Config::read(path, |name| std::env::var(name).ok())?;
    check_stores(&config).map(|()| config)
}

/// Checks the store URLs of a configuration.
fn check_stores(config: &Config) -> Result<(), ConfigError> {
    store_url::check(&config.store).map_err(|error| config.locate(ConfigError::new("store", error)))
}

/// Returns the error as one of the command-line option that it comes from, without a file.
fn from_options(args: &Args, error: ConfigError) -> ConfigError {
    let option = match &*error.key() {
        "route.origins" if args.origin.is_some() => "--origin",
        "route.origin_ca" if args.origin_ca.is_some() => "--origin-ca",
        "trusted_proxies" if args.trust_forwarded.is_some() => "--trust-forwarded",
        "admin.listen" if args.admin.is_some() => "--admin",
        "admin.token_file" if args.admin_token_file.is_some() => "--admin-token-file",
        "tls" | "tls.cert" | "tls.key" if args.tls_cert.is_some() => "--tls-cert",
        _ => return error,
    };
    error.renamed(option)
}

/// Returns the error that ends the process: with exit code 2 if the configuration is wrong, and 1
/// if the system refuses what it needs.
fn failure(error: ConfigError) -> anyhow::Error {
    if error.is_io() { error.into() } else { UsageError(error.to_string()).into() }
}

/// Runs the proxy, and the admin listener if there is one, until a signal stops it.
async fn serve(args: Args, config: Config, sockets: Vec<(String, OwnedFd)>) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    // The recorder comes first: counters register with the recorder that is installed when they are
    // created.
    let prometheus = config.admin.is_some().then(recorder::install).transpose()?;
    let stores = Stores::open(&config.store).await?;
    let mut proxy =
        Proxy::from_config(config, stores.store()).map_err(failure)?.with_take_over(args.take_over);
    for (name, socket) in sockets {
        proxy = proxy.with_socket(name, socket);
    }
    if let Some(prometheus) = prometheus {
        proxy = proxy.with_metrics(move || prometheus.render());
        proxy = proxy.with_store_stats(move || {
            let stores = stores.clone();
            async move {
                let mut stats = Vec::new();
                for store in stores.iter() {
                    stats.push(store_json(store).await);
                }
                serde_json::Value::from(stats).to_string()
            }
        });
    }
    let proxy = proxy.bind().map_err(|error| failure(from_options(&args, error)))?;
    if let Some(address) = proxy.admin_addr() {
        eprintln!("larder: admin on http://{address}");
    }
    let service = Service::from_env();
    if args.config.is_some() {
        reload_on_hangup(args, &proxy, service.clone())?;
    }
    let addresses: Vec<String> =
        proxy.addresses().iter().map(|address| format!("listening on {address}\n")).collect();
    print!("{}", addresses.concat());
    std::io::stdout().flush()?;
    service.has_started(proxy.handle());
    proxy.run().await?;
    Ok(ExitCode::SUCCESS)
}

/// Reloads the configuration at each SIGHUP, which no longer ends the process from here on.
fn reload_on_hangup(args: Args, proxy: &BoundProxy, service: Service) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let handle = proxy.handle();
    spawn_local(async move {
        let file = args.config.as_deref().unwrap_or(Path::new("")).display();
        while hangups.recv().await.is_some() {
            service.notify(ServiceNotifier::reloading);
            let reloaded = config(&args).and_then(|config| handle.reload(config));
            match reloaded.map_err(|error| from_options(&args, error)) {
                Ok(changes) => eprintln!("larder: reloaded {file}: {changes}"),
                Err(error) => {
                    eprintln!("larder: reload failed, keeping the previous configuration: {error}");
                }
            }
            service.notify(ServiceNotifier::ready);
        }
    });
    Ok(())
}
