//! `cargo xtask conformance`: the public suite for HTTP caches, against `larder proxy`.
//!
//! This file starts what is needed and says who is asked. [`suite`] knows how the suite is installed and run, [`exceptions`]
//! reads what counts differently here, and [`judging`] counts and finds fault.

mod exceptions;
mod judging;
mod suite;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{self, Server, cargo};
use judging::Report;
use suite::Suite;

/// Run the public suite for HTTP caches (http-cache-tests, from npm) against `larder proxy`.
///
/// A test passes if it does, and if what it depends on does. Exits with 1 if a required or an optimal test fails that is not
/// listed in xtask/conformance/exceptions.txt, and if one that is listed does not behave as it says there.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask conformance                           all profiles, as CI runs it
  cargo xtask conformance --only private            one of them
  cargo xtask conformance --only shared --id age-parse-dup-old
                                                    one test, with what client and origin saw
  cargo xtask conformance --bin target/release/larder
  cargo xtask conformance --base http://127.0.0.1:8080 --origin-port 8000
                                                    any cache in front of port 8000: counts, and judges nothing

What each test said is kept in target/conformance/results-*.json.")]
pub(crate) struct Args {
    /// Only this test, with what was sent and received.
    #[arg(long)]
    id: Option<String>,
    /// Only this profile.
    #[arg(long, value_enum)]
    only: Option<Profile>,
    /// Build the proxy with this cargo profile [default: dev].
    #[arg(long)]
    profile: Option<String>,
    /// A binary that understands `proxy`, instead of building one.
    #[arg(long, conflicts_with_all = ["profile", "base"])]
    bin: Option<PathBuf>,
    /// Ask a cache that runs already, and only count.
    #[arg(long, conflicts_with_all = ["profile", "only"])]
    base: Option<String>,
    /// Where that cache looks for its origin; the suite's listens there.
    #[arg(long, default_value_t = 8000, requires = "base")]
    origin_port: u16,
}

/// As what the cache is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// For everybody, and told to store responses that set cookies, as three tests want.
    Shared,
    /// For one user.
    Private,
    /// The same rules in a client: `CachedClient`, behind a bridge. Judged as the private cache is.
    Client,
}

impl Profile {
    const ALL: [Self; 3] = [Self::Shared, Self::Private, Self::Client];

    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Client => "client",
        }
    }

    /// As exceptions.txt calls it.
    fn judged_as(self) -> &'static str {
        if self == Self::Shared { "shared" } else { "private" }
    }

    /// The cache, in front of an origin.
    fn command(self, binary: &Path, origin: &str) -> anyhow::Result<Command> {
        let flag = match self {
            Self::Shared => "--share-set-cookie",
            Self::Private => "--private",
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
        proxy.args(["proxy", "--listen", "127.0.0.1:0", flag, "--origin", origin]);
        Ok(proxy)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    crate::setup::run_for_tests()?;
    let suite = Suite::install()?;
    if let Some(base) = &args.base {
        let _origin = suite.origin(args.origin_port, args.id.is_some())?;
        if let Some(id) = &args.id {
            return suite.show(base, id);
        }
        let report = Report::new(&suite.tests, &[], "other", &suite.results(base, "other")?);
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
            suite.show(&base, id)?;
            continue;
        }
        let results = suite.results(&base, name)?;
        let report = Report::new(&suite.tests, &exceptions, profile.judged_as(), &results);
        print!("\n{name} cache: {report}");
        faults.extend(report.faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    anyhow::ensure!(
        faults.is_empty(),
        "{} tests are neither right nor listed in {}:\n  {}",
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
