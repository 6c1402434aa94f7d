//! What happens on one connection, as its socket and its requests report it. `timeouts` decides
//! from it how long the connection may wait.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
};

use http::{
    HeaderMap, Version,
    header::{CONNECTION, HeaderValue},
};

/// The events on a connection since they were last taken, and its state.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Number of requests of which the response has not ended.
    in_flight: Cell<u32>,
    /// Whether a request has begun.
    pub(super) begun: Cell<bool>,
    /// Whether a response has ended.
    pub(super) ended: Cell<bool>,
    /// Whether bytes have arrived after the beginning of the last request.
    pub(super) received: Cell<bool>,
    /// Whether the client may have sent, or may still send, what is not read.
    pub(super) has_unread: Cell<bool>,
    /// Whether the client has taken bytes.
    pub(super) sent: Cell<bool>,
    /// Whether bytes wait for the client to take them.
    pub(super) is_blocked: Cell<bool>,
    /// Whether the sending side has been closed, and the rest from the client is discarded.
    pub(super) is_lingering: Cell<bool>,
    /// Whether the server shuts down.
    is_stopping: Cell<bool>,
    /// Whether closing discards what the client has not taken.
    is_reset: Cell<bool>,
    /// Wakes the task of the connection.
    waker: RefCell<Option<Waker>>,
}

impl Activity {
    /// Returns the number of requests of which the response has not ended.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Returns whether the server shuts down.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Notifies the connection that the server shuts down.
    pub(super) fn stop(&self) {
        self.is_stopping.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Makes closing the connection discard what the client has not taken.
    pub(super) fn reset_on_close(&self) {
        self.is_reset.set(true);
    }

    /// Returns whether closing the connection discards what the client has not taken.
    pub(super) fn is_reset(&self) -> bool {
        self.is_reset.get()
    }

    /// Sets the waker of the connection's task.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Records that bytes have arrived.
    pub(super) fn receive(&self) {
        self.received.set(true);
        self.has_unread.set(true);
    }

    /// Records the beginning of a request. It ends when the returned value is dropped.
    pub(super) fn begin(self: &Rc<Self>, has_content: bool) -> InFlight {
        self.has_unread.set(has_content);
        self.in_flight.set(self.in_flight.get() + 1);
        self.begun.set(true);
        self.received.set(false);
        InFlight(Rc::clone(self))
    }
}

/// A request of which the response has not ended.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Activity>);

impl InFlight {
    /// Makes the response the last one of its connection over HTTP/1, if the server shuts down.
    pub(super) fn close_if_stopping(&self, version: Version, response: &mut HeaderMap) {
        if self.0.is_stopping() && version < Version::HTTP_2 {
            response.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.ended.set(true);
    }
}
