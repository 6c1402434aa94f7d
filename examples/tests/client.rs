//! The examples around fetching, run as their first lines say.

use std::process::Command;

/// What an example prints, with times and addresses taken out.
fn run(name: &str, arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "-p", "larder-examples", "--example", name, "--"]).args(arguments);
    let output = cargo.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let words = said.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
        number if number.parse::<u64>().is_ok_and(|number| number > 20) => word.replace(number, "N"),
        address if address.contains("127.0.0.1:") => word.replace(|c: char| c.is_ascii_digit(), ""),
        _ => word.to_owned(),
    });
    words.collect()
}

#[test]
fn page_cache() {
    let said = run("page_cache", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("N OK, miss, in N ms: this is hello"), "{said}");
    assert!(lines[1].contains("OK, hit, in 0 ms: this is hello") || lines[1].contains("hit, in "), "{said}");
    assert_eq!(lines[2], "the server made 1 page", "{said}");
}

#[test]
fn gather() {
    let said = run("gather", &[]);
    assert!(said.starts_with("hit: this is one\nmiss: this is two\nmiss: this is three\n"), "{said}");
    assert!(said.ends_with("all at once, in N ms\n"), "{said}");
}

#[test]
fn schedule() {
    let said = run("schedule", &["1"]);
    let count = |word: &str| said.lines().filter(|line| line.ends_with(word)).count();
    assert_eq!((count(": changed"), count(": unchanged")), (3, 6), "{said}");
    assert!(said.ends_with("the server made 3 pages\n"), "{said}");
}

#[test]
fn offline() {
    let said = run("offline", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["online, miss: this is known", "offline, stale: this is known"], "{said}");
    assert!(
        lines[2].contains("/unknown: not in the cache, and the request must not be sent to the origin"),
        "{said}"
    );
}

#[test]
fn middleware_stack() {
    let said = run("middleware_stack", &[]);
    let expected = [
        "  to the server: GET /page",
        "larder; fwd=uri-miss; fwd-status=200; stored",
        "larder; hit; ttl=",
        "  to the server: GET /page",
        "larder; fwd=request; fwd-status=304; stored",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{said}");
    assert_eq!(lines.len(), expected.len(), "{said}");
}

#[test]
fn axum_tower() {
    let said = run("axum_tower", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "20 answers, all 'report 1'", "{said}");
    assert!(lines[1].starts_with("then larder; hit; ttl="), "{said}");
    assert_eq!(lines[2], "the handler ran 1 time", "{said}");
}
