//! The admin listener with its metrics, the commands that use it, and the access log.

mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use process::{Proxy, config_dir::ConfigDir, content, header, larder, servers::Nginx, status};

/// A proxy in front of nginx, with an admin listener that requires a token.
struct AdminSetup {
    nginx: Nginx,
    proxy: Proxy,
    admin: String,
    token: String,
    _dir: ConfigDir,
}

const BEARER: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

impl AdminSetup {
    /// Starts the servers.
    fn start() -> Self {
        Self::start_with_stores(|_| Vec::new())
    }

    /// Starts the servers, with the `--store` arguments that `stores` returns.
    fn start_with_stores(stores: impl FnOnce(&ConfigDir) -> Vec<String>) -> Self {
        let (nginx, dir) = (Nginx::start(), ConfigDir::new());
        let token = dir.path("token");
        fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("a file");
        let token = token.display().to_string();
        let config = format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{token}\"\n\
             [[route]]\norigins = [\"{}\"]\ngroups = [\"all\"]\nstale_while_revalidate = \"1h\"",
            nginx.url()
        );
        let stores = stores(&dir);
        let stores: Vec<_> = stores.iter().flat_map(|spec| ["--store", spec]).collect();
        let proxy = dir.start(&config, &stores);
        let errors = dir.wait_for_error("admin on http://");
        let admin = errors
            .split("admin on ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .expect("the address")
            .to_owned();
        Self { nginx, proxy, admin, token, _dir: dir }
    }

    /// Runs a command with the token. Returns its exit code, and standard output and error
    /// together.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = larder();
        command.args(args).args(["--admin", &self.admin, "--admin-token-file", &self.token]);
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Returns the URL of the page, with the address of the proxy.
    fn url(&self) -> String {
        format!("http://{}/page.html", self.proxy.address)
    }

    /// Requests the page. Returns its content and `Cache-Status`.
    fn page(&self) -> (String, String) {
        let host = &self.proxy.address;
        let request = format!("GET /page.html HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = self.proxy.raw(request.as_bytes());
        (content(&response).to_owned(), header(&response, "cache-status").expect("a Cache-Status").to_owned())
    }

    /// Sends a request to the admin listener, and returns the response.
    fn request(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.admin.trim_start_matches("http://")).expect("it accepts");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        response
    }

    /// Requests `/metrics` with this header line.
    fn metrics(&self, header: &str) -> String {
        self.request(&format!("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n"))
    }

    /// Posts a body of this content type to `/purge`.
    fn purge(&self, kind: &str, body: &str) -> String {
        let length = body.len();
        self.request(&format!(
            "POST /purge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{BEARER}Content-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

#[test]
fn a_purge_says_how_many_entries_went_in_each_store() {
    let setup = AdminSetup::start_with_stores(|dir| {
        vec!["memory:1MiB".to_owned(), format!("disk:{}", dir.path("cache").display())]
    });
    let (url, host) = (setup.url(), setup.proxy.address.clone());
    let prefix = format!("http://{host}/pa*");
    for (what, expected) in [
        (["--url", &url], format!("purged {url} (1 entry); near store: 1, far store: 1")),
        (["--prefix", &prefix], "removed 1; near store: 1, far store: 1".to_owned()),
        (["--prefix", &prefix], "removed 0; near store: 0, far store: 0".to_owned()),
    ] {
        if !expected.contains(" 0;") {
            // Until the disk has it, too.
            while !setup.page().1.starts_with("larder; hit") {}
        }
        let (code, output) = setup.run(&[&["purge"], &what[..]].concat());
        assert_eq!((code, output.trim_end()), (Some(0), &*expected));
    }
    let answer = setup.purge("application/json", &format!("{{\"prefix\":\"{prefix}\"}}"));
    let answer: serde_json::Value = serde_json::from_str(content(&answer)).expect("JSON");
    assert_eq!((&answer["near_entries"], &answer["far_entries"]), (&0.into(), &0.into()), "{answer}");
}

/// `larder purge` and `larder stats` with `--admin` and a token.
#[test]
fn purges_and_statistics_of_a_running_proxy() {
    let setup = AdminSetup::start();
    let (url, host) = (setup.url(), setup.proxy.address.clone());
    setup.page();
    for (what, expected) in [
        (&["--url", &url][..], "purged http://"),
        (&["--tag", "all", "--of", &url], "purged all"),
        (&["--prefix", &format!("http://{host}/pa*")], "removed 1"),
        (&["--all"], "purged all"),
    ] {
        assert!(setup.page().1.starts_with("larder; hit"), "{what:?}");
        setup.nginx.write("page.html", &format!("{what:?}"));
        let (code, output_text) = setup.run(&[&["purge"], what].concat());
        assert!(code == Some(0) && output_text.contains(expected), "{output_text}");
        assert_eq!(setup.page().0, format!("{what:?}"), "a purged page was served");
    }
    // A soft purge: the page is served once more, stale, and revalidated in the background.
    for (turn, what) in
        [&["--url", &url][..], &["--tag", "all", "--of", &url], &["--prefix", &url], &["--all"]]
            .iter()
            .enumerate()
    {
        let content = format!("fetched again{}", "!".repeat(50 + turn));
        setup.nginx.write("page.html", &content);
        let (code, output_text) = setup.run(&[&["purge", "--soft"], *what].concat());
        assert_eq!(code, Some(0), "{output_text}");
        let (_, how) = setup.page();
        assert!(
            how.starts_with("larder; hit; ttl=-") || how.starts_with("larder; hit; ttl=0"),
            "{what:?}: {how}"
        );
        while setup.page().0 != content {}
    }

    let (code, output_text) = setup.run(&["stats"]);
    assert!(
        code == Some(0) && output_text.contains("hit") && output_text.contains("healthy"),
        "{output_text}"
    );
    let (_, json) = setup.run(&["stats", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["requests"]["hit"].as_u64() >= Some(4) && json["stores"][0]["keys"] == 1, "{json}");
    let output = larder().args(["stats", "--admin", &setup.admin]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("--admin-token-file"), "{errors}");
}

/// Without the token every request is rejected; with it, invalid requests are errors.
#[test]
fn the_admin_listener_requires_a_token() {
    let setup = AdminSetup::start();
    setup.page();
    setup.page();
    let text = setup.metrics(BEARER);
    for line in [
        "larder_requests_total{outcome=\"hit\"} 1",
        "larder_http_requests_total{status=\"2xx\"} 2",
        "larder_http_request_duration_seconds_bucket{le=\"0.001\"} ",
        "larder_origin_healthy{origin=",
        "larder_unconfirmed_removals 0",
        "# TYPE larder_requests_total counter",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for wrong in
        ["", "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n", "Authorization: Basic eDp5\r\n"]
    {
        assert_eq!(status(&setup.metrics(wrong)), 401, "{wrong}");
    }
    assert_eq!(status(&setup.purge("text/plain", "{\"all\":true}")), 400, "a web page could send this");
    let as_of_curl = "application/x-www-form-urlencoded";
    assert_eq!(status(&setup.purge(as_of_curl, "{\"url\":\"http://example.com/none\"}")), 200, "curl -d");
    for wrong in [
        "{}",
        "{\"all\":true,\"prefix\":\"x\"}",
        "{\"url\":\"nonsense\"}",
        "{\"al\":true}",
        "[",
        "{\"tag\":\"a\"}",
    ] {
        let response = setup.purge("application/json", wrong);
        assert!(status(&response) == 400 && response.contains("\"error\""), "{wrong}: {response}");
    }
    // The public listener has none of its pages.
    assert_eq!(status(&setup.proxy.get("/metrics", "")), 404);
}

/// Without a token, the admin listener must be on a loopback address.
#[test]
fn an_admin_listener_without_a_token_must_be_on_loopback() {
    let start = |args: &[&str]| {
        let output =
            larder().args(["proxy", "--origin", "http://127.0.0.1:1"]).args(args).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = start(&["--admin", "0.0.0.0:0"]);
    assert!(code == Some(2) && errors.contains("--admin-token-file"), "{errors}");
    let dir = ConfigDir::new();
    fs::write(dir.path("short"), "secret").expect("a file");
    let (code, errors) =
        start(&["--admin", "0.0.0.0:0", "--admin-token-file", &dir.path("short").display().to_string()]);
    assert!(code == Some(2) && errors.contains("16 characters"), "{errors}");
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let nginx = Nginx::start();
    for (format, hit, rejected) in [
        (
            "text",
            "\"GET /page.html HTTP/1.1\" 200 16 \"-\" \"a \\\"test\\\"\" \"larder; hit; ttl=",
            "\"PURGE /page.html HTTP/1.1\" 405 ",
        ),
        (
            "extended",
            "\"GET /page.html HTTP/1.1\" 200 16 \"-\" \"a \\\"test\\\"\" \"larder; hit; ttl=",
            "\"PURGE /page.html HTTP/1.1\" 405 ",
        ),
        ("json", "\"cache_status\":\"larder; hit; ttl=", "\"status\":405,"),
    ] {
        let dir = ConfigDir::new();
        let log = dir.path("access.log");
        let config = format!(
            "[log]\naccess = \"{format}\"\nfile = \"{}\"\n[[route]]\norigins = [\"{}\"]",
            log.display(),
            nginx.url()
        );
        let mut proxy = dir.start(&config, &[]);
        for _ in 0..2 {
            proxy.get("/page.html", "User-Agent: a \"test\"\r\n");
        }
        proxy.send("PURGE", "/page.html", "");
        let head = proxy.send("HEAD", "/page.html", "");
        assert_eq!(status(&head), 200);
        let pid = proxy.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        assert!(proxy.child.wait().expect("it ends").success());
        let lines = fs::read_to_string(&log).expect("the log");
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert!(lines.contains(hit) && lines.contains(rejected), "{lines}");
        if format == "json" {
            for line in lines.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert!(line["complete"] == true && line["peer"] == "127.0.0.1", "{line}");
            }
        }
    }
}
