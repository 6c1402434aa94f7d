//! A relay between a node and its server, for faults of the network: bytes in one direction or both
//! stay in the network until it is healed, as TCP sends them again, or are lost with their
//! connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

/// Which directions of the network are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cut {
    pub(super) to_server: bool,
    pub(super) to_node: bool,
}

#[derive(Debug, Default)]
struct State {
    cut: Cut,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

/// A relay that forwards connections until the program ends.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Relay {
    /// Starts a relay to a port of this machine.
    pub(super) fn start(to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self { port: listener.local_addr()?.port(), state: Arc::default() };
        let state = Arc::clone(&relay.state);
        thread::spawn(move || {
            for node in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || forward(node, to, &state));
            }
        });
        Ok(relay)
    }

    /// Cuts the network.
    pub(super) fn cut(&self, cut: Cut) {
        self.change(|state| state.cut = cut);
    }

    /// Heals the network. What was sent meanwhile arrives now, or is lost with its connections.
    pub(super) fn heal(&self, is_lost: bool) {
        self.change(|state| {
            state.cut = Cut::default();
            state.generation += u64::from(is_lost);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.state.1.notify_all();
    }
}

/// Forwards a connection in both directions, once the network lets it through.
fn forward(node: TcpStream, to: u16, state: &Arc<(Mutex<State>, Condvar)>) -> io::Result<()> {
    let born = state.0.lock().unwrap_or_else(PoisonError::into_inner).generation;
    if !passes(state, born, |cut| cut.to_server || cut.to_node) {
        return Ok(());
    }
    let server = TcpStream::connect(("127.0.0.1", to))?;
    node.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_node, to_node) = (node.try_clone()?, node);
    let (from_server, to_server) = (server.try_clone()?, server);
    let other = Arc::clone(state);
    thread::spawn(move || pump(from_server, to_node, || passes(&other, born, |cut| cut.to_node)));
    pump(from_node, to_server, || passes(state, born, |cut| cut.to_server));
    Ok(())
}

/// Waits while the network is cut. Returns whether the connection still exists.
fn passes(state: &(Mutex<State>, Condvar), born: u64, is_cut: impl Fn(Cut) -> bool) -> bool {
    let locked = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = state.1.wait_while(locked, |state| is_cut(state.cut) && state.generation == born);
    waited.unwrap_or_else(PoisonError::into_inner).generation == born
}

/// Copies bytes until one side ends or the connection is lost.
fn pump(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !passes() || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
