//! `larder proxy`: merges command line and configuration file, and runs the proxy until a signal
//! stops it.
//!
//! `config` has the keys of the file, `origins` builds the routes, `shared` holds them, `admin` is
//! the admin listener, `access` the access log.

mod access;
mod admin;
mod config;
mod descriptors;
mod origins;
mod shared;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use larder::{
    core::{Cache, Limits, Rules},
    metrics::Counters,
    proxy::{ListenerOptions, ProxyOptions, ProxyServer, ReverseProxy, ServerOptions},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    runtime::LocalOptions,
    signal::unix::{SignalKind, signal},
    task::spawn_local,
    time::Instant,
};

pub(crate) use self::admin::read_token;
use self::{
    access::AccessLogger,
    admin::Admin,
    config::{Config, Route, Time, Tls},
    origins::RouteTable,
    shared::Shared,
};
use crate::{
    humanize::{parse_address, parse_duration},
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
    /// SIGTERM. Until then, both get connections.
    #[arg(long)]
    take_over: bool,
    /// Store for responses: memory:512MiB, disk:PATH?max=10GiB or redis://HOST:PORT/DB [default:
    /// memory].
    ///
    /// memory holds up to 512 MiB, memory:2GiB up to 2 GiB. disk:PATH holds up to 1 GiB,
    /// disk:PATH?max=10GiB up to 10 GiB. rediss:// is Redis over TLS. redis+sentinel:// and
    /// redis+cluster:// take several addresses, separated by commas.
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
    client_directives: Option<config::ClientDirectives>,
    /// Serve over TLS with this certificate chain, a file in PEM format.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, a file in PEM format.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(&args)?;
    // Errors in the configuration occur here, before anything is bound.
    let route_table = Arc::new(route_table(&args, &config)?);
    store_url::check(&config.store)?;
    let token = config.admin.as_ref().map(admin::token).transpose()?.flatten();
    // The workers of the proxy have runtimes of their own.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(args, config, route_table, token))
}

/// Returns the configuration: the file, if there is one, with the command-line options over it.
fn config(args: &Args) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(path) => read_config(path)?,
        None => Config::default(),
    };
    if let Some(origin) = &args.origin {
        let mut route = Route::to(origin);
        route.origin_host = args.origin_host;
        route.origin_timeout = args.origin_timeout.map(Time);
        route.origin_ca.clone_from(&args.origin_ca);
        config.route = vec![route];
    }
    config.listen = args.listen.or(config.listen);
    if !args.store.is_empty() {
        config.store.clone_from(&args.store);
    }
    config.private |= args.private;
    config.workers = args.workers.or(config.workers);
    config.keep_alive = args.keep_alive.map(Time).or(config.keep_alive);
    config.compress |= args.compress;
    if let Some(networks) = &args.trust_forwarded {
        config.trusted_proxies = config::TrustedNetworks::One(networks.clone());
        config.trust_forwarded = false;
    }
    config.share_set_cookie |= args.share_set_cookie;
    config.share_request_errors |= args.share_request_errors;
    config.client_directives = args.client_directives.or(config.client_directives);
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(Tls { cert: cert.clone(), key: key.clone() });
    }
    if let Some(listen) = args.admin {
        let from_file = config.admin.take().and_then(|admin| admin.token_file);
        let token_file = args.admin_token_file.clone().or(from_file);
        config.admin = Some(config::Admin { listen, token_file });
    }
    Ok(config)
}

/// Validates the routes. Errors name the option or the file that they come from.
fn route_table(args: &Args, config: &Config) -> Result<RouteTable, UsageError> {
    RouteTable::new(config).map_err(|error| match &args.config {
        Some(path) => UsageError(format!("{}: {error}", path.display())),
        None => UsageError(format!("--{error}; e.g. --origin http://127.0.0.1:3000")),
    })
}

/// Reads and parses the configuration file. Errors name the file.
fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the configuration file {}", path.display()))?;
    Config::parse(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())).into())
}

/// Runs the proxy, and the admin listener if there is one, until a signal stops it.
async fn serve(
    args: Args,
    config: Config,
    route_table: Arc<RouteTable>,
    token: Option<String>,
) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    // The recorder comes first: counters register with the recorder that is installed when they are
    // created.
    let prometheus = config.admin.is_some().then(install_recorder).transpose()?;
    let counters = Arc::new(Counters::new());
    let stores = Stores::open(&config.store).await?;
    let cache = cache(&config, &route_table, &stores, &counters);
    let shared = Arc::new(Shared::new(Arc::clone(&route_table), stores));
    let (access_log, _flush_on_drop) = AccessLogger::new(config.log.as_ref(), prometheus.is_some())?;

    let mut server = ServerOptions::default();
    server.workers = config.workers.map(usize::from);
    server.keep_alive = config.keep_alive.map_or(server.keep_alive, |time| time.0);
    let listen = config.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let mut server = ProxyServer::new(server)
        .listen(ListenerOptions::tcp(listen).with_take_over(args.take_over))
        .with_context(|| format!("can't listen on {listen} (try another address or port with --listen)"))?;
    if let Some(Tls { cert, key }) = &config.tls {
        server = server.tls(&read(cert, "TLS certificate")?, &read(key, "TLS key")?).with_context(|| {
            format!("can't serve with the TLS certificate {} and the key {}", cert.display(), key.display())
        })?;
    }
    let mut options = ProxyOptions::default();
    options.trusted_proxies = config.trusted_proxies()?;
    options.https = config.tls.is_some();
    options.access_log = access_log.map(|log| log as _);
    let scheme = if options.https { "https" } else { "http" };
    let address = server.local_addr()?;
    let reloader = server.reloader();
    let (worker_shared, worker_cache) = (Arc::clone(&shared), cache.clone());
    let running = server.run(move || {
        ReverseProxy::with_routes(worker_cache.clone(), worker_shared.route_table().routes(), options.clone())
    })?;

    let mut admin = None;
    if let (Some(settings), Some(prometheus)) = (&config.admin, prometheus) {
        let (cache, shared, started) = (cache.clone(), Arc::clone(&shared), Instant::now());
        let listener = Admin { cache, counters, prometheus, shared, started, token };
        let listening = listener.bind(settings.listen).await?;
        let address = listening.local_addr()?;
        admin = Some(spawn_local(listening.serve()));
        eprintln!("larder: admin on http://{address}");
    }
    let mut health_checks = route_table.start_health_checks();
    if let Some(path) = args.config.clone() {
        // Received from here on, before the address is printed.
        let mut hangups = signal(SignalKind::hangup())?;
        spawn_local(async move {
            while hangups.recv().await.is_some() {
                match reload(&args) {
                    Ok(route_table) => {
                        let route_table = Arc::new(route_table);
                        drop(std::mem::replace(&mut health_checks, route_table.start_health_checks()));
                        shared.replace(route_table);
                        reloader.reload();
                        eprintln!("larder: reloaded {}", path.display());
                    }
                    Err(error) => {
                        eprintln!("larder: reload failed, keeping the previous configuration: {error:#}");
                    }
                }
            }
        });
    }
    println!("listening on {scheme}://{address}");
    std::io::stdout().flush()?;
    running.serve().await?;
    if let Some(serving) = admin {
        serving.abort();
    }
    cache.drain(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

/// Reads the routes from the file again. Settings that are only read at the start keep their
/// values.
fn reload(args: &Args) -> anyhow::Result<RouteTable> {
    Ok(route_table(args, &config(args)?)?)
}

/// Creates the engine.
fn cache(config: &Config, route_table: &RouteTable, stores: &Stores, counters: &Arc<Counters>) -> Cache {
    let mut rules = if config.private { Rules::private() } else { Rules::shared() };
    rules.store_set_cookie |= config.share_set_cookie;
    rules.store_request_errors |= config.share_request_errors;
    let limits = Limits::default()
        .with_origin_timeout(route_table.max_origin_timeout())
        .with_body_timeout(route_table.max_body_timeout());
    let builder = Cache::builder(stores.store()).rules(rules).limits(limits);
    // Without an admin listener, no one could read the counters.
    let builder = if config.admin.is_some() { builder.observer(Arc::clone(counters) as _) } else { builder };
    builder.build()
}

/// Installs the Prometheus recorder, and a task that maintains its histograms.
fn install_recorder() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
    let name = Matcher::Full("larder_http_request_duration_seconds".to_owned());
    let handle = PrometheusBuilder::new().set_buckets_for_metric(name, &seconds)?.install_recorder()?;
    let upkeep = handle.clone();
    spawn_local(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Reads a file. `kind` describes it in the error.
fn read(path: &PathBuf, kind: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read the {kind} {}", path.display()))
}
