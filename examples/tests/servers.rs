//! The servers among the examples, each started as its first lines say, and asked over real sockets.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Example {
    address: String,
    _process: Process,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "larder-examples", "--example", name]);
        assert!(cargo.status().expect("cargo runs").success());
        // Beside this test's own directory.
        let mut program = std::env::current_exe().expect("a path");
        program.pop();
        program.pop();
        let program = program.join("examples").join(name);
        let mut process =
            Process(Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts"));
        let mut line = String::new();
        let out = process.0.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
        Self { address: address.to_owned(), _process: process }
    }

    fn send(&self, method: &str, path: &str, fields: &str, content: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{content}",
            content.len()
        );
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end + 4))
    }

    fn get(&self, path: &str) -> (String, String) {
        let (head, content) = self.send("GET", path, "", "");
        (head, String::from_utf8_lossy(&content).into_owned())
    }

    fn rename(&self, id: u32, name: &str) {
        let json = format!("{{\"name\":\"{name}\"}}");
        let (head, _) =
            self.send("PUT", &format!("/users/{id}"), "Content-Type: application/json\r\n", &json);
        assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    }
}

/// A PostgreSQL of the test's own.
struct Postgres {
    port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Postgres {
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
        let mut initdb = as_another(&programs.join("initdb"));
        initdb
            .args(["--auth=trust", "--username=larder", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null());
        assert!(initdb.status().expect(missing).success());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        drop(listener);
        let mut postgres = as_another(&programs.join("postgres"));
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
        panic!("PostgreSQL does not begin to answer");
    }

    fn url(&self) -> String {
        format!("postgres://larder@127.0.0.1:{}/postgres", self.port)
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// PostgreSQL does not run as root. The process itself is replaced, so that killing it kills the server.
fn as_another(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(PathBuf::from(program));
    command
}

/// What was read is kept; what was changed is never read as it was before, also by those who ask all the time.
fn a_database_behind_the_cache(url: &str) {
    let it = Example::start("database", &[url, "127.0.0.1:0"]);
    assert_eq!(it.get("/users/42").1, "{\"id\":42,\"name\":\"user 42\"}");
    assert!(it.get("/users/1000").0.starts_with("HTTP/1.1 404"));
    assert_eq!(it.get("/users").1.matches("\"id\"").count(), 100);
    it.rename(42, "Ada");
    assert_eq!(it.get("/users/42").1, "{\"id\":42,\"name\":\"Ada\"}");
    assert!(it.get("/users").1.contains("\"Ada\""), "the list is of the same group");

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
                        panic!("{path}: version {version}, after {at_least} was committed and answered");
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
fn sqlite_behind_the_cache() {
    a_database_behind_the_cache("sqlite::memory:");
}

#[test]
fn postgresql_behind_the_cache() {
    let postgres = Postgres::start();
    a_database_behind_the_cache(&postgres.url());
}

/// Compressed, static, and with a Redis that is not there: served all the same.
#[test]
fn the_tuned_server() {
    let redis = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("redis://{}/0", listener.local_addr().expect("it listens"))
    };
    for redis in ["-", &redis] {
        let it = Example::start("tuned", &[redis, "127.0.0.1:0"]);
        let (head, plain) = it.get("/report");
        assert!(head.contains("fwd=uri-miss") && plain.len() > 8000, "{head}");
        let (head, content) = it.send("GET", "/report?utm_source=x", "Accept-Encoding: gzip, br\r\n", "");
        assert!(head.contains("content-encoding: br") && content.len() < 500, "{head}");
        let (head, again) = it.send("GET", "/report", "Accept-Encoding: br\r\n", "");
        // Near copies are not believed while nobody can tell what was purged.
        assert!((redis != "-" || head.contains("larder; hit")) && again == content, "{head}");
        let (head, script) = it.get("/static/app.3f9ab1c2.js");
        assert!(head.contains("immutable") && script.starts_with("console.log"), "{head}");
        let (head, _) = it.send("GET", "/static/index.html", "Range: bytes=0-14\r\n", "");
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    }
}
