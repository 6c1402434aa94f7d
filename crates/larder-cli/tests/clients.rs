//! What clients can do to `larder proxy`: reloads, and values of headers that select a response.

mod process;

use std::io::Write as _;

use larder_testkit::RawOrigin;
use process::{Proxy, config_dir::ConfigDir, header};

/// Starts an origin with pages that are fresh for ten minutes and vary by two headers.
fn origin() -> RawOrigin {
    RawOrigin::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nvary: accept-language, x-device\r\n\
                    content-length: 4\r\n\r\npage";
        stream.write_all(head.as_bytes()).is_ok()
    })
}

/// Sends this many reloads of a path, one after the other.
fn reload(proxy: &Proxy, path: &str, times: usize) {
    for _ in 0..times {
        let response = proxy.get(path, "Cache-Control: no-cache\r\nPragma: no-cache\r\n");
        assert!(response.ends_with("page"), "{response}");
    }
}

/// Each visitor's browser had its own list of languages, and each was one more request to the
/// origin.
#[test]
fn the_origin_sees_the_normal_form_and_nothing_else() {
    let origin = origin();
    let dir = ConfigDir::new();
    let config = format!(
        "[[route]]\norigins = [\"{}\"]\nlanguages = [\"en\", \"de\"]\n\
         normalize = {{ X-Device = [\"desktop\", \"mobile\"] }}\n",
        origin.url()
    );
    let proxy = dir.start(&config, &[]);
    for n in 10..40 {
        let lines = format!("Accept-Language: fr-FR, de-CH;q=0.9, en;q=0.{n}\r\nX-Device: tv {n}\r\n");
        proxy.get("/", &lines);
    }
    let hit = proxy.get("/", "Accept-Language: DE\r\n");
    assert!(header(&hit, "cache-status").is_some_and(|how| how.starts_with("larder; hit")), "{hit}");
    let heads = origin.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("accept-language: de\r\n") && head.contains("x-device: desktop\r\n"), "{head}");
    assert!(!head.contains("fr-fr") && !head.contains("tv "), "{head}");
    proxy.get("/", "X-Device: Mobile\r\n");
    let head = origin.heads()[1].to_ascii_lowercase();
    assert!(head.contains("accept-language: en\r\n") && head.contains("x-device: mobile\r\n"), "{head}");
}

#[test]
fn each_route_decides_about_reloads() {
    let origin = origin();
    let dir = ConfigDir::new();
    let route = |prefix: &str, line: &str| {
        format!("[[route]]\nprefix = \"{prefix}\"\norigins = [\"{}\"]\n{line}\n", origin.url())
    };
    let config = [
        "client_directives = \"ignore\"\n".to_owned(),
        route("/", ""),
        route("/honor", "client_directives = \"honor\""),
    ];
    let proxy = dir.start(&config.concat(), &[]);
    let requests = |path: &str| {
        let line = format!("GET {path} ");
        origin.heads().iter().filter(|head| head.starts_with(&line)).count()
    };
    proxy.get("/page", "");
    reload(&proxy, "/page", 3);
    assert_eq!(requests("/page"), 1, "ignored");
    proxy.get("/honor/page", "");
    reload(&proxy, "/honor/page", 3);
    assert_eq!(requests("/honor/page"), 4, "honored");
}

/// With `--private` the only user's reloads reach the origin, and the option overrides that.
#[test]
fn the_option_and_the_kind_of_cache_decide_about_reloads() {
    for (args, expected) in [
        (&["--private"][..], 4),
        (&["--client-directives", "honor"], 4),
        (&["--client-directives", "ignore"], 1),
        (&["--private", "--client-directives", "ignore"], 1),
    ] {
        let origin = origin();
        let proxy = Proxy::start(&origin.url(), args);
        proxy.get("/", "");
        reload(&proxy, "/", 3);
        assert_eq!(origin.heads().len(), expected, "{args:?}");
    }
}

/// `-v` promised messages about each request, and printed not a line about any.
#[test]
fn the_log_states_what_happens_to_each_request_and_why() {
    let (origin, dir) = (origin(), ConfigDir::new());
    let config = format!("[[route]]\norigins = [\"{}\"]\n", origin.url());
    let proxy = dir.start(&config, &["-v"]);
    proxy.get("/page?token=SECRET", "");
    dir.wait_for_error("GET http://example.com/page?… 200, miss: No response is stored for this URL");
    proxy.get("/page?token=SECRET", "");
    dir.wait_for_error(
        "GET http://example.com/page?… 200, hit: A stored response was served, which is fresh.",
    );
    proxy.send("POST", "/page", "Content-Length: 0\r\n");
    let log = dir.wait_for_error("POST http://example.com/page 200, pass: The method is not one");
    assert!(!log.contains("SECRET"), "{log}");
}
