//! Starts a fleet: Redis servers, the origin, and four nodes. Two nodes have a near store in memory
//! over Redis.

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::bail;

use super::{
    clients::{purge, read},
    history::{Outcome, Recorder, Scope},
    node::Node,
    origin::{Origin, RESOURCES},
    random::Random,
    redis::{Redis, Topology},
    relay::Relay,
};

/// Number of nodes.
const NODES: usize = 4;
/// Longest time until all nodes serve hits and confirm purges after a fault, in steps of [`STEP`].
const STEPS: u32 = 1200;
const STEP: Duration = Duration::from_millis(50);

/// What a run is made of.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) redis: Redis,
    pub(super) nodes: Vec<Arc<Node>>,
    /// The network of each node, if the servers' addresses are not announced by themselves.
    pub(super) relays: Vec<Relay>,
    pub(super) origin: Origin,
}

impl Fleet {
    /// Starts everything. Without servers, each node has a memory of its own.
    pub(super) fn start(
        topology: Topology,
        shares: bool,
        binary: &Path,
        recorder: &Arc<Recorder>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let redis = Redis::start(topology, directory)?;
        let origin = Origin::start(recorder)?;
        let (mut nodes, mut relays) = (Vec::new(), Vec::new());
        for number in 0..NODES {
            let port = if topology == Topology::Single {
                relays.push(Relay::start(redis.servers[0].port)?);
                relays.last().map(|relay| relay.port)
            } else {
                None
            };
            let (near, far) = ("memory:64MiB".to_owned(), redis.url(port));
            let stores = match (shares, number % 2) {
                (false, _) => vec![near],
                (true, 0) => vec![far],
                (true, _) => vec![near, far],
            };
            nodes.push(Arc::new(Node::start(number, binary, origin.address, &stores, directory)?));
        }
        Ok(Self { redis, nodes, relays, origin })
    }

    pub(super) fn random_node(&self, random: &mut Random) -> Arc<Node> {
        Arc::clone(&self.nodes[random.below(NODES as u32) as usize])
    }

    /// Waits until the servers are healthy, each node confirms a purge, and then serves a hit.
    pub(super) fn recovered(&self) -> anyhow::Result<()> {
        self.redis.wait_until_healthy()?;
        for node in &self.nodes {
            let number = node.number + 1;
            // A resource of its own, which is not in the history.
            wait(&format!("node {number} confirms no purge"), || {
                purge(node.admin, Scope::Resource(RESOURCES)) == Some(true)
            })?;
            let mut connection = None;
            wait(&format!("node {number} serves no hit"), || {
                let outcome = read(&mut connection, node.address, RESOURCES);
                matches!(outcome, Outcome::Read { is_hit: true, .. })
            })?;
        }
        Ok(())
    }
}

/// Waits for a state of the fleet.
fn wait(why: &str, mut is_reached: impl FnMut() -> bool) -> anyhow::Result<()> {
    for _ in 0..STEPS {
        if is_reached() {
            return Ok(());
        }
        thread::sleep(STEP);
    }
    bail!("{why} after a fault was healed")
}
