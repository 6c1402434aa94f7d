//! `larder proxy`: a caching reverse proxy in one process.

mod access;
mod admin;
mod config;
mod origins;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use larder::{
    actix::{ProxyOptions, ProxyServer, ReverseProxy, ServerOptions},
    core::{Cache, Limits, Rules},
    metrics::Counters,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

pub(crate) use self::admin::read_token;
use self::{
    access::AccessLogger,
    admin::Admin,
    config::{Config, Route, Time, Tls},
    origins::RouteTable,
};
use crate::store_url::{self, Stores, UsageError};

/// Run a caching reverse proxy in front of a server, or of several.
///
/// It prints `listening on http://ADDR` when it accepts connections. SIGTERM and SIGINT let the requests in flight
/// finish; SIGHUP reads the configuration file again, and keeps the old one if the new one is wrong. What the origin's
/// Cache-Control allows is kept; the Cache-Status field of each response says what was done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder proxy --origin http://127.0.0.1:3000
  larder proxy --origin http://127.0.0.1:3000 --compress --store disk:/var/cache/larder?max=20GiB
  larder proxy --origin http://127.0.0.1:3000 --store memory:1GiB --store redis://cache:6379/0
  larder proxy --origin https://example.com --origin-host --listen 0.0.0.0:8080 --store memory:2GiB
  larder proxy --origin http://127.0.0.1:3000 --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
  larder proxy --origin http://127.0.0.1:3000 --admin 127.0.0.1:9321     then: larder stats --admin http://127.0.0.1:9321
  larder proxy --config larder.toml                    several origins, routes, health checks, rules; see CONFIG.md")]
pub(crate) struct Args {
    /// The server to stand in front of, e.g. http://127.0.0.1:3000.
    #[arg(long, value_name = "URL", required_unless_present = "config", conflicts_with = "config")]
    origin: Option<String>,
    /// A file with routes and origins, and with whatever is not said here. Read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 is any free one. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where responses are kept: memory:512MiB, disk:PATH?max=10GiB,
    /// redis://host:6379/0. Given twice, memory near and another far. [default: memory]
    #[arg(long, value_name = "SPEC")]
    store: Vec<String>,
    /// Be a private cache, of one user: what is marked `private` is kept, too.
    #[arg(long)]
    private: bool,
    /// Where the owner's listener is, with /purge, /stats and /metrics; e.g. 127.0.0.1:9321. [default: none]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// What requests to it have to bring: Authorization: Bearer, and what is in this file. Needed unless it is on loopback.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// Threads. [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// How long an idle connection is kept; 0s for not at all. [default: 75s]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    keep_alive: Option<Duration>,
    /// Keep pages in the codings that clients ask for (br, zstd, gzip), each made once.
    #[arg(long)]
    compress: bool,
    /// How long the origin may take to answer. [default: 60s]
    #[arg(long, value_name = "D", conflicts_with = "config", value_parser = humantime::parse_duration)]
    origin_timeout: Option<Duration>,
    /// Give the origin its own name as Host, and not the one that the client asked for.
    #[arg(long, conflicts_with = "config")]
    origin_host: bool,
    /// Trust the X-Forwarded-* fields of requests: something before this proxy has written them.
    #[arg(long)]
    trust_forwarded: bool,
    /// Store responses that set cookies, and give the cookie to everyone, where Cache-Control allows it.
    #[arg(long)]
    share_set_cookie: bool,
    /// Serve over TLS, with this certificate chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// What the workers and the admin's listener share.
pub(crate) struct Shared {
    plan: Mutex<Arc<RouteTable>>,
    pub(crate) stores: Stores,
}

impl Shared {
    /// The routes in force.
    pub(crate) fn plan(&self) -> Arc<RouteTable> {
        Arc::clone(&self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, plan: Arc<RouteTable>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(&args)?;
    // What is wrong with it shows before anything is bound.
    let plan = RouteTable::new(&config).map_err(|error| match &args.origin {
        Some(_) => UsageError(format!("--{}; e.g. --origin http://127.0.0.1:3000", error.0)),
        None => error,
    });
    let plan = Arc::new(plan?);
    store_url::check(&config.store)?;
    let token = config.admin.as_ref().map(admin::token).transpose()?.flatten();
    let system = actix_rt::System::new();
    system.block_on(serve(args, config, plan, token))
}

/// The file, with what the command line says over it.
fn config(args: &Args) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(path) => read_config(path)?,
        None => Config::default(),
    };
    if let Some(origin) = &args.origin {
        let mut route = Route::to(origin);
        route.origin_host = args.origin_host;
        route.origin_timeout = args.origin_timeout.map(Time);
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
    config.trust_forwarded |= args.trust_forwarded;
    config.share_set_cookie |= args.share_set_cookie;
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(Tls { cert: cert.clone(), key: key.clone() });
    }
    if let Some(listen) = args.admin {
        let in_file = config.admin.take().and_then(|admin| admin.token_file);
        let token_file = args.admin_token_file.clone().or(in_file);
        config.admin = Some(config::Admin { listen, token_file });
    }
    Ok(config)
}

fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    Config::parse(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())).into())
}

async fn serve(
    args: Args,
    config: Config,
    plan: Arc<RouteTable>,
    token: Option<String>,
) -> anyhow::Result<ExitCode> {
    // Before anything counts: counters take their places in it.
    let prometheus = config.admin.is_some().then(recorder).transpose()?;
    let counters = Arc::new(Counters::new());
    let stores = Stores::open(&config.store).await?;
    let cache = cache(&config, &plan, &stores, &counters);
    let shared = Arc::new(Shared { plan: Mutex::new(Arc::clone(&plan)), stores });
    let (exchanges, _writes_the_rest) = AccessLogger::new(config.log.as_ref(), prometheus.is_some())?;

    let mut server = ServerOptions::default();
    server.workers = config.workers.map(usize::from);
    server.keep_alive = config.keep_alive.map_or(server.keep_alive, |time| time.0);
    let listen = config.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let mut server = ProxyServer::bind(listen, server)
        .with_context(|| format!("can't listen on {listen}; is it in use? Try --listen 127.0.0.1:0"))?;
    if let Some(Tls { cert, key }) = &config.tls {
        server = server
            .tls(&read(cert)?, &read(key)?)
            .with_context(|| format!("--tls-cert {} --tls-key {}", cert.display(), key.display()))?;
    }
    let mut options = ProxyOptions::default();
    options.trust_forwarded = config.trust_forwarded;
    options.https = config.tls.is_some();
    options.access_log = exchanges.map(|exchanges| exchanges as _);
    let scheme = if options.https { "https" } else { "http" };
    let address = server.local_addr()?;
    let reloader = server.reloader();
    let (of_workers, kept) = (Arc::clone(&shared), cache.clone());
    let running = server
        .run(move || ReverseProxy::with_routes(kept.clone(), of_workers.plan().routes(), options.clone()))?;

    let mut admin = None;
    if let (Some(wanted), Some(prometheus)) = (&config.admin, prometheus) {
        let (cache, shared, begun) = (cache.clone(), Arc::clone(&shared), Instant::now());
        let listener = Admin { cache, counters, prometheus, shared, begun, token };
        let (server, address) = listener.serve(wanted.listen)?;
        admin = Some((server.handle(), actix_rt::spawn(server)));
        eprintln!("larder: admin on http://{address}");
    }
    let mut checks = plan.watch();
    if let Some(path) = args.config.clone() {
        actix_rt::spawn(async move {
            let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
            else {
                return;
            };
            while hangups.recv().await.is_some() {
                match reread(&args, &path) {
                    Ok(plan) => {
                        let plan = Arc::new(plan);
                        drop(std::mem::replace(&mut checks, plan.watch()));
                        shared.replace(plan);
                        reloader.reload();
                        eprintln!("larder: {} is in force", path.display());
                    }
                    Err(error) => eprintln!("larder: the configuration stays as it was: {error:#}"),
                }
            }
        });
    }
    println!("listening on {scheme}://{address}");
    std::io::stdout().flush()?;
    running.serve().await?;
    if let Some((handle, serving)) = admin {
        handle.stop(false).await;
        let _ = serving.await;
    }
    cache.drain(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

/// The routes of the file as it is now. What is read at the start alone stays as it was.
fn reread(args: &Args, path: &Path) -> anyhow::Result<RouteTable> {
    let config = config(args).with_context(|| path.display().to_string())?;
    Ok(RouteTable::new(&config)?)
}

fn cache(config: &Config, plan: &RouteTable, stores: &Stores, counters: &Arc<Counters>) -> Cache {
    let mut rules = if config.private { Rules::private() } else { Rules::shared() };
    rules.store_set_cookie |= config.share_set_cookie;
    let mut limits = Limits::default();
    limits.origin_timeout = plan.max_origin_timeout();
    let builder = Cache::builder(stores.store()).rules(rules).limits(limits);
    // Nobody could read them without the admin's listener.
    let builder = if config.admin.is_some() { builder.observer(Arc::clone(counters) as _) } else { builder };
    builder.build()
}

fn recorder() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
    let name = Matcher::Full("larder_http_request_duration_seconds".to_owned());
    let handle = PrometheusBuilder::new().set_buckets_for_metric(name, &seconds)?.install_recorder()?;
    let upkeep = handle.clone();
    actix_rt::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}
