//! `cargo xtask setup`: installs the programs that the other commands need.

use std::process::Command;

use crate::process::{is_installed, run as call};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also install what only the benchmarks need: other caches, and wrk.
    #[arg(long)]
    bench: bool,
}

/// Programs, and the Debian packages that contain them.
const TESTS: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("pg_ctlcluster", "postgresql"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];
const BENCHMARKS: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("varnishd", "varnish"),
    ("haproxy", "haproxy"),
    ("squid", "squid"),
    ("traffic_server", "trafficserver"),
    ("cmake", "cmake"),
    ("c++", "g++"),
    ("wrk", "wrk"),
    ("taskset", "util-linux"),
];

const COUNTS: &[(&str, &str)] = &[("valgrind", "valgrind")];

pub(crate) fn run_for_tests() -> anyhow::Result<()> {
    packages(TESTS)
}

pub(crate) fn run_for_benchmarks() -> anyhow::Result<()> {
    packages(BENCHMARKS)
}

pub(crate) fn run_for_counts() -> anyhow::Result<()> {
    packages(COUNTS)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages(TESTS)?;
    packages(COUNTS)?;
    if args.bench {
        packages(BENCHMARKS)?;
    }
    cargo_deny()?;
    println!("setup: everything is installed");
    Ok(())
}

/// Installs cargo-deny. It takes minutes to compile, so only the commands that need it call this.
pub(crate) fn cargo_deny() -> anyhow::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let there = home.is_some_and(|home| home.join("bin/cargo-deny").is_file()) || is_installed("cargo-deny");
    if there {
        return Ok(());
    }
    println!("installing cargo-deny");
    call(crate::process::cargo().args(["install", "--locked", "cargo-deny"]))
}

fn packages(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<_> =
        wanted.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    anyhow::ensure!(
        is_installed("apt-get"),
        "missing packages: {missing}; there is no apt-get, so install them with the package manager of this system"
    );
    println!("installing {missing}");
    // Debian starts a server when its package is installed. The policy prevents that: tests start
    // private ones.
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; policy=/usr/sbin/policy-rc.d; \
         if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod +x $policy; trap 'rm -f '$policy EXIT; fi; \
         apt-get update -qq; apt-get install -y -qq --no-install-recommends {missing} > /dev/null"
    );
    let mut shell = if is_root() { Command::new("sh") } else { sudo() };
    call(shell.args(["-c", &script]))
}

fn sudo() -> Command {
    let mut sudo = Command::new("sudo");
    sudo.arg("sh");
    sudo
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
