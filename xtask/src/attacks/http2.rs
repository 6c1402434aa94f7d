//! HTTP/2: fields that name another target than the key, and values that become lines of their own
//! when a proxy writes them as HTTP/1.1. To the proxy over TLS, to the applications without.

use anyhow::ensure;

use super::{
    case::{ALL, Case, Outcome, PROXY},
    client::Reply,
    frames::{Message, exchange},
    lab::{Lab, SITE, Site, Target},
    script::{Answer, Seen},
};

/// The hidden request of a downgrade attack.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n";
// The length that the cases with a valid and an invalid one state.
const _: () = assert!(HIDDEN.len() == 41);

/// Fields that replace those of a GET of `/page`, or are added to them. A name that ends with `+`
/// is added although another of its name is there.
type Fields = &'static [(&'static str, &'static str)];

/// Each a case: its name, and the fields.
const FIELDS: &[(&str, Fields)] = &[
    ("h2-host-differs-from-authority", &[("host", "evil.test")]),
    ("h2-authority-differs-from-host", &[(":authority", "evil.test"), ("host", "site.test")]),
    ("h2-two-hosts", &[("host", "site.test"), ("host+", "evil.test")]),
    ("h2-two-authorities", &[(":authority+", "evil.test")]),
    ("h2-two-paths", &[(":path+", "/evil")]),
    ("h2-two-methods", &[(":method+", "DELETE")]),
    ("h2-two-schemes", &[(":scheme+", "ftp")]),
    ("h2-an-empty-path", &[(":path", "")]),
    ("h2-a-path-of-another-site", &[(":path", "http://evil.test/page")]),
    ("h2-a-path-without-slash", &[(":path", "evil.test/page")]),
    ("h2-an-at-sign-path", &[(":path", "@evil.test/page")]),
    ("h2-a-path-with-a-space", &[(":path", "/page HTTP/1.1 /evil")]),
    ("h2-a-path-with-lines", &[(":path", "/page HTTP/1.1\r\nHost: evil.test\r\nX: y")]),
    ("h2-a-path-with-a-fragment", &[(":path", "/page#evil")]),
    ("h2-a-method-with-a-request", &[(":method", "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\nGET")]),
    ("h2-a-method-with-a-target", &[(":method", "GET /evil")]),
    ("h2-a-scheme-with-a-target", &[(":scheme", "http://evil.test/evil?")]),
    ("h2-a-scheme-with-lines", &[(":scheme", "http\r\nHost: evil.test")]),
    ("h2-an-authority-with-lines", &[(":authority", "site.test\r\nX-Forwarded-Host: evil.test")]),
    ("h2-an-authority-with-userinfo", &[(":authority", "evil.test@site.test")]),
    ("h2-an-authority-with-a-path", &[(":authority", "site.test/evil")]),
    ("h2-an-authority-with-another-port", &[(":authority", "site.test:1337")]),
    ("h2-no-authority-but-a-host", &[(":authority", ""), ("host", "evil.test")]),
    ("h2-a-value-with-lines", &[("x", "y\r\nX-Forwarded-Host: evil.test")]),
    ("h2-a-value-with-a-request", &[("x", "y\r\n\r\nGET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n")]),
    ("h2-a-value-with-a-bare-lf", &[("x", "y\nHost: evil.test")]),
    ("h2-a-value-with-a-bare-cr", &[("x", "y\rHost: evil.test")]),
    ("h2-a-value-with-nul", &[("x", "y\0evil")]),
    ("h2-a-name-with-lines", &[("x: y\r\nhost: evil.test\r\nz", "1")]),
    ("h2-a-name-with-a-colon", &[("host:evil.test", "1")]),
    ("h2-a-name-with-a-space", &[("host ", "evil.test")]),
    ("h2-an-upper-case-name", &[("Host", "evil.test")]),
    ("h2-an-unknown-pseudo-field", &[(":evil", "1")]),
    ("h2-a-pseudo-field-after-others", &[("x", "y"), (":path+", "/evil")]),
    ("h2-a-connection-field", &[("connection", "x-forwarded-host, x-forwarded-proto")]),
    ("h2-a-proxy-connection-field", &[("proxy-connection", "x-forwarded-host")]),
    ("h2-an-upgrade-field", &[("upgrade", "websocket"), ("connection", "upgrade")]),
    ("h2-te-with-chunked", &[("te", "chunked")]),
    ("h2-links-follow-x-forwarded-host", &[("x-forwarded-host", "evil.test")]),
    ("h2-path-follows-x-original-url", &[("x-original-url", "/evil")]),
    ("h2-an-extended-connect", &[(":method", "CONNECT"), (":protocol", "websocket")]),
];

/// Requests with content: their names, fields and content.
const CONTENTS: &[(&str, Fields, &str)] = &[
    ("h2-smuggling-by-chunked", &[(":method", "POST"), ("transfer-encoding", "chunked")], "0\r\n\r\nHIDDEN"),
    ("h2-smuggling-by-a-short-length", &[(":method", "POST"), ("content-length", "0")], "HIDDEN"),
    ("h2-smuggling-by-a-long-length", &[(":method", "POST"), ("content-length", "999")], "HIDDEN"),
    (
        "h2-smuggling-by-two-lengths",
        &[(":method", "POST"), ("content-length", "0"), ("content-length+", "41")],
        "HIDDEN",
    ),
    (
        "h2-smuggling-by-a-second-length",
        &[(":method", "POST"), ("content-length", "41"), ("content-length+", "0")],
        "HIDDEN",
    ),
    ("h2-smuggling-by-a-list-of-lengths", &[(":method", "POST"), ("content-length", "41, 0")], "HIDDEN"),
    ("h2-smuggling-by-a-signed-length", &[(":method", "POST"), ("content-length", "+0")], "HIDDEN"),
    (
        "h2-smuggling-by-lines-in-a-value",
        &[(":method", "POST"), ("x", "y\r\nTransfer-Encoding: chunked")],
        "0\r\n\r\nHIDDEN",
    ),
    (
        "h2-smuggling-by-lines-in-a-name",
        &[(":method", "POST"), ("x: y\r\ntransfer-encoding", "chunked")],
        "0\r\n\r\nHIDDEN",
    ),
    ("h2-smuggling-by-content-of-a-get", &[("content-length", "0")], "HIDDEN"),
    ("h2-a-fat-get-poisons-a-page", &[], "user=evil"),
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, fields) in FIELDS {
        cases.push(Case::new(name, ALL, move |lab| attack(lab, fields, None, &[])));
    }
    for &(name, fields, content) in CONTENTS {
        cases.push(Case::new(name, ALL, move |lab| attack(lab, fields, Some(content), &[])));
    }
    let trailers = |name: &str, trailers: Fields| {
        Case::new(name, ALL, move |lab| attack(lab, &[(":method", "POST")], Some("x"), trailers))
    };
    cases.push(trailers("h2-trailers-with-a-path", &[(":path", "/evil")]));
    cases.push(trailers(
        "h2-trailers-with-a-host",
        &[("host", "evil.test"), ("x-forwarded-host", "evil.test")],
    ));
    cases.push(Case::new("h2-cookies-become-several-lines", ALL, |lab| {
        let site = lab.http2(|seen| Answer::page(seen.headers("cookie").join(" | ")))?;
        let fields: Fields = &[("cookie", "a=1"), ("cookie+", "b=2"), ("cookie+", "session=3")];
        let reply = exchange(site.address, &message(lab, fields, None, &[]))?;
        ensure!(reply.body == "a=1; b=2; session=3", "the origin or the handler saw {:?}", reply.body);
        Ok(format!("the origin or the handler saw {:?}", reply.body))
    }));
    cases.push(Case::new("h2-pages-are-never-stored", PROXY, |lab| {
        let site = lab.http2(|_| Answer::page("the page"))?;
        for _ in 0..3 {
            exchange(site.address, &message(lab, &[], None, &[]))?;
        }
        let fetched = site.script.requests().len();
        ensure!(fetched == 1, "{fetched} of three GET requests reached the origin");
        Ok("one of three GET requests reached the origin".to_owned())
    }));
    cases
}

/// Creates a GET of `/page` with other or more fields.
fn message(lab: &Lab<'_>, changed: Fields, content: Option<&str>, trailers: Fields) -> Message {
    let scheme = if lab.target == Target::Proxy { "https" } else { "http" };
    let usual = [(":method", "GET"), (":scheme", scheme), (":authority", SITE), (":path", "/page")];
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in usual {
        let value = changed.iter().find(|(found, _)| *found == name).map_or(value, |(_, value)| value);
        fields.push((name.to_owned(), value.to_owned()));
        let more = changed.iter().filter(|(found, _)| found.strip_suffix('+') == Some(name));
        // After a regular field, it is placed there.
        let early = changed.first().is_none_or(|(found, _)| found.starts_with(':'));
        fields.extend(more.filter(|_| early).map(|(_, value)| (name.to_owned(), (*value).to_owned())));
    }
    let early = changed.first().is_none_or(|(found, _)| found.starts_with(':'));
    for (name, value) in changed {
        let plain = name.strip_suffix('+').unwrap_or(name);
        let is_usual = usual.iter().any(|(usual, _)| *usual == plain);
        if !is_usual || !early && plain != *name {
            fields.push((plain.to_owned(), (*value).to_owned()));
        }
    }
    // An empty authority is left out.
    fields.retain(|(name, value)| name != ":authority" || !value.is_empty());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Message {
        fields,
        body: content.map(|content| content.replace("HIDDEN", HIDDEN)),
        trailers: trailers.iter().map(owned).collect(),
    }
}

/// Responds with all from which an application could read its target.
fn reflect(seen: &Seen) -> Answer {
    let hosts =
        [seen.headers("host"), seen.headers("x-forwarded-host"), seen.headers("x-original-url")].concat();
    let body = String::from_utf8_lossy(&seen.body);
    Answer::page(format!("{} {} for {} with {body:?}", seen.method, seen.target, hosts.join(" ")))
}

/// Sends the attack, and checks what the origin received and what the next client gets.
fn attack(lab: &Lab<'_>, changed: Fields, content: Option<&str>, trailers: Fields) -> Outcome {
    let innocent = |site: &Site| exchange(site.address, &message(lab, &[], None, &[]));
    let expected = innocent(&lab.http2(reflect)?)?;
    ensure!(expected.status == 200, "a plain GET got {}", shown(&expected));
    let site = lab.http2(reflect)?;
    let reply = exchange(site.address, &message(lab, changed, content, trailers))?;
    // What is still on its way to the origin arrives before this one, or at least beside it.
    let next = innocent(&site)?;
    let hidden = site.script.requests_for("/hidden");
    ensure!(hidden.is_empty(), "the origin received the hidden request; the attacker got {}", shown(&reply));
    for seen in site.script.requests() {
        let lines = seen.head.replace("\r\n", "");
        ensure!(!lines.contains(['\r', '\n', '\0']), "the origin received {:?}", seen.head);
        let framed = seen.headers("content-length").len() + seen.headers("transfer-encoding").len() <= 1;
        ensure!(framed || !seen.url.is_empty(), "the origin received {:?}", seen.head);
    }
    let same = next.status == expected.status && next.body == expected.body;
    ensure!(same, "the attacker got {}; the next client {}", shown(&reply), shown(&next));
    Ok(format!("the attacker got {}; the next client {}", shown(&reply), shown(&next)))
}

fn shown(reply: &Reply) -> String {
    if reply.status == 0 { "a closed stream".to_owned() } else { reply.shown() }
}
