//! `cargo xtask test`: all tests. Those that need a server start their own, on a free port, and stop it.

use crate::{process, setup};

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run_for_tests()?;
    process::run(process::cargo().args(["test", "--workspace", "--all-features"]))
}
