//! Starts the example servers, and sends requests to them over real sockets.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// A child process, killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running example server.
struct Example {
    address: String,
    _process: Process,
}

impl Example {
    /// Builds and starts an example, and waits until it listens.
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "larder-examples", "--example", name]);
        assert!(cargo.status().expect("cargo runs").success());
        // The examples are built into a directory next to that of this test.
        let mut program = std::env::current_exe().expect("a path");
        program.pop();
        program.pop();
        let program = program.join("examples").join(name);
        let mut process =
            Process(Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut line = String::new();
        let out = process.0.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("its address");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
        Self { address: address.to_owned(), _process: process }
    }

    /// Sends a request, and returns the head and the content of the response.
    fn send(&self, method: &str, path: &str, fields: &str, content: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{content}",
            content.len()
        );
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("a response");
        let end = response.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        (String::from_utf8_lossy(&response[..end]).into_owned(), response.split_off(end + 4))
    }

    /// Sends a GET request, and returns the head and the content of the response.
    fn get(&self, path: &str) -> (String, String) {
        let (head, content) = self.send("GET", path, "", "");
        (head, String::from_utf8_lossy(&content).into_owned())
    }

    /// Renames a user of the example `database`.
    fn rename(&self, id: u32, name: &str) {
        let json = format!("{{\"name\":\"{name}\"}}");
        let (head, _) =
            self.send("PUT", &format!("/users/{id}"), "Content-Type: application/json\r\n", &json);
        assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    }
}

/// A PostgreSQL server for one test, in a temporary directory.
struct Postgres {
    port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Creates a database cluster, and waits until its server accepts connections.
    fn start() -> Self {
        let missing = "PostgreSQL is missing: apt-get install postgresql (or cargo xtask setup)";
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect(missing).flatten();
        let programs = versions.map(|version| version.path().join("bin")).max().expect(missing);
        let readable = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(readable).tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&data).status().expect("chown").success());
        }
        let mut initdb = as_unprivileged(&programs.join("initdb"));
        initdb
            .args(["--auth=trust", "--username=larder", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null());
        assert!(initdb.status().expect(missing).success());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a local address").port();
        drop(listener);
        let mut postgres = as_unprivileged(&programs.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        postgres.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(postgres.spawn().expect(missing));
        let ready = || {
            let mut ready = Command::new(programs.join("pg_isready"));
            ready
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .is_ok_and(|status| status.success())
        };
        for _ in 0..600 {
            if ready() {
                return Self { port, _process: process, _folder: folder };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL accepts no connections after 30 s");
    }

    /// Returns the URL of the database.
    fn url(&self) -> String {
        format!("postgres://larder@127.0.0.1:{}/postgres", self.port)
    }
}

/// Returns whether this process runs as root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Creates a command that runs as the user `postgres` if this process runs as root, as PostgreSQL
/// refuses to run as root. `setpriv` replaces itself with the program, so that killing the child
/// kills the server.
fn as_unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(PathBuf::from(program));
    command
}

/// Checks that rows are read correctly, and that no request that starts after a change has been
/// confirmed receives the old row, while three clients read continuously.
fn a_cached_database_is_never_read_stale(url: &str) {
    let it = Example::start("database", &[url, "127.0.0.1:0"]);
    assert_eq!(it.get("/users/42").1, "{\"id\":42,\"name\":\"user 42\"}");
    assert!(it.get("/users/1000").0.starts_with("HTTP/1.1 404"));
    assert_eq!(it.get("/users").1.matches("\"id\"").count(), 100);
    it.rename(42, "Ada");
    assert_eq!(it.get("/users/42").1, "{\"id\":42,\"name\":\"Ada\"}");
    assert!(it.get("/users").1.contains("\"Ada\""), "the list is in the same group");

    let (done, newest) = (AtomicBool::new(false), AtomicUsize::new(0));
    it.rename(7, "version 0");
    std::thread::scope(|threads| {
        for path in ["/users/7", "/users", "/users/7"] {
            let (it, done, newest) = (&it, &done, &newest);
            threads.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let at_least = newest.load(Ordering::SeqCst);
                    let text = it.get(path).1;
                    let version = text.split("version ").nth(1).and_then(|rest| rest.split('"').next());
                    let version: usize = version.and_then(|version| version.parse().ok()).expect(&text);
                    if version < at_least {
                        done.store(true, Ordering::SeqCst);
                        panic!("{path}: version {version}, after {at_least} was confirmed");
                    }
                }
            });
        }
        for version in 1..=100 {
            it.rename(7, &format!("version {version}"));
            newest.store(version, Ordering::SeqCst);
            if done.load(Ordering::SeqCst) {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn sqlite_is_never_read_stale() {
    a_cached_database_is_never_read_stale("sqlite::memory:");
}

#[test]
fn postgresql_is_never_read_stale() {
    let postgres = Postgres::start();
    a_cached_database_is_never_read_stale(&postgres.url());
}

/// Compressed responses and static files are served, with an unavailable Redis too.
#[test]
fn the_tuned_server_works_without_redis() {
    let redis = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("redis://{}/0", listener.local_addr().expect("a local address"))
    };
    for redis in ["-", &redis] {
        let it = Example::start("tuned", &[redis, "127.0.0.1:0"]);
        let (head, plain) = it.get("/report");
        assert!(head.contains("fwd=uri-miss") && plain.len() > 8000, "{head}");
        let (head, content) = it.send("GET", "/report?utm_source=x", "Accept-Encoding: gzip, br\r\n", "");
        assert!(head.contains("content-encoding: br") && content.len() < 500, "{head}");
        let (head, second) = it.send("GET", "/report", "Accept-Encoding: br\r\n", "");
        // Without a connection to Redis, purges by other servers cannot be received, so the near
        // tier does not serve its copies.
        assert!((redis != "-" || head.contains("larder; hit")) && second == content, "{head}");
        let (head, script) = it.get("/static/app.3f9ab1c2.js");
        assert!(head.contains("immutable") && script.starts_with("console.log"), "{head}");
        let (head, _) = it.send("GET", "/static/index.html", "Range: bytes=0-14\r\n", "");
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    }
}
