//! Counts the connections of a worker, and of each of its clients.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    rc::Rc,
};

use tokio::sync::Notify;

use super::activity::Activity;

/// The open connections of one worker.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    max_per_client: usize,
    open: RefCell<BTreeMap<u64, Rc<Activity>>>,
    next: Cell<u64>,
    per_client: RefCell<HashMap<Client, usize>>,
    /// Notified when a connection has been closed.
    closed: Notify,
}

/// Whom a connection counts for: an IPv4 address, or a network of IPv6 of the size that one site
/// gets (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    /// Returns the client at an address.
    fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

impl Connections {
    /// Creates the count of a worker that may have `max` connections, of which one client may have
    /// `max_per_client`.
    pub(super) fn new(max: usize, max_per_client: usize) -> Rc<Self> {
        Rc::new(Self {
            max: max.max(1),
            max_per_client: max_per_client.max(1),
            open: RefCell::default(),
            next: Cell::new(0),
            per_client: RefCell::default(),
            closed: Notify::new(),
        })
    }

    /// Returns the number of open connections.
    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Returns whether there are as many connections as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Counts a connection of the client at `address`. Returns `None` if that client has as many as
    /// it may have.
    pub(super) fn open(self: &Rc<Self>, address: IpAddr, activity: Rc<Activity>) -> Option<OpenConnection> {
        let client = Client::at(address);
        match self.per_client.borrow_mut().entry(client) {
            Entry::Occupied(count) if *count.get() >= self.max_per_client => return None,
            count => *count.or_default() += 1,
        }
        let id = self.next.replace(self.next.get() + 1);
        self.open.borrow_mut().insert(id, activity);
        Some(OpenConnection { connections: Rc::clone(self), id, client })
    }

    /// Waits until there are fewer than `count` connections.
    pub(super) async fn fewer_than(&self, count: usize) {
        while self.len() >= count {
            self.closed.notified().await;
        }
    }

    /// Waits until there is room for one more connection.
    pub(super) async fn room(&self) {
        self.fewer_than(self.max).await;
    }

    /// Notifies each connection that the server shuts down.
    pub(super) fn stop(&self) {
        for activity in self.open.borrow().values() {
            activity.stop();
        }
    }
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    connections: Rc<Connections>,
    id: u64,
    client: Client,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
        if let Entry::Occupied(mut count) = self.connections.per_client.borrow_mut().entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.connections.closed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_limit_of_its_own() {
        let connections = Connections::new(10, 2);
        let open = |address: &str| connections.open(address.parse().expect("an address"), Rc::default());
        let first = open("192.0.2.1").expect("the first");
        let _second = open("::ffff:192.0.2.1").expect("the second");
        assert!(open("192.0.2.1").is_none(), "the third of one client");
        let _other = open("192.0.2.2").expect("another client");
        drop(first);
        let _third = open("192.0.2.1").expect("the first has been closed");
        let _six = [open("2001:db8::1"), open("2001:db8::2")];
        assert!(open("2001:db8::ffff:3").is_none(), "an address of the same network");
        assert!(open("2001:db8:0:1::1").is_some());
    }
}
