//! `cargo xtask ci`: runs every check, cheap ones first, and prints how long each took.

use std::time::Instant;

use crate::{
    attacks, bench, chaos, conformance, features, layers,
    process::{cargo, run as call},
    setup, structured_fields, tidy,
};

type Check = fn() -> anyhow::Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("layers", layers::run),
    ("tidy", tidy::run),
    ("fmt", || call(cargo().args(["fmt", "--all", "--check"]))),
    ("test", || call(cargo().args(["xtask", "test"]))),
    ("clippy", || {
        let deny = ["--", "-D", "warnings", "-W", "clippy::too_many_lines"];
        call(cargo().args(["clippy", "--workspace", "--all-targets", "--all-features"]).args(deny))
    }),
    ("features", features::run),
    ("doc", || {
        let doc = ["doc", "--workspace", "--all-features", "--no-deps"];
        call(cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("deny", || {
        setup::cargo_deny()?;
        call(cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))
    }),
    ("structured fields", || structured_fields::run(&structured_fields::Args::for_ci())),
    ("conformance", || conformance::run(&conformance::Args::default())),
    ("attacks", || attacks::run(&attacks::Args::for_ci())),
    ("chaos fleet", || chaos::run(&chaos::Args::for_ci())),
    ("fuzz", || call(cargo().args(["xtask", "fuzz", "--short"]))),
    ("counts", || call(cargo().args(["xtask", "counts"]))),
    ("bench", bench::quick),
];

#[expect(clippy::disallowed_methods, reason = "a stopwatch for a person")]
pub(crate) fn run() -> anyhow::Result<()> {
    let mut took = Vec::new();
    for (name, check) in CHECKS {
        println!("\n== {name}");
        let begun = Instant::now();
        check()?;
        took.push((name, begun.elapsed()));
    }
    println!("\nall checks passed:");
    for (name, time) in took {
        println!("{name:>18} {:>6.1} s", time.as_secs_f64());
    }
    Ok(())
}
