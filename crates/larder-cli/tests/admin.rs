//! What only the owner of a proxy sees: the admin's listener, metrics, the access log.

mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use process::{Proxy, content, field, larder, servers::Nginx, setting::Setting, status};

/// A proxy with an admin's listener that wants a token.
struct Owned {
    nginx: Nginx,
    proxy: Proxy,
    admin: String,
    token: String,
    _setting: Setting,
}

const BEARER: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

impl Owned {
    fn start() -> Self {
        let (nginx, it) = (Nginx::start(), Setting::new());
        let token = it.path("token");
        fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("a file");
        let token = token.display().to_string();
        let config = format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{token}\"\n\
             [[route]]\norigins = [\"{}\"]\ngroups = [\"all\"]\nstale_while_revalidate = \"1h\"",
            nginx.url()
        );
        let proxy = it.start(&config, &[]);
        let said = it.says("admin on http://");
        let admin =
            said.split("admin on ").nth(1).and_then(|rest| rest.lines().next()).expect("where").to_owned();
        Self { nginx, proxy, admin, token, _setting: it }
    }

    /// Runs the command with the token; its exit code, and all that it said.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = larder();
        command.args(args).args(["--admin", &self.admin, "--admin-token-file", &self.token]);
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    fn url(&self) -> String {
        format!("http://{}/page.html", self.proxy.address)
    }

    /// The page, and how it came.
    fn page(&self) -> (String, String) {
        let host = &self.proxy.address;
        let request = format!("GET /page.html HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = self.proxy.raw(request.as_bytes());
        (content(&answer).to_owned(), field(&answer, "cache-status").expect("it says").to_owned())
    }

    /// Asks the admin's listener.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.admin.trim_start_matches("http://")).expect("it accepts");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn metrics(&self, field: &str) -> String {
        self.ask(&format!("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n"))
    }

    fn purge(&self, kind: &str, body: &str) -> String {
        let length = body.len();
        self.ask(&format!(
            "POST /purge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{BEARER}Content-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// What the owner can do from the command line, with a token.
#[test]
fn purges_and_statistics_of_a_running_proxy() {
    let it = Owned::start();
    let (url, host) = (it.url(), it.proxy.address.clone());
    it.page();
    for (what, expected) in [
        (&["--url", &url][..], "purged http://"),
        (&["--tag", "all", "--of", &url], "purged all"),
        (&["--prefix", &format!("http://{host}/pa")], "removed 1"),
        (&["--all"], "purged all"),
    ] {
        assert!(it.page().1.starts_with("larder; hit"), "{what:?}");
        it.nginx.write("page.html", &format!("{what:?}"));
        let (code, said) = it.run(&[&["purge"], what].concat());
        assert!(code == Some(0) && said.contains(expected), "{said}");
        assert_eq!(it.page().0, format!("{what:?}"), "what was purged came again");
    }
    // Softly: served once more, and asked for meanwhile.
    for (turn, what) in
        [&["--url", &url][..], &["--tag", "all", "--of", &url], &["--prefix", &url], &["--all"]]
            .iter()
            .enumerate()
    {
        let content = format!("made anew{}", "!".repeat(50 + turn));
        it.nginx.write("page.html", &content);
        let (code, said) = it.run(&[&["purge", "--soft"], *what].concat());
        assert_eq!(code, Some(0), "{said}");
        let (_, how) = it.page();
        assert!(
            how.starts_with("larder; hit; ttl=-") || how.starts_with("larder; hit; ttl=0"),
            "{what:?}: {how}"
        );
        while it.page().0 != content {}
    }

    let (code, said) = it.run(&["stats"]);
    assert!(code == Some(0) && said.contains("hit") && said.contains("healthy"), "{said}");
    let (_, json) = it.run(&["stats", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["requests"]["hit"].as_u64() >= Some(4) && json["stores"][0]["keys"] == 1, "{json}");
    let output = larder().args(["stats", "--admin", &it.admin]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--admin-token-file"), "{said}");
}

/// What others see of it: nothing without the token, and clear refusals with it.
#[test]
fn the_admins_listener() {
    let it = Owned::start();
    it.page();
    it.page();
    let text = it.metrics(BEARER);
    for line in [
        "larder_requests_total{outcome=\"hit\"} 1",
        "larder_http_requests_total{status=\"2xx\"} 2",
        "larder_http_request_duration_seconds_bucket{le=\"0.001\"} ",
        "larder_origin_healthy{origin=",
        "# TYPE larder_requests_total counter",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for wrong in
        ["", "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n", "Authorization: Basic eDp5\r\n"]
    {
        assert_eq!(status(&it.metrics(wrong)), 401, "{wrong}");
    }
    assert_eq!(status(&it.purge("text/plain", "{\"all\":true}")), 400, "what a browser's page could send");
    for wrong in [
        "{}",
        "{\"all\":true,\"prefix\":\"x\"}",
        "{\"url\":\"nonsense\"}",
        "{\"al\":true}",
        "[",
        "{\"tag\":\"a\"}",
    ] {
        let answer = it.purge("application/json", wrong);
        assert!(status(&answer) == 400 && answer.contains("\"error\""), "{wrong}: {answer}");
    }
    // Nothing of it is on the public listener.
    assert_eq!(status(&it.proxy.get("/metrics", "")), 404);
}

/// Without a token, only this machine may reach it.
#[test]
fn an_admin_without_a_token_is_on_loopback() {
    let refused = |args: &[&str]| {
        let output =
            larder().args(["proxy", "--origin", "http://127.0.0.1:1"]).args(args).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = refused(&["--admin", "0.0.0.0:0"]);
    assert!(code == Some(2) && said.contains("--admin-token-file"), "{said}");
    let it = Setting::new();
    fs::write(it.path("short"), "secret").expect("a file");
    let (code, said) =
        refused(&["--admin", "0.0.0.0:0", "--admin-token-file", &it.path("short").display().to_string()]);
    assert!(code == Some(2) && said.contains("16 characters"), "{said}");
}

#[test]
fn the_access_log_has_a_line_for_each() {
    let nginx = Nginx::start();
    for (format, hit, refused) in [
        (
            "text",
            "\"GET /page.html HTTP/1.1\" 200 16 \"-\" \"a \\\"test\\\"\" \"larder; hit; ttl=",
            "\"PURGE /page.html HTTP/1.1\" 405 ",
        ),
        ("json", "\"cache_status\":\"larder; hit; ttl=", "\"status\":405,"),
    ] {
        let it = Setting::new();
        let log = it.path("access.log");
        let config = format!(
            "[log]\naccess = \"{format}\"\nfile = \"{}\"\n[[route]]\norigins = [\"{}\"]",
            log.display(),
            nginx.url()
        );
        let mut proxy = it.start(&config, &[]);
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
        assert!(lines.contains(hit) && lines.contains(refused), "{lines}");
        if format == "json" {
            for line in lines.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert!(line["complete"] == true && line["peer"] == "127.0.0.1", "{line}");
            }
        }
    }
}
