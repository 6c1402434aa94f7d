//! `cargo xtask chaos`: repeats the fault tests of the stores more often than `cargo xtask test`,
//! and looks for stale reads in a fleet under faults ([`fleet`]).

mod fleet;

use std::{path::PathBuf, time::Duration};

use crate::process::{cargo, run as call};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask chaos redis --short
  LARDER_REDIS_SERVER=valkey-server cargo xtask chaos redis
  cargo xtask chaos fleet --short               as CI runs it
  cargo xtask chaos fleet --duration 600        ten minutes for each topology
  cargo xtask chaos fleet --topology sentinel --fault paused --seed 7")]
pub(crate) struct Args {
    /// What to test.
    #[arg(value_enum)]
    what: What,
    /// Run each test as often as `cargo xtask test` does; for a fleet, each fault once.
    #[arg(long)]
    short: bool,
    /// For a fleet: seed of the random choices, to repeat them.
    #[arg(long)]
    seed: Option<u64>,
    /// For a fleet: seconds for each topology [default: 120].
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// For a fleet: only this topology.
    #[arg(long, value_enum)]
    topology: Option<fleet::Topology>,
    /// For a fleet: only faults with this text in their names.
    #[arg(long)]
    fault: Option<String>,
    /// For a fleet: this `larder` binary instead of a debug build.
    #[arg(long)]
    bin: Option<PathBuf>,
}

impl Args {
    /// Returns the arguments of `cargo xtask ci`.
    pub(crate) fn for_ci() -> Self {
        Self {
            what: What::Fleet,
            short: true,
            seed: None,
            duration: None,
            topology: None,
            fault: None,
            bin: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The disk store: a process is killed while it writes and removes (2,000 times; 200 with
    /// --short), the disk is full or read-only, the power fails, the directory is removed, bytes
    /// are damaged at random positions.
    Disk,
    /// The Redis store: the server is killed, paused, full, failed over and resharded under load
    /// (ten rounds; one with --short). The environment variable LARDER_REDIS_SERVER selects
    /// another server program, such as valkey-server; also for a fleet.
    Redis,
    /// Four `larder proxy` processes on one Redis, single, with Sentinels or as a Cluster:
    /// processes are killed and paused, networks cut, masters replaced, data lost. No read after a
    /// confirmed removal may be older than it.
    Fleet,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match args.what {
        What::Disk => {
            crate::setup::run_for_tests()?;
            let (kills, cases) = if args.short { ("200", "48") } else { ("2000", "1000") };
            let tests = [
                "crash",
                "damage",
                "descriptors",
                "faults",
                "killed_purges",
                "leases",
                "limit",
                "power",
                "sharing",
                "stopped",
                "versions",
            ];
            let mut test = cargo();
            test.args(["test", "--release", "-p", "larder-disk"]);
            for name in tests {
                test.args(["--test", name]);
            }
            call(test.env("LARDER_KILLS", kills).env("PROPTEST_CASES", cases))
        }
        What::Redis => {
            crate::setup::run_for_tests()?;
            for _ in 0..if args.short { 1 } else { 10 } {
                let mut test = cargo();
                test.args(["test", "--release", "-p", "larder-redis"]);
                for name in
                    ["connections", "consistency", "failover", "faults", "fleet", "readers", "versions"]
                {
                    test.args(["--test", name]);
                }
                call(&mut test)?;
            }
            Ok(())
        }
        What::Fleet => fleet::run(&fleet::Options {
            short: args.short,
            seed: args.seed,
            duration: args.duration.map(Duration::from_secs),
            topology: args.topology,
            fault: args.fault.clone(),
            bin: args.bin.clone(),
        }),
    }
}
