//! The faults. Each function causes one, waits, and heals it.

use std::{thread, time::Duration};

use super::{random::Random, redis::Topology, relay::Cut, setting::Fleet};

/// A kind of fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) topologies: &'static [Topology],
    run: fn(&mut Fleet, &mut Random) -> anyhow::Result<()>,
}

const ANY: &[Topology] = &[Topology::Single, Topology::Sentinel, Topology::Cluster];
const SINGLE: &[Topology] = &[Topology::Single];
const REPLICATED: &[Topology] = &[Topology::Sentinel, Topology::Cluster];

/// All faults.
pub(super) const FAULTS: &[Fault] = &[
    Fault { name: "no fault", topologies: ANY, run: no_fault },
    Fault { name: "node killed", topologies: ANY, run: node_killed },
    Fault { name: "node paused", topologies: ANY, run: node_paused },
    Fault { name: "network cut", topologies: SINGLE, run: network_cut },
    Fault { name: "network cut to Redis", topologies: SINGLE, run: network_cut_to_redis },
    Fault { name: "network cut from Redis", topologies: SINGLE, run: network_cut_from_redis },
    Fault { name: "Redis killed", topologies: SINGLE, run: redis_killed },
    Fault { name: "Redis paused", topologies: SINGLE, run: redis_paused },
    Fault { name: "Redis from a snapshot", topologies: SINGLE, run: redis_from_snapshot },
    Fault { name: "Redis flushed", topologies: ANY, run: redis_flushed },
    Fault { name: "Redis evicts", topologies: SINGLE, run: redis_evicts },
    Fault { name: "failover by command", topologies: REPLICATED, run: failover_by_command },
    Fault { name: "master killed", topologies: REPLICATED, run: master_killed },
    Fault { name: "master paused", topologies: REPLICATED, run: master_paused },
    Fault { name: "replica behind, killed", topologies: REPLICATED, run: replica_behind },
];

impl Fault {
    /// Causes the fault and heals it.
    pub(super) fn run(self, fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
        (self.run)(fleet, random)
    }
}

/// Waits for a random time, in ms.
fn pause(random: &mut Random, from: u32, to: u32) {
    thread::sleep(Duration::from_millis(u64::from(random.between(from, to))));
}

fn no_fault(_: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    pause(random, 1000, 1500);
    Ok(())
}

fn node_killed(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let node = fleet.random_node(random);
    node.kill_and_restart(|| pause(random, 100, 800))
}

fn node_paused(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let node = fleet.random_node(random);
    node.pause(|| pause(random, 500, 3000))
}

fn network_cut(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    cut(fleet, random, Cut { to_server: true, to_node: true })
}

fn network_cut_to_redis(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    cut(fleet, random, Cut { to_server: true, to_node: false })
}

fn network_cut_from_redis(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    cut(fleet, random, Cut { to_server: false, to_node: true })
}

/// Cuts the network of a node. What was sent meanwhile arrives later, or is lost with its
/// connections.
fn cut(fleet: &mut Fleet, random: &mut Random, cut: Cut) -> anyhow::Result<()> {
    let relay = &fleet.relays[random.below(u32::try_from(fleet.relays.len())?) as usize];
    relay.cut(cut);
    pause(random, 300, 3000);
    relay.heal(random.below(2) == 0);
    Ok(())
}

fn redis_killed(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let server = &mut fleet.redis.servers[0];
    server.process.kill();
    pause(random, 100, 2000);
    server.process.restart()
}

fn redis_paused(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let server = &fleet.redis.servers[0];
    server.process.signal("STOP")?;
    pause(random, 200, 3000);
    server.process.signal("CONT")
}

/// Restarts the server with data that is older than some confirmed removals.
fn redis_from_snapshot(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let server = &mut fleet.redis.servers[0];
    server.cli(&["save"])?;
    pause(random, 700, 1500);
    server.process.kill();
    pause(random, 0, 300);
    server.process.restart()
}

fn redis_flushed(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    for _ in 0..4 {
        for master in fleet.redis.masters() {
            fleet.redis.servers[master].cli(&["flushall"])?;
        }
        pause(random, 50, 500);
    }
    Ok(())
}

/// Limits the memory of the server to what it uses, so that each write evicts random keys.
fn redis_evicts(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let server = &fleet.redis.servers[0];
    let memory = server.cli(&["info", "memory"])?;
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap_or("0").trim();
    server.cli(&["config", "set", "maxmemory-policy", "allkeys-random"])?;
    server.cli(&["config", "set", "maxmemory", used])?;
    pause(random, 1000, 3000);
    server.cli(&["config", "set", "maxmemory", "0"])?;
    Ok(())
}

/// Returns the positions of a random master and of its replica.
fn pair(fleet: &Fleet, random: &mut Random) -> anyhow::Result<(usize, usize)> {
    let masters = fleet.redis.masters();
    let master = masters[random.below(u32::try_from(masters.len())?) as usize];
    Ok((master, fleet.redis.replica_of(master)?))
}

/// Waits until a replica has become the master.
fn wait_for_failover(fleet: &Fleet, replica: usize) -> anyhow::Result<()> {
    let server = &fleet.redis.servers[replica];
    fleet.redis.wait("no failover", || server.is_master())
}

fn failover_by_command(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let (_, replica) = pair(fleet, random)?;
    let redis = &fleet.redis;
    redis.wait("no failover by command", || {
        let _ = match redis.topology {
            Topology::Cluster => redis.servers[replica].cli(&["cluster", "failover"]),
            _ => redis.sentinels[0].cli(&["sentinel", "failover", "main"]),
        };
        thread::sleep(Duration::from_millis(300));
        redis.servers[replica].is_master()
    })
}

fn master_killed(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let (master, replica) = pair(fleet, random)?;
    fleet.redis.servers[master].process.kill();
    wait_for_failover(fleet, replica)?;
    pause(random, 0, 1000);
    fleet.redis.servers[master].process.restart()
}

/// Pauses a master until its replica has taken over, and resumes it: it takes itself for the master
/// until it learns of the other one.
fn master_paused(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let (master, replica) = pair(fleet, random)?;
    fleet.redis.servers[master].process.signal("STOP")?;
    wait_for_failover(fleet, replica)?;
    pause(random, 0, 700);
    fleet.redis.servers[master].process.signal("CONT")
}

/// Cuts a replica off, and kills its master a moment later: the replica has missed removals.
fn replica_behind(fleet: &mut Fleet, random: &mut Random) -> anyhow::Result<()> {
    let (master, replica) = pair(fleet, random)?;
    let server = &fleet.redis.servers[master];
    server.cli(&["acl", "setuser", "default", "-psync", "-sync"])?;
    server.cli(&["client", "kill", "type", "replica"])?;
    pause(random, 300, 500);
    fleet.redis.servers[master].process.kill();
    wait_for_failover(fleet, replica)?;
    fleet.redis.servers[master].process.restart()
}
