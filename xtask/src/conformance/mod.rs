//! `cargo xtask conformance`: runs the public test suite for HTTP caches against `larder proxy`.
//!
//! This file starts the caches. [`suite`] installs and runs the suite, [`exceptions`] reads the
//! list of tests with other expectations, and [`judging`] compares the results with them.

mod exceptions;
mod judging;
mod suite;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{self, Server, cargo};
use judging::Report;
use suite::{Protocol, Suite};

/// Run the public suite for HTTP caches (http-cache-tests, from npm) against `larder proxy`.
///
/// A test passes if it and the tests it depends on pass. The command exits with 1 if a required or
/// optimal test fails that is not listed in xtask/conformance/exceptions.txt, or if a listed one
/// behaves differently.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask conformance                           all profiles, as CI runs them
  cargo xtask conformance --only private            one profile
  cargo xtask conformance --only shared --id age-parse-dup-old
                                                    one test, with the messages of client and origin
  cargo xtask conformance --bin target/release/larder
  cargo xtask conformance --base http://127.0.0.1:8080 --origin-port 8000
                                                    any cache in front of port 8000: counts only

The result of each test is written to target/conformance/results-*.json.")]
pub(crate) struct Args {
    /// Run only this test, and show the messages.
    #[arg(long)]
    id: Option<String>,
    /// Run only this profile.
    #[arg(long, value_enum)]
    only: Option<Profile>,
    /// Build the proxy with this cargo profile [default: dev].
    #[arg(long)]
    profile: Option<String>,
    /// Use this `larder` binary instead of building one.
    #[arg(long, conflicts_with_all = ["profile", "base"])]
    bin: Option<PathBuf>,
    /// Test a cache that already runs at this URL, and only count.
    #[arg(long, conflicts_with_all = ["profile", "only"])]
    base: Option<String>,
    /// Protocol for a cache at this URL.
    #[arg(long, value_enum, default_value_t = Protocol::Http1, requires = "base")]
    protocol: Protocol,
    /// Port on which that cache expects its origin. The suite's origin listens there.
    #[arg(long, default_value_t = 8000, requires = "base")]
    origin_port: u16,
}

/// How the cache is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// A shared cache that also stores responses with `Set-Cookie`, which three tests require.
    Shared,
    /// The same, over HTTP/2.
    Http2,
    /// A private cache.
    Private,
    /// `CachedClient` behind a small server. Judged as the private profile.
    Client,
}

impl Profile {
    const ALL: [Self; 4] = [Self::Shared, Self::Http2, Self::Private, Self::Client];

    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Http2 => "http2",
            Self::Private => "private",
            Self::Client => "client",
        }
    }

    /// Returns the name of the profile in exceptions.txt.
    fn judged_as(self) -> &'static str {
        match self {
            Self::Shared | Self::Http2 => "shared",
            Self::Private | Self::Client => "private",
        }
    }

    /// Returns the protocol between client and cache.
    fn protocol(self) -> Protocol {
        if self == Self::Http2 { Protocol::Http2 } else { Protocol::Http1 }
    }

    /// Returns the command that starts the cache in front of `origin`.
    fn command(self, binary: &Path, origin: &str) -> anyhow::Result<Command> {
        let flags: &[&str] = match self {
            Self::Shared | Self::Http2 => &["--share-set-cookie", "--share-request-errors"],
            Self::Private => &["--private", "--share-request-errors"],
            Self::Client => {
                process::run(cargo().args([
                    "build",
                    "--quiet",
                    "-p",
                    "larder-reqwest",
                    "--example",
                    "bridge",
                ]))?;
                let mut bridge = Command::new("target/debug/examples/bridge");
                bridge.arg(origin);
                return Ok(bridge);
            }
        };
        let mut proxy = Command::new(binary);
        proxy.args(["proxy", "--listen", "127.0.0.1:0"]).args(flags).args(["--origin", origin]);
        Ok(proxy)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    crate::setup::run_for_tests()?;
    let suite = Suite::install()?;
    if let Some(base) = &args.base {
        let _origin = suite.origin(args.origin_port, args.id.is_some())?;
        if let Some(id) = &args.id {
            return suite.show(args.protocol, base, id);
        }
        let report = Report::new(&suite.tests, &[], "other", &suite.results(args.protocol, base, "other")?);
        print!("\n{base}: {report}");
        return Ok(());
    }
    let binary = match &args.bin {
        Some(binary) => binary.clone(),
        None => build(args.profile.as_deref().unwrap_or("dev"))?,
    };
    let exceptions = exceptions::read(&suite.tests)?;
    let mut faults = Vec::new();
    for profile in Profile::ALL.into_iter().filter(|profile| args.only.is_none_or(|only| only == *profile)) {
        let name = profile.name();
        let (_origin, origin) = suite.origin(0, args.id.is_some())?;
        let (_cache, base) = Server::start_until(&mut profile.command(&binary, &origin)?, "listening on ")?;
        if let Some(id) = &args.id {
            println!("{name} cache");
            suite.show(profile.protocol(), &base, id)?;
            continue;
        }
        let results = suite.results(profile.protocol(), &base, name)?;
        let report = Report::new(&suite.tests, &exceptions, profile.judged_as(), &results);
        print!("\n{name} cache: {report}");
        faults.extend(report.faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    anyhow::ensure!(
        faults.is_empty(),
        "{} tests do not behave as required or as listed in {}:\n  {}",
        faults.len(),
        exceptions::FILE,
        faults.join("\n  ")
    );
    Ok(())
}

fn build(profile: &str) -> anyhow::Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "-p", "larder-cli", "--profile", profile]))?;
    Ok(Path::new("target").join(if profile == "dev" { "debug" } else { profile }).join("larder"))
}
