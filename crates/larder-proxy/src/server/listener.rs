//! Binds the listening sockets of the workers.
//!
//! On Linux each worker has a socket of its own on the same port, and the system distributes the
//! connections (`SO_REUSEPORT`). On other systems, which do not distribute them or not evenly, the
//! workers share one socket.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Whether the system distributes connections among sockets of one port.
const IS_DISTRIBUTED: bool = cfg!(target_os = "linux");

/// Binds an address and listens on it. Port 0 selects a free port.
///
/// # Errors
///
/// Returns an I/O error if the address is in use, or cannot be bound for another reason.
pub(super) fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    // The address is bound without `SO_REUSEPORT`, which fails if another program uses it. With the
    // option set afterwards, the sockets of the other workers are admitted.
    socket.bind(&address.into())?;
    if IS_DISTRIBUTED {
        socket.set_reuse_port(true)?;
    }
    listen(socket, backlog)
}

/// Returns one more socket on the address of `first`.
///
/// # Errors
///
/// Returns an I/O error if the system refuses another socket.
pub(super) fn another(first: &TcpListener, backlog: u32) -> io::Result<TcpListener> {
    if !IS_DISTRIBUTED {
        return first.try_clone();
    }
    let address = first.local_addr()?;
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    listen(socket, backlog)
}

/// Creates a TCP socket.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server can bind while connections of its predecessor still linger.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Makes a bound socket accept connections.
fn listen(socket: Socket, backlog: u32) -> io::Result<TcpListener> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn workers_share_a_port_that_no_other_program_gets() {
        let first = bind(([127, 0, 0, 1], 0).into(), 128).expect("a free port");
        let address = first.local_addr().expect("an address");
        let second = another(&first, 128).expect("one more socket");
        assert_eq!(second.local_addr().expect("an address"), address);
        let in_use = bind(address, 128).expect_err("the address is in use");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        let _clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).expect("it accepts")).collect();
        let accepted = |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let (one, other) = (accepted(&first), accepted(&second));
        assert_eq!(one + other, 64);
        assert!(one > 0 && other > 0, "{one} and {other} connections");
    }
}
