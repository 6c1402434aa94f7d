//! `cargo xtask test`: runs all tests. Tests that need a server start a private one and stop it.

use crate::{process, setup};

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run_for_tests()?;
    process::run(process::cargo().args(["test", "--workspace", "--all-features"]))
}
