//! Installs the suite from npm and runs its origin and its client with node.
//!
//! Of its dependencies only node-fetch is installed: the command line uses neither the template
//! engine nor npm. Only the first run downloads anything.

use std::{collections::HashMap, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::process::{self, Server, output};

/// The release to which README and exceptions.txt refer.
pub(super) const SUITE: &str = "http-cache-tests@0.4.5";
const CLIENT: &str = "node-fetch@2.7.0";

/// A test, as the suite describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Test {
    pub(super) suite: String,
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) depends_on: Vec<String>,
}

/// The importance of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Required,
    Optimal,
    /// Both outcomes are correct; the suite only reports them.
    Check,
}

/// The protocol between the suite's client and the cache.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// HTTP/1.1, by the suite's own client.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge, by Node's client.
    Http2,
}

#[derive(Debug)]
pub(super) struct Suite {
    folder: PathBuf,
    pub(super) tests: Vec<Test>,
}

impl Suite {
    pub(super) fn install() -> anyhow::Result<Self> {
        let folder = std::env::current_dir()?.join("target/conformance");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("tests.mjs"), include_str!("../../conformance/tests.mjs"))?;
        fs::write(folder.join("http_2.mjs"), include_str!("../../conformance/http_2.mjs"))?;
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
        let tests = serde_json::from_str(&output(Command::new("node").arg(folder.join("tests.mjs")))?)
            .context("tests.mjs did not print the tests")?;
        Ok(Self { folder, tests })
    }

    /// Starts the suite's origin on `port`, or on a free one if it is 0, and returns its URL.
    /// `show` prints the messages of the selected test.
    pub(super) fn origin(&self, port: u16, show: bool) -> anyhow::Result<(Server, String)> {
        let mut node = Command::new("node");
        node.arg("server/server.mjs").current_dir(self.folder.join("package"));
        node.env("npm_config_protocol", "http")
            .env("npm_config_port", port.to_string())
            .env("npm_config_pidfile", "server.pid");
        let (server, address) = Server::start_showing(&mut node, "Listening on ", show)?;
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
        let port: u16 = port.parse().with_context(|| format!("the origin listens on '{address}'"))?;
        Ok((server, format!("http://127.0.0.1:{port}")))
    }

    fn client(&self, protocol: Protocol, base: &str, id: &str) -> Command {
        let mut node = Command::new("node");
        node.arg("--no-warnings");
        match protocol {
            Protocol::Http1 => node.arg("cli.mjs").current_dir(self.folder.join("package")),
            Protocol::Http2 => node.arg("http_2.mjs").current_dir(&self.folder),
        };
        node.env("npm_config_base", base).env("npm_config_id", id).env("npm_package_config_id", "");
        node
    }

    /// Runs one test and shows its output.
    pub(super) fn show(&self, protocol: Protocol, base: &str, id: &str) -> anyhow::Result<()> {
        ensure!(self.tests.iter().any(|test| test.id == id), "{SUITE} has no test '{id}'");
        process::run(&mut self.client(protocol, base, id))
    }

    /// Runs all tests and returns the result of each: `true`, or the error. Also writes them to a
    /// file.
    pub(super) fn results(
        &self,
        protocol: Protocol,
        base: &str,
        name: &str,
    ) -> anyhow::Result<HashMap<String, Value>> {
        let printed = output(&mut self.client(protocol, base, ""))?;
        fs::write(self.folder.join(format!("results-{name}.json")), &printed)?;
        serde_json::from_str(&printed).context("the suite's client did not print its results")
    }
}
