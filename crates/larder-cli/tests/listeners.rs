//! `larder proxy` with several listeners: inherited sockets, what is printed, and the end of
//! certificates.

mod process;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir, content, header, larder};

const GET: &str = "GET /page HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

fn origin() -> RawOrigin {
    RawOrigin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\na page").is_ok()
    })
}

/// Sends a request, and returns the response.
fn ask(mut stream: impl std::io::Read + std::io::Write) -> String {
    stream.write_all(GET.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// Starts a proxy by a command, which prints the addresses of as many listeners. Returns what it
/// prints.
fn start(mut command: Command, count: usize) -> (Proxy, Vec<String>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let lines: Vec<String> = out.lines().take(count).map(|line| line.expect("text")).collect();
    (Proxy { child, address: String::new() }, lines)
}

/// A service manager opens the sockets, so that a restart loses no connection. The shell has its
/// part here: it passes two sockets as descriptors 3 and 4.
#[test]
fn sockets_of_a_service_manager() {
    let (origin, dir) = (origin(), ConfigDir::new());
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("an address");
    let path = dir.path("larder.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let config = dir.write(&format!(
        "[[listener]]\nlisten = \"fd:local\"\n[[listener]]\nlisten = \"fd:0\"\n[[route]]\norigins = \"{}\"",
        origin.url()
    ));
    let script =
        "exec 3<&0 4<&2 0</dev/null 2>/dev/null; export LISTEN_PID=$$; exec \"$0\" proxy --config \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_larder"), &config]);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:local");
    command.stdin(OwnedFd::from(tcp)).stderr(OwnedFd::from(unix));
    let (_proxy, lines) = start(command, 2);
    assert_eq!(
        lines,
        [format!("listening on unix:{}", path.display()), format!("listening on http://{address}")]
    );
    assert_eq!(content(&ask(TcpStream::connect(address).expect("it listens"))), "a page");
    assert_eq!(content(&ask(UnixStream::connect(&path).expect("it listens"))), "a page");
}

/// A listener without a socket is an error at the start, and not for a check, which has none.
#[test]
fn a_missing_socket_is_named() {
    let dir = ConfigDir::new();
    let config = dir.write("[[listener]]\nlisten = \"fd:web\"\n[[route]]\norigins = \"http://127.0.0.1:1\"");
    let output = larder().args(["proxy", "--config", &config]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = format!(
        "larder: {config}:2: listener.listen: there is no inherited socket for fd:web: none was passed (LISTEN_FDS)\n"
    );
    assert_eq!((&*errors, output.status.code()), (&*expected, Some(1)));
    let output = larder().args(["check", &config]).output().expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("listens on fd:web, without TLS\n"), "{out}");
}

/// Open files that are left to origins and stores are a key of the file.
#[test]
fn reserved_files_are_a_key() {
    let dir = ConfigDir::new();
    let config = dir.write("limits = { reserved_files = 100 }\n[[route]]\norigins = \"http://127.0.0.1:1\"");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_larder"), "proxy"]);
    command.args(["--config", &config, "--listen", "127.0.0.1:0", "--workers", "3"]);
    command.stderr(File::create(dir.path("errors")).expect("a file"));
    let _proxy = start(command, 1);
    let errors = dir.wait_for_error("the limit of open files allows few connections");
    assert!(errors.contains("connections=900") && errors.contains("reserved=100"), "{errors}");
}

/// Writes a certificate that ends in some days, or has ended.
#[expect(clippy::disallowed_methods, reason = "the end of a certificate is on the wall clock")]
fn certificate(dir: &ConfigDir, name: &str, days: i64) -> (String, u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let end = now.checked_add_signed(days * 86_400).expect("after 1970");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new([format!("{name}.test")]).expect("a name");
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    let [cert_file, key_file] = ["pem", "key"].map(|ending| dir.path(&format!("{name}.{ending}")));
    fs::write(&cert_file, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
    fs::write(&key_file, key.serialize_pem()).expect("a file");
    (format!("cert = \"{}\", key = \"{}\"", cert_file.display(), key_file.display()), end)
}

/// A certificate expired at night, and nothing had warned of it.
#[test]
fn the_end_of_certificates_is_reported() {
    let (origin, dir) = (origin(), ConfigDir::new());
    let [(good, good_end), (soon, soon_end), (ended, ended_end)] =
        [("good", 60), ("soon", 10), ("ended", -1)].map(|(name, days)| certificate(&dir, name, days));
    let config = format!(
        "admin = {{ listen = \"127.0.0.1:0\" }}\nlimits = {{ certificate_interval = \"10ms\" }}\n\
         tls = {{ {good}, further = [{{ {soon} }}] }}\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\ntls = true\n\
         [[listener]]\nlisten = \"127.0.0.1:0\"\ntls = {{ {ended} }}\n\
         [[route]]\norigins = \"{}\"",
        origin.url()
    );
    let proxy = dir.start(&config, &[]);
    let errors = dir.wait_for_error("admin on http://");
    let admin = errors.split("admin on http://").nth(1).and_then(|rest| rest.lines().next());
    let metrics = ask_for(admin.expect("an address"), "/metrics");
    for (name, end) in [("good", good_end), ("soon", soon_end), ("ended", ended_end)] {
        let file = dir.path(&format!("{name}.pem"));
        let line = format!(
            "larder_certificate_not_after_seconds{{name=\"{name}.test\",file=\"{}\"}} {end}\n",
            file.display()
        );
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let count = |errors: &str| {
        ["a TLS certificate expires soon", "a TLS certificate has expired", "good.test"]
            .map(|text| errors.matches(text).count())
    };
    // The files are looked at again and again, and the warnings are not repeated.
    let good_file = dir.path("good.pem");
    let valid = fs::read(&good_file).expect("a file");
    fs::write(&good_file, "no certificate").expect("a file");
    let errors = dir.wait_for_error("can't reload TLS certificates");
    assert_eq!(count(&errors), [1, 1, 0], "{errors}");
    assert!(errors.contains("days=9") && errors.contains("soon.test"), "{errors}");
    // When they have been read again, they are.
    let wait_for_warnings = |number: usize| {
        for _ in 0..3000 {
            let errors = fs::read_to_string(dir.path("errors")).expect("a file");
            match count(&errors) {
                [soon, ended, 0] if soon >= number && ended >= number - 1 => return,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("fewer than {number} warnings");
    };
    fs::write(&good_file, valid).expect("a file");
    wait_for_warnings(2);
    proxy.signal("HUP");
    wait_for_warnings(3);
    assert!(header(&metrics, "content-type").is_some_and(|kind| kind.starts_with("text/plain")));
}

/// Sends a GET to the admin listener.
fn ask_for(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}
