//! The Redis store, on a private server.

use std::process::Command;

use crate::process::{Server, free_port, output};

pub(crate) fn run(quick: bool) -> anyhow::Result<String> {
    crate::setup::run_for_tests()?;
    let port = free_port()?;
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let mut server = Server::start(&mut redis)?;
    server.wait_for_port(port)?;
    let mut compare = super::suite("redis", quick);
    compare.arg(format!("redis://127.0.0.1:{port}/0"));
    compare.env("LARDER_PYTHON", super::python::with_peers()?);
    output(&mut compare)
}
