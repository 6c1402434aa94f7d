//! `cargo xtask chaos`: repeats the fault tests of the stores more often than `cargo xtask test`.

use crate::process::{cargo, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store to test.
    #[arg(value_enum)]
    what: What,
    /// Run each test as often as `cargo xtask test` does.
    #[arg(long)]
    short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The disk store: a process is killed while it writes (2,000 times; 200 with --short), the
    /// disk is full or read-only, the power fails, the directory is removed, bytes are damaged at
    /// random positions.
    Disk,
    /// The Redis store: the server is killed, paused, full, failed over and resharded under load
    /// (ten rounds; one with --short).
    Redis,
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
                "leases",
                "limit",
                "power",
                "sharing",
                "stopped",
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
                for name in ["connections", "consistency", "faults", "fleet", "readers"] {
                    test.args(["--test", name]);
                }
                call(&mut test)?;
            }
            Ok(())
        }
    }
}
