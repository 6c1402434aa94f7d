//! Tracks the clients of an arriving body: the position of each, and the wakers of those that wait.
//!
//! `fanout` holds them under its lock and decides which of them are disconnected.

use std::task::Waker;

/// The clients' slots. A free slot is reused.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) slots: Vec<Option<ReaderSlot>>,
    active: usize,
    /// Wakes the task that waits for readers to advance.
    pub(super) on_move: Option<Waker>,
}

/// The position of one client, and its waker while it waits.
#[derive(Debug)]
pub(super) struct ReaderSlot {
    pub(super) position: u64,
    pub(super) waker: Option<Waker>,
    pub(super) disconnected: bool,
}

impl Readers {
    /// Returns whether there is no client.
    pub(super) fn is_empty(&self) -> bool {
        self.active == 0
    }

    /// Adds a client at `position` and returns the index of its slot.
    pub(super) fn add(&mut self, position: u64) -> usize {
        self.active += 1;
        let slot = Some(ReaderSlot { position, waker: None, disconnected: false });
        match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = slot;
                free
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Removes a client.
    pub(super) fn remove(&mut self, index: usize) {
        self.slots[index] = None;
        self.active -= 1;
        self.notify_moved();
    }

    /// Wakes the task that waits for readers to advance.
    pub(super) fn notify_moved(&mut self) {
        if let Some(waker) = self.on_move.take() {
            waker.wake();
        }
    }

    /// Takes the wakers of all waiting clients, to be called without the lock.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.slots.iter_mut().flatten().filter_map(|slot| slot.waker.take()).collect()
    }

    /// Returns whether every connected client has read up to `position`.
    pub(super) fn all_at_least(&self, position: u64) -> bool {
        self.slots.iter().flatten().all(|slot| slot.disconnected || slot.position >= position)
    }

    /// Disconnects the clients that have not read up to `position`.
    pub(super) fn disconnect_before(&mut self, position: u64) {
        for slot in self.slots.iter_mut().flatten() {
            slot.disconnected |= slot.position < position;
        }
        self.notify_moved();
    }
}
