//! The client benchmarks, with the origin on the other core.

use super::{peers, python};
use crate::process::{cargo, output, run as call};

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    crate::setup::run_for_benchmarks()?;
    call(cargo().args(["build", "--release", "-p", "larder-peers"]))?;
    let (_origin, port) = peers::origin()?;
    let mut compare = super::suite("client", quick);
    compare.arg(format!("http://127.0.0.1:{port}"));
    output(compare.env("LARDER_PYTHON", python::with_peers()?))
}
