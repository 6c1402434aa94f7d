//! `larder proxy`: a caching reverse proxy in one process.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use larder::{
    actix::{ProxyOptions, ProxyServer, ReverseProxy, ServerOptions},
    core::{Cache, Rules},
    hyper::{HyperOptions, HyperOrigin},
};

use crate::spec::{self, UsageError};

/// Run a caching reverse proxy in front of a server.
///
/// It prints `listening on http://ADDR` when it accepts connections. SIGTERM and SIGINT let the requests in flight
/// finish. What the origin's Cache-Control allows is kept; the Cache-Status field of each response says what was done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder proxy --origin http://127.0.0.1:3000
  larder proxy --origin http://127.0.0.1:3000 --store disk:/var/cache/larder?max=20GiB
  larder proxy --origin http://127.0.0.1:3000 --store memory:1GiB --store redis://cache:6379/0
  larder proxy --origin https://example.com --origin-host --listen 0.0.0.0:8080 --store memory:2GiB
  larder proxy --origin http://127.0.0.1:3000 --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem")]
pub(crate) struct Args {
    /// The server to stand in front of, e.g. http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    origin: String,
    /// Where to listen; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where responses are kept: memory:512MiB, disk:PATH?max=10GiB,
    /// redis://host:6379/0. Given twice, memory near and another far. [default: memory]
    #[arg(long, value_name = "SPEC")]
    store: Vec<String>,
    /// Be a private cache, of one user: what is marked `private` is kept, too.
    #[arg(long)]
    private: bool,
    /// Threads. [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// How long an idle connection is kept; 0s for not at all.
    #[arg(long, value_name = "D", default_value = "75s", value_parser = humantime::parse_duration)]
    keep_alive: Duration,
    /// How long the origin may take to answer.
    #[arg(long, value_name = "D", default_value = "60s", value_parser = humantime::parse_duration)]
    origin_timeout: Duration,
    /// Give the origin its own name as Host, and not the one that the client asked for.
    #[arg(long)]
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

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut origin = HyperOptions::to(&args.origin).map_err(|error| {
        UsageError(format!("--origin {}: {error}; e.g. --origin http://127.0.0.1:3000", args.origin))
    })?;
    origin.origin_host = args.origin_host;
    origin.head_timeout = args.origin_timeout;
    // What is wrong with it shows before anything is bound.
    HyperOrigin::new(origin.clone())
        .map_err(|error| UsageError(format!("--origin {}: {error}", args.origin)))?;
    spec::check(&args.store)?;
    let mut server = ServerOptions::default();
    server.workers = args.workers.map(usize::from);
    server.keep_alive = args.keep_alive;
    let mut options = ProxyOptions::default();
    options.trust_forwarded = args.trust_forwarded;
    options.https = args.tls_cert.is_some();
    actix_rt::System::new().block_on(async move {
        let cache = cache(&args).await?;
        let mut server = ProxyServer::bind(args.listen, server).with_context(|| {
            format!("can't listen on {}; is it in use? Try --listen 127.0.0.1:0", args.listen)
        })?;
        if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
            server = server.tls(&read(certificates)?, &read(key)?).with_context(|| {
                format!("--tls-cert {} --tls-key {}", certificates.display(), key.display())
            })?;
        }
        let scheme = if options.https { "https" } else { "http" };
        let address = server.local_addr()?;
        let kept = cache.clone();
        let running = server.run(move || {
            let origin = HyperOrigin::new(origin.clone()).expect("the same options made one before");
            ReverseProxy::new(kept.clone(), Arc::new(origin), options.clone())
        })?;
        println!("listening on {scheme}://{address}");
        std::io::stdout().flush()?;
        running.serve().await?;
        cache.drain(Duration::from_secs(5)).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn cache(args: &Args) -> anyhow::Result<Cache> {
    let mut rules = if args.private { Rules::private() } else { Rules::shared() };
    rules.store_set_cookie |= args.share_set_cookie;
    let mut limits = larder::core::Limits::default();
    limits.origin_timeout = args.origin_timeout;
    Ok(Cache::builder(spec::store_or_memory(&args.store).await?).rules(rules).limits(limits).build())
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}
