//! The clients: each node has some that read, and one that creates versions and removes the older
//! ones, by a purge or by a PUT. They record what they do until the run ends.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    history::{GROUPS, Kind, Outcome, PREFIXES, Process, Recorder, Resource, Scope},
    node::Node,
    origin::{HOST, Origin, RESOURCES, body, path},
    random::Random,
};
use crate::attacks::client::{Client, Reply};

/// Clients that read from each node.
pub(super) const READERS: usize = 3;
/// Limit of each wait for a node.
const LIMIT: Duration = Duration::from_secs(4);

/// What the clients use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) origin: &'a Origin,
    pub(super) is_over: &'a AtomicBool,
}

/// Sends a request on a new connection.
fn send(address: SocketAddr, request: &str, method: &str) -> Option<Reply> {
    let mut client = Client::connect_with(address, LIMIT).ok()?;
    client.send(request.as_bytes());
    client.reply(method).filter(|reply| reply.complete)
}

/// Sends a purge to an admin listener. Returns whether it was confirmed; `None` without a response.
pub(super) fn purge(admin: SocketAddr, scope: Scope) -> Option<bool> {
    let json = match scope {
        Scope::Resource(resource) => format!("{{\"url\":\"http://{HOST}{}\"}}", path(resource)),
        Scope::Group(group) => format!("{{\"tag\":\"g{group}\",\"of\":\"http://{HOST}\"}}"),
        Scope::Prefix(prefix) => format!("{{\"prefix\":\"http://{HOST}/s{prefix}\"}}"),
        Scope::All => "{\"all\":true}".to_owned(),
    };
    let request = format!(
        "POST /purge HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    );
    send(admin, &request, "POST").map(|reply| reply.status == 200)
}

/// Returns whether the node has no removals that its store has not confirmed.
fn all_are_confirmed(admin: SocketAddr) -> bool {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let reply = send(admin, &request, "GET");
    reply.is_some_and(|reply| reply.body.lines().any(|line| line == "larder_unconfirmed_removals 0"))
}

/// Reads a resource on a connection that stays open.
pub(super) fn read(connection: &mut Option<Client>, address: SocketAddr, resource: Resource) -> Outcome {
    let opened = connection.take().map_or_else(|| Client::connect_with(address, LIMIT), Ok);
    let Ok(mut client) = opened else { return Outcome::Failed };
    client.send(format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path(resource)).as_bytes());
    let Some(reply) = client.reply("GET").filter(|reply| reply.complete && reply.status == 200) else {
        return Outcome::Failed;
    };
    if !reply.header("connection").eq_ignore_ascii_case("close") {
        *connection = Some(client);
    }
    let first = reply.body.lines().next().and_then(|line| line.split_once(" v")?.1.parse().ok());
    match first {
        Some(version) if reply.body == body(resource, version) => {
            Outcome::Read { version, is_hit: reply.is_hit() }
        }
        _ => Outcome::Mixed,
    }
}

/// Returns the process that an operation was sent to, unless the node was restarted meanwhile.
fn same(before: Process, node: &Node) -> Option<Process> {
    (before == node.life() && !node.is_down()).then_some(before)
}

/// Reads from a node until the run is over.
pub(super) fn reader(site: Site<'_>, node: &Node, mut random: Random) {
    let mut connection = None;
    while !site.is_over.load(Ordering::SeqCst) {
        let resource = random.below(RESOURCES);
        let (begin, process) = (site.recorder.now(), node.life());
        let had_connection = connection.is_some();
        let outcome = read(&mut connection, node.address, resource);
        if outcome == Outcome::Failed && had_connection {
            continue; // The node may have closed it before the request.
        }
        site.recorder.record(begin, same(process, node), Kind::Read(resource), outcome);
        let pause = if outcome == Outcome::Failed { 20 } else { random.below(6) };
        thread::sleep(Duration::from_millis(u64::from(pause)));
    }
}

/// Creates versions and removes the older ones through a node, until the run is over.
pub(super) fn writer(site: Site<'_>, node: &Node, mut random: Random) {
    while !site.is_over.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(u64::from(random.between(10, 60))));
        let resource = random.below(RESOURCES);
        if random.below(3) == 0 {
            put(site, node, resource);
            continue;
        }
        let scope = match random.below(20) {
            0 => Scope::All,
            1..4 => Scope::Prefix(random.below(PREFIXES)),
            4..9 => Scope::Group(random.below(GROUPS)),
            _ => Scope::Resource(resource),
        };
        (0..RESOURCES).filter(|one| scope.includes(*one)).for_each(|one| {
            site.origin.advance(one);
        });
        let (begin, process) = (site.recorder.now(), node.life());
        let outcome = match purge(node.admin, scope) {
            Some(true) => Outcome::Confirmed,
            Some(false) => Outcome::NotConfirmed,
            None => Outcome::Failed,
        };
        site.recorder.record(begin, same(process, node), Kind::Purge(scope), outcome);
    }
}

/// Sends a PUT, and looks whether its invalidation was confirmed.
fn put(site: Site<'_>, node: &Node, resource: Resource) {
    let (begin, process) = (site.recorder.now(), node.life());
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 3\r\n\r\nnew",
        path(resource)
    );
    let reply = send(node.address, &request, "PUT").filter(|reply| reply.status == 200);
    let Some(version) = reply.and_then(|reply| reply.header("version").parse().ok()) else {
        site.recorder.record(begin, None, Kind::Write(resource, 0), Outcome::Failed);
        return;
    };
    let kind = Kind::Write(resource, version);
    // The response binds the node at once, and the others once the store has confirmed.
    site.recorder.record(begin, same(process, node), kind, Outcome::NotConfirmed);
    if all_are_confirmed(node.admin) && same(process, node).is_some() {
        site.recorder.record(begin, Some(process), kind, Outcome::Confirmed);
    }
}
