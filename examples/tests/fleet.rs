//! The examples that need a server, run as their first lines say.

use std::process::{Child, Command, Stdio};

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_servers_and_one_redis() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    drop(listener);
    let redis = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is missing: apt-get install redis-server (or cargo xtask setup)");
    let _redis = Redis(redis);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "larder-examples", "--example", "fleet"])
        .arg(format!("redis://127.0.0.1:{port}/0"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    let report = |line: &str| line.split_once(": ").map(|(_, rest)| rest[..8].to_owned());
    for line in &lines[..4] {
        assert_eq!(report(line).as_deref(), Some("report 1"), "{said}");
    }
    assert!(lines[1].contains("hit") && lines[2].contains("hit") && lines[3].contains("hit"), "{said}");
    assert_eq!(report(lines[5]).as_deref(), Some("report 2"), "{said}");
    assert_eq!(lines[6], "made 2 times", "{said}");
}
