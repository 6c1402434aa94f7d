//! Runs the example programs that end by themselves, with the commands in their first lines.

use std::process::Command;

/// Runs an example, and returns its output with times and addresses replaced.
fn run(name: &str, arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "-p", "larder-examples", "--example", name, "--"]).args(arguments);
    let output = cargo.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let words = text.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
        number if number.parse::<u64>().is_ok_and(|number| number > 20) => word.replace(number, "N"),
        address if address.contains("127.0.0.1:") => word.replace(|c: char| c.is_ascii_digit(), ""),
        _ => word.to_owned(),
    });
    words.collect()
}

#[test]
fn page_cache() {
    let output = run("page_cache", &[]);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("N OK, miss, in N ms: this is hello"), "{output}");
    assert!(
        lines[1].contains("OK, hit, in 0 ms: this is hello") || lines[1].contains("hit, in "),
        "{output}"
    );
    assert_eq!(lines[2], "the server rendered 1 page", "{output}");
}

#[test]
fn gather() {
    let output = run("gather", &[]);
    assert!(output.starts_with("hit: this is one\nmiss: this is two\nmiss: this is three\n"), "{output}");
    assert!(output.ends_with("all pages in N ms\n"), "{output}");
}

#[test]
fn schedule() {
    let output = run("schedule", &["1"]);
    let count = |word: &str| output.lines().filter(|line| line.ends_with(word)).count();
    assert_eq!((count(": changed"), count(": unchanged")), (3, 6), "{output}");
    assert!(output.ends_with("the server rendered 3 pages\n"), "{output}");
}

#[test]
fn offline() {
    let output = run("offline", &[]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], ["online, miss: this is known", "offline, stale: this is known"], "{output}");
    assert!(
        lines[2].contains("/unknown: not in the cache, and the request must not be sent to the origin"),
        "{output}"
    );
}

#[test]
fn api_client() {
    let output = run("api_client", &[]);
    let expected = "added Anna as 1\nfound Anna\nfound Anna\n\
                    unknown: https://api.example.com/users/7: the server responded with N Not Found\n";
    assert_eq!(output, expected);
}

#[test]
fn middleware_stack() {
    let output = run("middleware_stack", &[]);
    let expected = [
        "  to the server: GET /page",
        "larder; fwd=uri-miss; fwd-status=200; stored",
        "larder; hit; ttl=",
        "  to the server: GET /page",
        "larder; fwd=request; fwd-status=304; stored",
    ];
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{output}");
    assert_eq!(lines.len(), expected.len(), "{output}");
}

#[test]
fn axum_tower() {
    let output = run("axum_tower", &[]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "20 responses, all 'report 1'", "{output}");
    assert!(lines[1].starts_with("then larder; hit; ttl="), "{output}");
    assert_eq!(lines[2], "the handler ran 1 time", "{output}");
}
