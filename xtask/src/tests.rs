//! `cargo xtask test`: runs all tests. Tests that need a server start a private one and stop it.

use crate::{process, setup};

/// Tests of builds that lack a feature: crate and test.
const WITHOUT_FEATURES: &[(&str, &str)] = &[("larder-origin", "plain")];

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run_for_tests()?;
    process::run(process::cargo().args(["test", "--workspace", "--all-features", "--no-fail-fast"]))?;
    for (name, test) in WITHOUT_FEATURES {
        let arguments = ["test", "-p", name, "--no-default-features", "--test", test];
        process::run(process::cargo().args(arguments))?;
    }
    Ok(())
}
