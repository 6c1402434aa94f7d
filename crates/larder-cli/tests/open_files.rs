//! What happens at the limit of open files.

mod process;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir};

/// Idle connections of clients used up the open files, and the others got a 502: no file was left
/// for a connection to the origin.
#[test]
fn idle_clients_leave_room_for_the_origin() {
    let origin = RawOrigin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\na page").is_ok()
    });
    let dir = ConfigDir::new();
    let errors = std::fs::File::create(dir.path("errors")).expect("a file");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_larder")]);
    let proxy =
        Proxy::start_command(command, "127.0.0.1:0", &["--origin", &origin.url()], Stdio::from(errors));
    let errors = dir.wait_for_error("the limit of open files allows few connections");
    assert!(errors.contains("connections=128"), "{errors}");
    let connect = || {
        let stream = TcpStream::connect(&proxy.address).expect("the system accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream
    };
    let mut clients: Vec<_> = (0..300).map(|_| connect()).collect();
    dir.wait_for_error("as many connections as it may have");
    for (number, client) in clients.iter_mut().take(30).enumerate() {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        client.write_all(request.as_bytes()).expect("it reads");
        let mut status = [0; 12];
        client.read_exact(&mut status).expect("a response");
        assert_eq!(&status, b"HTTP/1.1 200", "client {number}");
    }
    // Those that waited get their turn.
    let mut last = clients.pop().expect("one that waits");
    drop(clients);
    last.write_all(b"GET /last HTTP/1.1\r\nHost: example.com\r\n\r\n").expect("it reads");
    let mut status = [0; 12];
    last.read_exact(&mut status).expect("a response");
    assert_eq!(&status, b"HTTP/1.1 200");
}
