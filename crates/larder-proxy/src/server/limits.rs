//! Counts the connections of a worker.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use tokio::sync::Notify;

use super::activity::Activity;

/// The open connections of one worker.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    open: RefCell<BTreeMap<u64, Rc<Activity>>>,
    next: Cell<u64>,
    /// Notified when a connection has been closed.
    closed: Notify,
}

impl Connections {
    /// Creates the count of a worker that may have `max` connections.
    pub(super) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max: max.max(1), open: RefCell::default(), next: Cell::new(0), closed: Notify::new() })
    }

    /// Returns the number of open connections.
    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Returns whether there are as many connections as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Counts a connection.
    pub(super) fn open(self: &Rc<Self>, activity: Rc<Activity>) -> OpenConnection {
        let id = self.next.replace(self.next.get() + 1);
        self.open.borrow_mut().insert(id, activity);
        OpenConnection { connections: Rc::clone(self), id }
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
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
        self.connections.closed.notify_one();
    }
}
