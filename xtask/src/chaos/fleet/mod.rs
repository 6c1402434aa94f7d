//! `cargo xtask chaos fleet`: looks for stale reads after confirmed removals in a fleet, in the
//! manner of Jepsen.
//!
//! [`setting`] starts real servers and nodes, [`clients`] read, write and purge, [`faults`] disturb
//! them, and [`checker`] decides whether the [`history`] keeps the promise of docs/consistency.md.
//! A run fails, too, if it shows nothing: if a fleet without a common store passes, or if there
//! were too few hits and removals.

mod checker;
#[cfg(test)]
mod checker_tests;
mod clients;
mod faults;
mod history;
mod node;
mod origin;
mod process;
mod random;
mod redis;
mod relay;
mod report;
mod setting;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{bail, ensure};

pub(crate) use self::redis::Topology;
use self::{
    checker::{Verdict, check},
    clients::{READERS, Site, reader, writer},
    faults::{FAULTS, Fault},
    history::{Micros, Recorder},
    random::Random,
    report::{Round, count, explain, line},
    setting::Fleet,
};
use crate::process::{cargo, run as call};

/// Duration of a long run for each topology.
const LONG: Duration = Duration::from_secs(120);
/// Fewest hits and confirmed removals of a round, and fewest hits of a topology that a removal
/// concerns.
const FEWEST: (usize, usize, usize) = (40, 10, 200);
/// Longest time for the fewest operations of a round, in steps of [`STEP`].
const STEPS: u32 = 600;
const STEP: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) short: bool,
    pub(super) seed: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) topology: Option<Topology>,
    pub(super) fault: Option<String>,
    pub(super) bin: Option<PathBuf>,
}

/// The faults of `--short`: most kinds on a single server, and failovers.
fn is_short(topology: Topology, fault: &Fault) -> bool {
    match topology {
        Topology::Single => !["no fault", "network cut"].contains(&fault.name),
        Topology::Sentinel => ["master paused", "replica behind, killed"].contains(&fault.name),
        Topology::Cluster => fault.name == "master paused",
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    crate::setup::run_for_tests()?;
    let binary = match &options.bin {
        Some(binary) => binary.clone(),
        None => {
            call(cargo().args(["build", "--quiet", "-p", "larder-cli"]))?;
            crate::process::target_directory()?.join("debug/larder")
        }
    };
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}: repeat the choices with --seed {seed}");
    let mut random = Random::new(seed);
    control(&binary, random.split())?;
    println!("{}", report::HEADS);
    let mut failed = Vec::new();
    for topology in Topology::ALL {
        let random = random.split();
        if options.topology.is_some_and(|only| only != topology) {
            continue;
        }
        if !run_on(topology, options, &binary, random)? {
            failed.push(topology.name());
        }
    }
    ensure!(failed.is_empty(), "stale reads with {} (seed {seed})", failed.join(", "));
    Ok(())
}

/// Checks that stale reads are noticed: nodes without a common store must have some.
fn control(binary: &Path, mut random: Random) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let recorder = Arc::new(Recorder::new());
    let mut fleet = Fleet::start(Topology::Single, false, binary, &recorder, directory.path())?;
    let none = &FAULTS[..1];
    let rounds = under_load(&mut fleet, &recorder, &mut random, &mut Plan::each(none))?;
    let verdict = recorder.with(check);
    let row = recorder.with(|history| count(history, &verdict, rounds.iter()));
    ensure!(row.stale > 0, "nodes without a common store have no stale reads: the check is blind");
    println!("control: {} stale reads of nodes without a common store, as there must be\n", row.stale);
    Ok(())
}

/// Which faults are caused, in which order.
struct Plan<'a> {
    faults: Vec<&'a Fault>,
    next: usize,
    /// Repeats the faults in random orders until this much time has passed; otherwise each one
    /// occurs once.
    duration: Option<Duration>,
}

impl<'a> Plan<'a> {
    fn each(faults: impl IntoIterator<Item = &'a Fault>) -> Self {
        Self { faults: faults.into_iter().collect(), next: 0, duration: None }
    }

    fn next(&mut self, passed: Micros, random: &mut Random) -> Option<&'a Fault> {
        if self.next == self.faults.len() {
            let limit = self.duration?;
            if u128::from(passed) >= limit.as_micros() {
                return None;
            }
            random.shuffle(&mut self.faults);
            self.next = 0;
        }
        self.next += 1;
        self.faults.get(self.next - 1).copied()
    }
}

/// Runs the faults on one topology. Returns whether there were no violations.
fn run_on(topology: Topology, options: &Options, binary: &Path, mut random: Random) -> anyhow::Result<bool> {
    let selected = |fault: &&Fault| {
        fault.topologies.contains(&topology)
            && (!options.short || is_short(topology, fault))
            && options.fault.as_ref().is_none_or(|text| fault.name.contains(&**text))
    };
    let faults: Vec<&Fault> = FAULTS.iter().filter(selected).collect();
    if faults.is_empty() {
        return Ok(true);
    }
    let duration = if options.short { options.duration } else { Some(options.duration.unwrap_or(LONG)) };
    let mut plan = Plan { duration, ..Plan::each(faults.iter().copied()) };
    random.shuffle(&mut plan.faults);
    let directory = tempfile::tempdir()?;
    let recorder = Arc::new(Recorder::new());
    let mut fleet = Fleet::start(topology, true, binary, &recorder, directory.path())?;
    let rounds = match under_load(&mut fleet, &recorder, &mut random, &mut plan) {
        Ok(rounds) => rounds,
        Err(error) => bail!("{error:#}; the logs of the nodes are in {}", directory.keep().display()),
    };
    drop(fleet);
    let verdict = recorder.with(check);
    let mut total = 0;
    println!("{}", topology.name());
    for fault in &faults {
        let of_fault = rounds.iter().filter(|round| round.fault == fault.name);
        let row = recorder.with(|history| count(history, &verdict, of_fault));
        println!("{}", line(&format!("  {}", fault.name), &row));
        total += row.rounds;
    }
    ensure!(total >= faults.len(), "only {total} of {} faults occurred", faults.len());
    let fewest = FEWEST.2;
    ensure!(verdict.tested >= fewest, "a removal concerns only {} of the hits", verdict.tested);
    if verdict.violations.is_empty() {
        return Ok(true);
    }
    report_violations(&recorder, &verdict, &rounds, topology)?;
    println!("the logs of the nodes are in {}", directory.keep().display());
    Ok(false)
}

/// Prints the violations, and writes the whole history into a file.
fn report_violations(
    recorder: &Recorder,
    verdict: &Verdict,
    rounds: &[Round],
    topology: Topology,
) -> anyhow::Result<()> {
    println!("\n{} stale reads:", verdict.violations.len());
    print!("{}", recorder.with(|history| explain(history, verdict, rounds)));
    let file = crate::process::target_directory()?.join(format!("chaos-fleet-{}.txt", topology.name()));
    let mut text = String::new();
    recorder.with(|history| {
        let mut operations = history.operations.clone();
        operations.sort_by_key(|operation| operation.begin);
        operations.iter().for_each(|operation| text.push_str(&format!("{operation}\n")));
    });
    std::fs::write(&file, text)?;
    println!("the whole history is in {}", file.display());
    Ok(())
}

/// Runs the clients, and meanwhile the faults of the plan. Returns their times.
fn under_load(
    fleet: &mut Fleet,
    recorder: &Arc<Recorder>,
    random: &mut Random,
    plan: &mut Plan<'_>,
) -> anyhow::Result<Vec<Round>> {
    let is_over = AtomicBool::new(false);
    let (nodes, origin) = (fleet.nodes.clone(), fleet.origin.clone());
    let site = Site { recorder, origin: &origin, is_over: &is_over };
    thread::scope(|scope| {
        for node in &nodes {
            for _ in 0..READERS {
                let random = random.split();
                scope.spawn(move || reader(site, node, random));
            }
            let random = random.split();
            scope.spawn(move || writer(site, node, random));
        }
        let rounds = disturb(fleet, recorder, random, plan);
        is_over.store(true, Ordering::SeqCst);
        rounds
    })
}

/// Causes the faults of the plan, one after the other. Each round goes on until all nodes have
/// recovered and it had enough operations.
fn disturb(
    fleet: &mut Fleet,
    recorder: &Recorder,
    random: &mut Random,
    plan: &mut Plan<'_>,
) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    fleet.recovered()?;
    while let Some(fault) = plan.next(recorder.now(), random) {
        let mut round = Round { fault: fault.name, from: recorder.now(), to: Micros::MAX };
        thread::sleep(STEP);
        fault.run(fleet, random).map_err(|error| error.context(format!("fault '{}'", fault.name)))?;
        fleet.recovered().map_err(|error| error.context(format!("fault '{}'", fault.name)))?;
        let mut steps = 0;
        loop {
            thread::sleep(STEP);
            let row = recorder.with(|history| count(history, &Verdict::default(), [round].iter()));
            if row.hits >= FEWEST.0 && row.confirmed >= FEWEST.1 {
                break;
            }
            steps += 1;
            ensure!(
                steps < STEPS,
                "fault '{}': only {} hits and {} confirmed removals",
                fault.name,
                row.hits,
                row.confirmed
            );
        }
        round.to = recorder.now();
        rounds.push(round);
    }
    Ok(rounds)
}
