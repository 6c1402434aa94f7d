//! Configurations: keys, values, variables, and what errors contain.
#![cfg(all(feature = "compress", feature = "config", feature = "tls"))]

use std::{net::SocketAddr, time::Duration};

use larder_proxy::{BalanceConfig, Config, ConfigError, Proxy};

const GUIDE: &str = include_str!("../CONFIG.md");
/// The headers of the tables of a file, each with the keys that it requires.
const TABLES: [&str; 19] = [
    "",
    "[tls]\ncert = \"\"\nkey = \"\"\n",
    "[[tls.further]]\ncert = \"\"\nkey = \"\"\n",
    "[limits]\n",
    "[[listener]]\nlisten = \"fd:0\"\n",
    "[[listener]]\nlisten = \"fd:0\"\n[listener.tls]\n",
    "[[listener]]\nlisten = \"fd:0\"\n[listener.redirect]\n",
    "[[route]]\norigins = []\n[route.ranges]\n",
    "[admin]\n",
    "[purge]\n",
    "[log]\n",
    "[[route]]\norigins = []\n",
    "[[route]]\norigins = []\n[route.request_headers]\n",
    "[[route]]\norigins = []\n[route.response_headers]\n",
    "[[route]]\norigins = []\n[route.health]\n",
    "[[route]]\norigins = []\n[route.key]\n",
    "[[route]]\norigins = []\n[[route.when]]\n",
    "[[route]]\norigins = []\n[[route.when]]\n[route.when.key]\n",
    "[[route]]\norigins = []\n[[route.when]]\n[route.when.not]\n",
];

/// Parses and checks a text without variables.
fn checked(text: &str) -> Result<Config, ConfigError> {
    let config = Config::parse(text, |_| None)?;
    Proxy::check(config.clone())?;
    Ok(config)
}

/// Returns a text with one route that has this line.
fn route(line: &str) -> String {
    format!("[[route]]\norigins = [\"http://127.0.0.1:1\"]\n{line}\n")
}

/// Returns a text with one limit.
fn limits(line: &str) -> String {
    format!("[limits]\n{line}\n{}", route(""))
}

/// Returns a text with one listener that has this address and these further lines.
fn listener(lines: &str) -> String {
    format!("[[listener]]\nlisten = {lines}\n{}", route(""))
}

/// Returns the keys of a table, from the parser's error about an unknown key.
fn keys(before: &str) -> Vec<String> {
    let text = format!("{before}no-such-key-in-any-table = 1\n");
    let error = Config::parse(&text, |_| None).expect_err("no such key").to_string();
    let (_, known) = error.split_once("there are ").unwrap_or_else(|| panic!("{error}"));
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_guide_documents_every_key() {
    let mut count = 0;
    for key in TABLES.iter().flat_map(|before| keys(before)) {
        assert!(GUIDE.contains(&format!("| `{key}` |")), "CONFIG.md has no row for `{key}`");
        count += 1;
    }
    assert!(count > 40, "{count} keys");
}

#[test]
fn the_guide_has_no_unknown_keys_and_its_examples_are_valid() {
    let mut known: Vec<String> = TABLES.iter().flat_map(|before| keys(before)).collect();
    known.sort_unstable();
    for line in GUIDE.lines().filter_map(|line| line.strip_prefix("| `")) {
        let key = line.split('`').next().unwrap_or_default();
        assert!(
            known.binary_search_by(|known| known.as_str().cmp(key)).is_ok(),
            "CONFIG.md documents `{key}`, which is not a key"
        );
    }
    let examples: Vec<&str> =
        GUIDE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        checked(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

#[test]
fn errors_name_what_is_wrong() {
    for (text, words) in [
        (String::new(), "there is no [[route]]"),
        ("[[route]]\norigins = []".to_owned(), "line 2: route.origins: the list is empty"),
        ("\n[[route]]\nprefix = \"/\"".to_owned(), "line 2: route: the key `origins` is missing"),
        (route("freshness = \"soon\""), "line 3: route.freshness: 'soon' is not a duration"),
        (route("freshness = 60"), "line 3: route.freshness: invalid type"),
        (route("max_object = \"much\""), "line 3: route.max_object: 'much' is not a size"),
        (route("fresness = \"60s\""), "line 3: route.fresness: unknown key; did you mean `freshness`?"),
        (route("prefix = \"api\""), "line 3: route.prefix: 'api' does not start with /"),
        (route("host = \"http://a\""), "line 3: route.host: 'http://a' is not a host name"),
        (route("host = \"a:80\""), "'a:80' is not a host name; write it without scheme, port"),
        (route("vary = [\"no name\"]"), "'no name' is not a valid header name"),
        (route("key = { headers = [\"no name\"] }"), "'no name' is not a valid header name"),
        (route("key = { cookies = [\"a=b\"] }"), "'a=b' is not a valid cookie name"),
        (route("key = { post = true }"), "route.key.post: key.content is missing"),
        (route("key = { cookie = \"a\" }"), "route.key.cookie: unknown key; did you mean `cookies`?"),
        (route("balance = \"random\""), "unknown value `random`; there are `first`, `round-robin`"),
        (route("balance = \"round_robin\""), "did you mean `round-robin`?"),
        (route("weights = [1, 2]"), "there are 2 numbers for 1 origin"),
        (route("weights = [0]"), "a weight is a number from 1 to 100"),
        (route("weights = [-1]"), "line 3: route.weights: invalid value: integer `-1`"),
        (route("origin_ca = \"/no/such/file\""), "route.origin_ca: can't read the file /no/such/file"),
        (route("origin_cert = \"client.pem\""), "route.origin_cert: origin_key is missing"),
        (route("origin_roots = \"none\""), "\"none\" needs origin_ca"),
        (route("client_directives = \"obey\""), "unknown value `obey`"),
        (route("languages = [\"german language\"]"), "'german language' is not a valid value"),
        (route("normalize = { Cookie = [\"a\"] }"), "'Cookie' does more than select a response"),
        (route("normalize = { X-Device = [] }"), "'x-device' needs at least one value"),
        (
            route("languages = [\"en\"]\nnormalize = { Accept-Language = [\"de\"] }"),
            "set languages or normalize, not both",
        ),
        (route("health = { path = \"healthz\" }"), "route.health.path: 'healthz' is not a path"),
        (route("response_headers = { set = { a = \"b\\n\" } }"), "is not a valid header value"),
        ("[[route]]\norigins = \"http://a:port\"".to_owned(), "the port in the origin's URL is not a number"),
        ("[[route]]\norigins = \"http://[::1]:65536\"".to_owned(), "the port in the origin's URL is not"),
        ("[[route]]\norigins = \"http://a:0\"".to_owned(), "http://a:0: the port in the origin's URL"),
        (
            "[[route]]\norigins = [\"http://a\",\n\"127.0.0.1:1\"]".to_owned(),
            "line 3: route.origins: 127.0.0.1:1",
        ),
        (format!("listen = \"here\"\n{}", route("")), "line 1: listen: 'here' is not an IP address"),
        (format!("workers = 0\n{}", route("")), "line 1: workers: 0 is not a number from 1 to 512"),
        (format!("workers = 1000\n{}", route("")), "workers: 1000"),
        (
            format!("trusted_proxies = [\"private\",\n\"10.0.0.0/33\"]\n{}", route("")),
            "line 2: trusted_proxies",
        ),
        (
            format!("tls = {{ cert = \"/none\", key = \"/none\" }}\n{}", route("")),
            "line 1: tls.cert: can't read",
        ),
        ("[admin]\nlisten = \"0.0.0.0:1\"\n".to_owned() + &route(""), "line 2: admin.listen: other machines"),
        ("listen = \n".to_owned(), "line 1: "),
        (route("ranges = { slice = \"1KiB\" }"), "line 3: route.ranges.slice: the size of slices is from"),
        (route("upgrade = false"), "did you mean `upgrades`?"),
        (route("prefix = \"/\"\nprefix = \"/\""), "line 4: duplicate key"),
    ] {
        let error = checked(&text).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn errors_in_rules_name_what_is_wrong() {
    for (text, words) in [
        (route("[[route.when]]\nbypass = true"), "line 3: route.when: there is no condition"),
        (route("[[route.when]]\npath = \"*\""), "line 3: route.when: nothing follows from the conditions"),
        (
            route("[[route.when]]\npath = \"*\"\nbypass = true\nfreshness = \"5s\""),
            "line 5: route.when.bypass: requests that bypass the cache have no other settings",
        ),
        (route("[[route.when]]\npath = \"a\"\nbypass = true"), "line 4: route.when.path: 'a' is not a path"),
        (route("[[route.when]]\nmethod = \"get\"\nbypass = true"), "'get' is not a method"),
        (route("[[route.when]]\nheader = \"no name\"\nbypass = true"), "'no name' is not a valid header"),
        (route("[[route.when]]\ncookie = 1\nbypass = true"), "a name, a list of names, or a table of names"),
        (route("[[route.when]]\ncookies = \"a\"\nbypass = true"), "did you mean `cookie`?"),
        (route("[[route.when]]\nnot = {}\nbypass = true"), "there is no condition"),
        (
            route("[[route.when]]\nbypass = true\nnot = { path = \"a\" }"),
            "line 5: route.when.not.path: 'a' is not a path",
        ),
        (route("[[route.when]]\nbypass = true\nnot = { cokie = \"a\" }"), "did you mean `cookie`?"),
        (route("[[route.when]]\nbypass = true\nnot = \"a\""), "line 5: route.when.not: invalid type"),
    ] {
        let error = checked(&text).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn errors_in_listeners_and_limits_name_what_is_wrong() {
    for (text, words) in [
        (limits("max_headers = 0"), "line 2: limits.max_headers: the value is not from 1 to 10000"),
        (
            limits("max_header_bytes = \"4KiB\""),
            "line 2: limits.max_header_bytes: the value is not from 8KiB",
        ),
        (limits("max_connections = 0"), "line 2: limits.max_connections: the value is not at least 1"),
        (limits("max_streams = 1"), "limits.max_streams: unknown key; there are `max_header_bytes`"),
        (limits("send_timeot = \"1s\""), "did you mean `send_timeout`?"),
        (
            listener("\"here\""),
            "line 2: listener.listen: 'here' is not an IP address and port, a Unix socket",
        ),
        (listener("\"unix:relative\""), "the path of a Unix socket begins with /"),
        (listener("\"fd:\""), "needs the position or the name"),
        (listener("\"127.0.0.1:1\"\ntls = true"), "line 3: listener.tls: there is no table [tls]"),
        (
            listener("\"127.0.0.1:1\"\ntls = 1"),
            "line 3: listener.tls: invalid type: integer `1`, expected true",
        ),
        (listener("\"127.0.0.1:1\"\ntls = { cert = \"/none\" }"), "listener.tls: the key `key` is missing"),
        (
            listener("\"127.0.0.1:1\"\ntls = { cert = \"/none\", key = \"/none\" }"),
            "line 3: listener.tls.cert: can't read",
        ),
        (
            listener("\"127.0.0.1:1\"\nunix_mode = 0o600"),
            "line 3: listener.unix_mode: the listener is not on",
        ),
        (listener("\"unix:/a\"\nunix_mode = 0o6600"), "0o6600 is not a mode"),
        (listener("\"127.0.0.1:1\"\nproxy_protocol = []"), "listener.proxy_protocol: the list is empty"),
        (listener("\"127.0.0.1:1\"\nproxy_protocol = \"10.0.0.0/33\""), "listener.proxy_protocol"),
        (
            listener("\"127.0.0.1:1\"\nredirect = { status = 200 }"),
            "listener.redirect.status: 200 is none of",
        ),
        (listener("\"127.0.0.1:1\"\nredirect = { host = \"a:1\" }"), "'a:1' is not a host name"),
        (listener("\"127.0.0.1:1\"\nredirect = { port = 0 }"), "listener.redirect.port: 0 is not a port"),
        (listener("\"127.0.0.1:1\"\nredirect = { prot = 1 }"), "did you mean `port`?"),
        (listener("\"127.0.0.1:1\"\nproxy-protocol = []"), "did you mean `proxy_protocol`?"),
        (
            "listen = \"127.0.0.1:1\"\n".to_owned() + &listener("\"127.0.0.1:1\""),
            "line 3: listener.listen: there is another listener on 127.0.0.1:1",
        ),
    ] {
        let error = checked(&text).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_single_text_is_a_list_of_one() {
    let text = "store = \"disk:/a\"\ntrusted_proxies = \"10.0.0.0/8\"\n[[route]]\norigins = \"http://a\"\nvary = \"X-A\"";
    let config = checked(text).expect("valid");
    assert_eq!(
        (config.store, config.trusted_proxies),
        (vec!["disk:/a".to_owned()], vec!["10.0.0.0/8".to_owned()])
    );
    assert_eq!(
        (&*config.route[0].origins, &*config.route[0].vary),
        (&["http://a".to_owned()][..], &["X-A".to_owned()][..])
    );
}

#[test]
fn variables_stand_in_every_value() {
    let text = r#"
        listen = "127.0.0.1:${PORT}"
        workers = "${WORKERS}"
        private = "${PRIVATE:-true}"
        store = ["redis://:${SECRET}@h"]
        [[route]]
        origins = ["http://${HOST:-localhost}:3000"]
        balance = "${BALANCE}"
        freshness = "${TIME:-5s}"
        request_headers = { set = { X-Price = "5$$", X-Other = "$1" } }
    "#;
    let variable = |name: &str| {
        let set = [("PORT", "1234"), ("WORKERS", "3"), ("BALANCE", "round-robin"), ("SECRET", "a${PORT}")];
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let config = Config::parse(text, variable).expect("valid");
    let route = &config.route[0];
    assert_eq!(config.listen, Some(SocketAddr::from(([127, 0, 0, 1], 1234))));
    assert_eq!((config.workers, config.private, &*config.store[0]), (Some(3), true, "redis://:a${PORT}@h"));
    assert_eq!((&*route.origins[0], route.balance), ("http://localhost:3000", BalanceConfig::RoundRobin));
    assert_eq!(route.freshness, Some(Duration::from_secs(5)));
    assert_eq!(
        (&*route.request_headers.set["X-Price"], &*route.request_headers.set["X-Other"]),
        ("5$", "$1")
    );
    let error = Config::parse(text, |_| None).expect_err("not set").to_string();
    assert!(error.starts_with("line 2: listen: the environment variable PORT is not set"), "{error}");
    let many =
        |name: &str| variable(name).map(|value| if name == "WORKERS" { "many".to_owned() } else { value });
    let error = Config::parse(text, many).expect_err("no number").to_string();
    assert!(error.contains("line 3: workers: invalid type: string \"many\", expected u16"), "{error}");
}
