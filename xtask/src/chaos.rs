//! `cargo xtask chaos`: the fault tests of the stores, for longer than `cargo xtask test` runs them.

use crate::process::{cargo, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to break.
    #[arg(value_enum)]
    what: What,
    /// As often as `cargo xtask test` does.
    #[arg(long)]
    short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// A process is killed while it writes to the disk store: 2,000 times, 200 with --short. Then a full disk, a
    /// read-only one, a directory that goes, and damage at any position.
    Disk,
    /// Redis is killed, held, full, failed over and resharded under load: once each with --short, ten times without.
    Redis,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match args.what {
        What::Disk => {
            crate::setup::run_for_tests()?;
            let (kills, cases) = if args.short { ("200", "48") } else { ("2000", "1000") };
            let tests = ["crash", "damage", "descriptors", "faults", "sharing"];
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
                call(cargo().args([
                    "test",
                    "--release",
                    "-p",
                    "larder-redis",
                    "--test",
                    "faults",
                    "--test",
                    "fleet",
                ]))?;
            }
            Ok(())
        }
    }
}
