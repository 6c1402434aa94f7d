//! The servers that `cargo xtask bench` compares with `larder proxy`, and the origin behind all of
//! them.
//!
//! `larder-peers MODE ADDR [ORIGIN]`. Each serves `/1k` and `/64k`. Bodies and headers are built
//! once.

mod actix;
mod hyper_server;

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;

/// What a path requests.
pub(crate) struct Page {
    pub(crate) body: Bytes,
    pub(crate) storable: bool,
    pub(crate) delay_ms: u64,
}

/// The bodies, built once.
#[derive(Clone)]
pub(crate) struct Pages {
    small: Bytes,
    large: Bytes,
    huge: Bytes,
}

impl Pages {
    pub(crate) fn new() -> Self {
        let of = |length| vec![b'x'; length].into();
        Self { small: of(1 << 10), large: of(64 << 10), huge: of(1 << 20) }
    }

    /// Parses `/1k`, `/64k` and `/1m`, with `nostore` or `slow` anywhere in the path, and
    /// `/bytes/LENGTH`.
    pub(crate) fn get(&self, path: &str) -> Page {
        let length = path.strip_prefix("/bytes/").and_then(|length| length.parse().ok());
        Page {
            body: match path {
                _ if length.is_some() => vec![b'x'; length.unwrap_or(0)].into(),
                path if path.contains("64k") => self.large.clone(),
                path if path.contains("1m") => self.huge.clone(),
                _ => self.small.clone(),
            },
            storable: !path.contains("nostore"),
            delay_ms: if path.contains("slow") { 200 } else { 0 },
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, mode, address, rest @ ..] = args.as_slice() else {
        bail!(
            "larder-peers hyper|actix-http|actix-web|actix-cached|origin ADDR, or larder-peers pass|pass-own-pool ADDR ORIGIN"
        );
    };
    let address: SocketAddr = address.parse().context("ADDR is not an address, e.g. 127.0.0.1:9000")?;
    match (mode.as_str(), rest) {
        ("hyper", []) => hyper_server::fixed(address),
        ("origin", []) => hyper_server::origin(address),
        ("pass", [origin]) => hyper_server::pass(address, origin),
        ("pass-own-pool", [origin]) => {
            let origin = origin.trim_start_matches("http://").parse();
            hyper_server::pass_on_own_pool(address, origin.context("ORIGIN is not an address")?)
        }
        ("actix-http", []) => actix::bare(address),
        ("actix-web", []) => actix::web(address, false),
        ("actix-cached", []) => actix::web(address, true),
        _ => bail!("there is no mode '{mode}' with these arguments"),
    }
}
