//! Binds the listening TCP sockets of the workers, and lets them end without losing a connection.
//!
//! On Linux each worker has a socket of its own on the same port, and the system distributes the
//! connections (`SO_REUSEPORT`). On other systems, which do not distribute them or not evenly, the
//! workers share one socket.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Whether the system distributes connections among sockets of one port.
const IS_DISTRIBUTED: bool = cfg!(target_os = "linux");

/// Binds an address and listens on it. Port 0 selects a free port.
///
/// With `take_over`, the address may be in use by a process of the same user that listens in this
/// way.
///
/// # Errors
///
/// Returns an I/O error if the address is in use, or cannot be bound for another reason.
pub(in crate::server) fn bind(address: SocketAddr, backlog: u32, take_over: bool) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    if IS_DISTRIBUTED && take_over {
        socket.set_reuse_port(true)?;
    }
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

/// Lets no new handshake begin on a listening socket, so that it can be closed once those that have
/// begun are accepted.
///
/// Closing a socket resets the connections that wait to be accepted, and Linux cannot move them to
/// the socket of a successor unless `net.ipv4.tcp_migrate_req` is set. A filter therefore drops the
/// first packet of each handshake. The client repeats it after one second, when the successor has
/// the port for itself, or gets a refusal.
pub(super) fn stop_handshakes(socket: &SockRef<'_>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.attach_filter(&filter::NO_NEW_HANDSHAKES) {
        tracing::debug!(%error, "can't stop handshakes before a listening socket is closed");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// A program of the system's packet filter (classic BPF). It is inherited by the connections that
/// are accepted afterwards, where it changes nothing.
#[cfg(target_os = "linux")]
mod filter {
    use socket2::SockFilter;

    /// Loads the byte at an offset of the TCP header.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;

    /// Drops packets with SYN and without ACK.
    pub(super) const NO_NEW_HANDSHAKES: [SockFilter; 5] = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
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
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn workers_share_a_port_that_no_other_program_gets() {
        let first = bind(([127, 0, 0, 1], 0).into(), 128, false).expect("a free port");
        let address = first.local_addr().expect("an address");
        let second = another(&first, 128).expect("one more socket");
        assert_eq!(second.local_addr().expect("an address"), address);
        let in_use = bind(address, 128, false).expect_err("the address is in use");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        let _clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).expect("it accepts")).collect();
        let accepted = |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let (one, other) = (accepted(&first), accepted(&second));
        assert_eq!(one + other, 64);
        assert!(one > 0 && other > 0, "{one} and {other} connections");
    }

    #[test]
    fn a_successor_takes_over_only_on_demand() {
        let first = bind(([127, 0, 0, 1], 0).into(), 128, false).expect("a free port");
        let address = first.local_addr().expect("an address");
        assert!(bind(address, 128, false).is_err());
        let successor = bind(address, 128, true).expect("it may listen beside the first");
        assert_eq!(successor.local_addr().expect("an address"), address);
        // A program that does not share its port keeps it.
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert!(bind(other.local_addr().expect("an address"), 128, true).is_err());
    }

    /// A restart reset the connections that waited to be accepted.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_is_replaced_without_losing_a_connection() {
        let first = bind(([127, 0, 0, 1], 0).into(), 1024, false).expect("a free port");
        let address = first.local_addr().expect("an address");
        let answered = AtomicUsize::new(0);
        let connect = || {
            let mut stream = TcpStream::connect(address).expect("a socket listens");
            stream.read_exact(&mut [0]).expect("an answer");
            answered.fetch_add(1, Ordering::SeqCst);
        };
        let answer = |listener: &TcpListener| {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.write_all(b"x").expect("it reads");
            }
            thread::yield_now();
        };
        thread::scope(|threads| {
            let clients: Vec<_> =
                (0..4).map(|_| threads.spawn(|| (0..200).for_each(|_| connect()))).collect();
            let mut current = first;
            for _ in 0..10 {
                let goal = answered.load(Ordering::SeqCst) + 40;
                while answered.load(Ordering::SeqCst) < goal {
                    answer(&current);
                }
                let next = bind(address, 1024, true).expect("a successor");
                stop_handshakes(&SockRef::from(&current));
                // The time in which those that have begun end.
                thread::sleep(Duration::from_millis(20));
                answer(&current);
                current = next;
            }
            while !clients.iter().all(|client| client.is_finished()) {
                answer(&current);
            }
        });
        assert_eq!(answered.into_inner(), 800);
    }
}
