//! `cargo xtask attacks`: attacks a cache from both sides, as hostile clients and hostile origins,
//! and lets an innocent second client look whether it was harmed.
//!
//! [`lab`] starts what is attacked, [`script`] is the origin, [`client`] and [`frames`] send any
//! bytes over HTTP/1.1 and HTTP/2. The cases stand in a file for each kind; [`case`] describes one.
//! [`known`] reads the list of those that fail today, and [`report`] prints the results.

mod case;
pub(crate) mod client;
mod crowds;
mod errors;
mod frames;
mod framing;
mod hops;
mod http2;
mod keys;
mod known;
mod lab;
#[cfg(test)]
mod naive;
mod origins;
mod report;
mod reuse;
mod routes;
mod script;
mod steering;
#[cfg(test)]
mod tests;
mod upgrades;
mod users;

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::process::{self, cargo};
use case::{Case, Outcome};
use lab::{Lab, Programs, Target};
use report::Results;

/// Attack `larder proxy`, an actix-web application and an axum application, as hostile clients and
/// hostile origins do.
///
/// Each case is named after what must not happen. The command exits with 1 if a case fails that is
/// not listed in xtask/attacks/known.txt. A listed case that passes is reported.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask attacks                           all cases, all targets
  cargo xtask attacks --list
  cargo xtask attacks --filter smuggling --verbose
  cargo xtask attacks --target actix --filter x-forwarded-host
  cargo xtask attacks --short                   with a debug build of the proxy, as CI runs it")]
pub(crate) struct Args {
    /// Run only cases with this text in their names.
    #[arg(long)]
    filter: Option<String>,
    /// Attack only this target.
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// Print the names of the cases and their targets.
    #[arg(long)]
    list: bool,
    /// Use a debug build of the proxy, which the tests have built before.
    #[arg(long)]
    short: bool,
    /// Use this `larder` binary instead of building one.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Also print what was seen in the cases that pass, and in those that fail as listed.
    #[arg(long)]
    verbose: bool,
}

impl Args {
    /// Returns the arguments of `cargo xtask ci`.
    pub(crate) fn for_ci() -> Self {
        Self { short: true, ..Self::default() }
    }
}

/// Returns all cases.
fn all() -> Vec<Case> {
    let kinds = [
        steering::cases,
        hops::cases,
        keys::cases,
        errors::cases,
        users::cases,
        reuse::cases,
        routes::cases,
        crowds::cases,
        framing::cases,
        origins::cases,
        upgrades::cases,
        http2::cases,
    ];
    kinds.iter().flat_map(|cases| cases()).collect()
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cases = all();
    let known = known::Known::read(&cases)?;
    let selected = |case: &&Case| {
        args.filter.as_ref().is_none_or(|text| case.name.contains(&**text))
            && args.target.is_none_or(|target| case.on.contains(&target))
    };
    let selected: Vec<_> = cases.iter().filter(selected).collect();
    anyhow::ensure!(!selected.is_empty(), "no case matches; --list prints their names");
    if args.list {
        print!("{}", report::list(&selected));
        return Ok(());
    }
    let programs = build(args)?;
    let (text, failed) = attack(&selected, args.target, &programs).shown(&known, args.verbose);
    print!("{text}");
    anyhow::ensure!(!failed, "cases fail that {} does not list", known::FILE);
    Ok(())
}

/// Builds what is attacked.
fn build(args: &Args) -> anyhow::Result<Programs> {
    let target = process::target_directory()?;
    process::run(cargo().args(["build", "--quiet", "-p", "larder-attack-apps"]))?;
    let larder = match &args.bin {
        Some(binary) => binary.clone(),
        None => {
            let (profile, folder) = if args.short { ("dev", "debug") } else { ("release", "release") };
            process::run(cargo().args(["build", "--quiet", "-p", "larder-cli", "--profile", profile]))?;
            target.join(folder).join("larder")
        }
    };
    Programs::new(larder, target.join("debug/larder-attack-apps"))
}

/// Runs the cases, several at a time. Each has processes of its own.
fn attack(cases: &[&Case], only: Option<Target>, programs: &Programs) -> Results {
    let jobs: Vec<(usize, Target)> = cases
        .iter()
        .enumerate()
        .flat_map(|(index, case)| case.on.iter().map(move |target| (index, *target)))
        .filter(|(_, target)| only.is_none_or(|only| only == *target))
        .collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(2, usize::from) * 2;
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, target)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let lab = Lab { target: *target, programs: Some(programs) };
                    let outcome = (cases[*index].run)(&lab);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((*index, *target, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, ..)| *index);
    let mut results: Vec<(String, Vec<(Target, Outcome)>)> =
        cases.iter().map(|case| (case.name.clone(), Vec::new())).collect();
    for (index, target, outcome) in outcomes {
        results[index].1.push((target, outcome));
    }
    Results(results)
}
