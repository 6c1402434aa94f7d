//! `cargo xtask conformance`: the public suite for HTTP caches, against `larder proxy`.
//!
//! The suite is installed from npm once. Its origin and the proxy run on free ports, and its client asks. A test passes
//! if it does, and if what it depends on does. What counts differently here stands in `conformance/exceptions.txt`, with
//! the reason: a test that is listed and does not behave as listed fails the run, too.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::process::{self, Server, cargo, free_port, output, wait_for_port};

const SUITE: &str = "http-cache-tests@0.4.5";
const CLIENT: &str = "node-fetch@2.7.0";
const EXCEPTIONS: &str = "xtask/conformance/exceptions.txt";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only this test, with what was sent and received.
    #[arg(long)]
    id: Option<String>,
    /// Build the proxy with this cargo profile. [default: dev]
    #[arg(long)]
    profile: Option<String>,
    /// Run against this URL instead: a cache in front of http://127.0.0.1:8000, where the suite's origin will listen.
    #[arg(long)]
    base: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Test {
    suite: String,
    id: String,
    kind: String,
    depends_on: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    MustPass,
    MustFail,
    Either,
    NotApplicable,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    crate::setup::run_for_tests()?;
    let folder = install()?;
    let tests: Vec<Test> =
        serde_json::from_str(&output(Command::new("node").arg(folder.join("tests.mjs")))?)?;
    if let Some(base) = &args.base {
        let _origin = origin(&folder, 8000)?;
        return judge(&tests, "shared", &results(&folder, base, args.id.as_deref())?);
    }
    let profile = args.profile.as_deref().unwrap_or("dev");
    process::run(cargo().args(["build", "--quiet", "-p", "larder-cli", "--profile", profile]))?;
    let binary = Path::new("target").join(if profile == "dev" { "debug" } else { profile }).join("larder");
    for (name, flag) in [("shared", "--share-set-cookie"), ("private", "--private")] {
        let port = free_port()?;
        let _origin = origin(&folder, port)?;
        let mut proxy = Command::new(&binary);
        proxy.args([
            "proxy",
            "--listen",
            "127.0.0.1:0",
            flag,
            "--origin",
            &format!("http://127.0.0.1:{port}"),
        ]);
        let (_proxy, base) = Server::start_until(&mut proxy, "listening on ")?;
        let found = results(&folder, &base, args.id.as_deref())?;
        if args.id.is_none() {
            judge(&tests, name, &found)?;
        }
    }
    Ok(())
}

/// The suite and what its client needs, once. Neither runs a script of its own.
fn install() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_dir()?.join("target/conformance");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("tests.mjs"), include_str!("../conformance/tests.mjs"))?;
    if !folder.join("package/cli.mjs").is_file() {
        println!("installing {SUITE}");
        let packed = output(Command::new("npm").args(["pack", "--silent", SUITE]).current_dir(&folder))?;
        process::run(Command::new("tar").args(["xzf", packed.trim()]).current_dir(&folder))?;
    }
    if !folder.join("node_modules/node-fetch").is_dir() {
        let install =
            ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", CLIENT];
        fs::write(folder.join("package.json"), "{}\n")?;
        process::run(Command::new("npm").args(install).current_dir(&folder))?;
    }
    Ok(folder)
}

fn origin(folder: &Path, port: u16) -> anyhow::Result<Server> {
    let mut node = Command::new("node");
    node.arg("server/server.mjs").current_dir(folder.join("package"));
    node.env("npm_config_protocol", "http")
        .env("npm_config_port", port.to_string())
        .env("npm_config_pidfile", "server.pid");
    let server = Server::start(&mut node)?;
    wait_for_port(port)?;
    Ok(server)
}

/// What the suite's client found: `true`, or what went wrong.
fn results(
    folder: &Path,
    base: &str,
    id: Option<&str>,
) -> anyhow::Result<HashMap<String, serde_json::Value>> {
    let mut node = Command::new("node");
    node.args(["--no-warnings", "cli.mjs"]).current_dir(folder.join("package"));
    node.env("npm_config_base", base)
        .env("npm_config_id", id.unwrap_or_default())
        .env("npm_package_config_id", "");
    if id.is_some() {
        process::run(&mut node)?;
        return Ok(HashMap::new());
    }
    let printed = output(&mut node)?;
    serde_json::from_str(&printed).context("the suite's client did not print its results")
}

/// Counts, prints, and fails for what is neither right nor listed.
fn judge(tests: &[Test], profile: &str, found: &HashMap<String, serde_json::Value>) -> anyhow::Result<()> {
    let exceptions = fs::read_to_string(EXCEPTIONS)?;
    let passes = |id: &str| found.get(id) == Some(&serde_json::Value::Bool(true));
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, BTreeMap<&str, (u32, u32)>> = BTreeMap::new();
    let mut totals: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    for test in tests {
        let passed = passes(&test.id) && test.depends_on.iter().all(|id| passes(id));
        let (verdict, listed) = verdict(&exceptions, profile, test);
        let total = totals.entry(&test.kind).or_default();
        if verdict == Verdict::NotApplicable {
            continue;
        }
        let count = counts.entry(&test.suite).or_default().entry(&test.kind).or_default();
        count.0 += u32::from(passed);
        count.1 += 1;
        total.0 += u32::from(passed);
        total.1 += 1;
        total.2 += u32::from(!passed && listed);
        let right = match verdict {
            Verdict::MustPass => passed || test.kind == "check",
            Verdict::MustFail => !passed,
            Verdict::Either | Verdict::NotApplicable => true,
        };
        if !right {
            let said = found.get(&test.id).map_or_else(|| "no result".to_owned(), ToString::to_string);
            wrong.push(format!(
                "{} ({}): expected to {}: {said}",
                test.id,
                test.kind,
                if passed { "fail" } else { "pass" }
            ));
        }
    }
    println!("\n{profile} cache: {SUITE}\n{:<18} {:>10} {:>10} {:>10}", "", "required", "optimal", "check");
    for (suite, kinds) in &counts {
        let cell =
            |kind: &str| kinds.get(kind).map_or_else(String::new, |(passed, all)| format!("{passed}/{all}"));
        println!("{suite:<18} {:>10} {:>10} {:>10}", cell("required"), cell("optimal"), cell("check"));
    }
    for kind in ["required", "optimal", "check"] {
        let (passed, all, listed) = totals.get(kind).copied().unwrap_or_default();
        println!("{kind}: {passed} of {all} pass; {listed} of the others are listed in {EXCEPTIONS}");
    }
    ensure!(
        wrong.is_empty(),
        "{profile}: {} tests are neither right nor listed:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
    Ok(())
}

/// What has to come of a test, and whether it is listed.
fn verdict(exceptions: &str, profile: &str, test: &Test) -> (Verdict, bool) {
    for line in exceptions.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('|').map(str::trim);
        let (Some(id), Some(of), Some(verdict)) = (cells.next(), cells.next(), cells.next()) else {
            continue;
        };
        let matches = id == test.id || id.strip_suffix('*').is_some_and(|start| test.id.starts_with(start));
        if !matches || of != "both" && of != profile {
            continue;
        }
        return match verdict {
            "reversed" | "contradicts" => (Verdict::MustFail, true),
            // The suite's expectation of these two is already the one that is required now.
            "required" if test.kind == "required" => (Verdict::MustPass, true),
            "required" => (Verdict::MustFail, true),
            "withdrawn" | "shared-only" => (Verdict::NotApplicable, true),
            _ => (Verdict::Either, true),
        };
    }
    (Verdict::MustPass, false)
}
