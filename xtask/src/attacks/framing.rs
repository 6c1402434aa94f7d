//! Request smuggling: bytes that one parser reads as content and another as a request. The hidden
//! request must reach neither the origin nor the store, whatever the framing of the request before
//! it.

use anyhow::ensure;

use super::{
    case::{ALL, Case, Outcome, PROXY},
    client::Client,
    lab::{Lab, SITE, Site},
    script::{Answer, Seen},
};

/// The request that must stay hidden. `HIDDEN` in a case stands for it, `LEN` for its length,
/// `LEN5` for that and five more bytes, `HEX` for the latter in two hexadecimal digits.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: site.test\r\n";

/// Header fields that state two lengths, and the content.
const LENGTHS: &[(&str, &str)] = &[
    (
        "smuggling-by-length-and-chunked",
        "Content-Length: LEN5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-chunked-and-length",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nHEX\r\n0\r\n\r\nHIDDEN\r\n0\r\n\r\n",
    ),
    ("smuggling-by-two-lengths", "Content-Length: 0\r\nContent-Length: LEN\r\n\r\nHIDDEN"),
    ("smuggling-by-a-list-of-lengths", "Content-Length: 0, LEN\r\n\r\nHIDDEN"),
    ("smuggling-by-a-signed-length", "Content-Length: +0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-negative-length", "Content-Length: -1\r\n\r\nHIDDEN"),
    ("smuggling-by-a-hexadecimal-length", "Content-Length: 0x0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-spaced-length", "Content-Length: 0 LEN\r\n\r\nHIDDEN"),
    ("smuggling-by-an-overflowing-length", "Content-Length: 18446744073709551616\r\n\r\nHIDDEN"),
    ("smuggling-by-an-empty-length", "Content-Length: \r\n\r\nHIDDEN"),
    ("smuggling-by-a-fraction", "Content-Length: 0.0\r\n\r\nHIDDEN"),
    ("smuggling-by-an-unknown-coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nHIDDEN"),
    ("smuggling-by-chunked-not-last", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN"),
    ("smuggling-by-chunked-twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\nHIDDEN"),
    (
        "smuggling-by-two-coding-lines",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    ("smuggling-by-a-quoted-coding", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nHIDDEN"),
    (
        "smuggling-by-a-spaced-name",
        "Transfer-Encoding : chunked\r\nContent-Length: LEN5\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-a-vertical-tab",
        "Transfer-Encoding: \x0bchunked\r\nContent-Length: LEN5\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-a-folded-line",
        "Content-Length: LEN5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-a-bare-cr",
        "Content-Length: LEN5\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-a-bare-lf",
        "Content-Length: LEN5\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-nul-in-a-name",
        "Content-Length: LEN5\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-a-line-without-colon",
        "Content-Length: LEN5\r\nTransfer-Encoding chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    ("smuggling-by-a-late-colon", "Content-Length: 0\r\nX: y\r\nFoo\r\n\r\nHIDDEN"),
];

/// Chunked contents that parsers end at different places.
const CHUNKS: &[(&str, &str)] = &[
    ("smuggling-by-a-chunk-extension", "2;\nxx\r\nHEX\r\n0\r\n\r\nHIDDEN\r\n0\r\n\r\n"),
    ("smuggling-by-an-overflowing-chunk", "10000000000000000\r\n\r\n0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-hexadecimal-prefix", "0x0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-negative-chunk", "-1\r\n\r\n0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-chunk-without-end", "5\r\nhelloXX0\r\n\r\nHIDDEN"),
    ("smuggling-by-a-bare-lf-after-a-chunk", "5\r\nhello\n0\n\nHIDDEN"),
    ("smuggling-by-an-empty-chunk-size", "\r\n\r\nHIDDEN"),
    ("smuggling-by-a-bare-cr-in-a-chunk-size", "0\r\r\n\r\nHIDDEN"),
];

/// Whole requests that are no valid HTTP/1.1.
const LINES: &[(&str, &str)] = &[
    (
        "smuggling-by-chunked-in-http-1-0",
        "POST /a HTTP/1.0\r\nHost: site.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-an-indented-first-line",
        "POST /a HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: site.test\r\nContent-Length: LEN5\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-spaces-in-the-target",
        "GET /a HTTP/1.1 /b HTTP/1.1\r\nHost: site.test\r\nFoo\r\n\r\nHIDDEN",
    ),
    (
        "smuggling-by-an-odd-version",
        "POST /a HTTP/1.2x\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    ("smuggling-by-http-2-in-text", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nHIDDEN"),
    ("smuggling-by-cr-in-the-target", "GET /a\rX HTTP/1.1\r\nHost: site.test\r\n\r\nHIDDEN"),
    ("smuggling-by-nul-in-the-target", "GET /a\0 HTTP/1.1\r\nHost: site.test\r\n\r\nHIDDEN"),
];

/// Requests with content that the cache need not read: hits, refusals. All are valid.
const UNREAD: &[(&str, &str)] = &[
    (
        "content-of-a-hit-becomes-a-request",
        "GET /a HTTP/1.1\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "chunks-of-a-hit-become-a-request",
        "GET /a HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\n0\r\n\r\nHIDDEN\r\n0\r\n\r\n",
    ),
    (
        "content-of-a-head-becomes-a-request",
        "HEAD /a HTTP/1.1\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "expected-content-becomes-a-request",
        "GET /a HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "oddly-expected-content-becomes-a-request",
        "GET /a HTTP/1.1\r\nHost: site.test\r\nExpect: y 100-continue\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "content-of-a-refusal-becomes-a-request",
        "PURGE /a HTTP/1.1\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "content-of-a-400-becomes-a-request",
        "POST http://evil.test/ HTTP/1.1\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "content-of-a-post-becomes-a-request",
        "POST /a HTTP/1.1\r\nHost: site.test\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
    (
        "content-of-a-504-becomes-a-request",
        "GET /cold HTTP/1.1\r\nHost: site.test\r\nCache-Control: only-if-cached\r\nContent-Length: LEN\r\n\r\nHIDDEN",
    ),
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, rest) in LENGTHS {
        cases.push(Case::new(name, PROXY, move |lab| smuggle(lab, &format!("{POST}{rest}"))));
    }
    for &(name, chunks) in CHUNKS {
        cases.push(Case::new(name, PROXY, move |lab| {
            smuggle(lab, &format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}"))
        }));
    }
    for &(name, request) in LINES {
        cases.push(Case::new(name, PROXY, move |lab| smuggle(lab, request)));
    }
    for &(name, request) in UNREAD {
        cases.push(Case::new(name, ALL, move |lab| smuggle(lab, request)));
    }
    cases.extend(others());
    cases
}

/// Responds with the target.
fn echo(seen: &Seen) -> Answer {
    Answer::page(format!("at {}", seen.target))
}

/// Puts the hidden request into the bytes of an attack.
fn bytes(template: &str) -> String {
    let long = HIDDEN.len() + 5;
    let template = template.replace("LEN5", &long.to_string()).replace("LEN", &HIDDEN.len().to_string());
    template.replace("HEX", &format!("{long:x}")).replace("HIDDEN", HIDDEN)
}

/// Sends the attack, and checks that the origin has not received the hidden request, that what it
/// received is framed without ambiguity, and that the next clients get their own pages.
fn smuggle(lab: &Lab<'_>, template: &str) -> Outcome {
    let site = lab.site(echo)?;
    site.get("/a")?;
    let replies = site.raw(bytes(template));
    ensure!(site.script.requests_for("/hidden").is_empty(), "the origin received the hidden request");
    let hidden = replies.iter().find(|reply| reply.contains("/hidden"));
    ensure!(hidden.is_none(), "the attacker got {hidden:?}");
    innocent(&site)?;
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status.to_string()).collect();
    Ok(format!(
        "the attacker got {}",
        if statuses.is_empty() { "nothing".to_owned() } else { statuses.join(", ") }
    ))
}

/// Checks what the origin received, and the pages of the next clients.
fn innocent(site: &Site) -> anyhow::Result<()> {
    for seen in site.script.requests() {
        unambiguous(&seen)?;
    }
    for target in ["/a", "/next", "/hidden"] {
        let next = site.get(target)?;
        ensure!(next.body == format!("at {target}"), "GET {target} of the next client got {}", next.shown());
    }
    Ok(())
}

/// Fails if parsers could read the framing of this head differently.
fn unambiguous(seen: &Seen) -> anyhow::Result<()> {
    let lengths = seen.headers("content-length");
    let codings = seen.headers("transfer-encoding");
    let framed = lengths.len() + codings.len() <= 1
        && lengths
            .iter()
            .all(|length| length.bytes().all(|digit| digit.is_ascii_digit()) && !length.is_empty())
        && codings.iter().all(|coding| *coding == "chunked");
    let lines = seen.head.replace("\r\n", "");
    let lined = !lines.contains(['\r', '\n', '\0'])
        && seen.head.lines().skip(1).take_while(|line| !line.is_empty()).all(|line| {
            line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && !name.contains([' ', '\t']))
        });
    ensure!(framed && lined || !seen.url.is_empty(), "the origin received {:?}", seen.head);
    Ok(())
}

fn others() -> Vec<Case> {
    vec![
        Case::new("trailers-become-header-fields", PROXY, |lab| {
            let site = lab.site(echo)?;
            let trailers =
                "X-Forwarded-Host: evil.test\r\nHost: evil.test\r\nContent-Length: 9\r\nCookie: evil\r\n";
            site.raw(format!(
                "{POST}Transfer-Encoding: chunked\r\nTrailer: Host\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n"
            ));
            let evil = site.script.requests().into_iter().find(|seen| seen.head.contains("evil"));
            ensure!(evil.is_none(), "the origin received {:?}", evil.unwrap_or_default().head);
            innocent(&site)?;
            Ok("none of them reached the origin's head".to_owned())
        }),
        Case::new("a-bare-lf-head-is-forwarded", PROXY, |lab| {
            let site = lab.site(echo)?;
            let replies = site.raw("GET /lf HTTP/1.1\nHost: site.test\nConnection: close\n\n");
            innocent(&site)?;
            Ok(format!("the attacker got {:?}", replies.first().map(|reply| reply.status)))
        }),
        Case::new("a-request-of-http-0-9-is-forwarded", PROXY, |lab| {
            let site = lab.site(echo)?;
            site.raw("GET /hidden\r\n\r\n");
            ensure!(site.script.requests().is_empty(), "the origin received it");
            innocent(&site)?;
            Ok("the origin did not receive it".to_owned())
        }),
        Case::new("an-http-1-0-client-gets-chunks", PROXY, |lab| {
            let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=600\r\n\r\n\
                           5\r\nhello\r\n0\r\n\r\n";
            let site = lab.site(move |_| Answer::raw(chunked))?;
            for _ in 0..2 {
                let replies = site.raw(format!("GET /page HTTP/1.0\r\nHost: {SITE}\r\n\r\n"));
                let reply = replies.into_iter().next().unwrap_or_default();
                let chunked = !reply.header("transfer-encoding").is_empty();
                ensure!(!chunked && reply.body == "hello", "the client got {reply:?}");
            }
            Ok("the client got hello".to_owned())
        }),
        Case::new("an-http-1-0-check-without-host-fails", PROXY, |lab| {
            let site = lab.site(|_| Answer::page("the page"))?;
            let replies = site.raw("OPTIONS / HTTP/1.0\r\n\r\n");
            let status = replies.first().map(|reply| reply.status);
            ensure!(status == Some(200), "the check got {status:?}");
            Ok("200".to_owned())
        }),
        Case::new("pipelined-answers-change-places", ALL, |lab| {
            let site = lab.site(echo)?;
            site.get("/2")?;
            let requests: String =
                (0..8).map(|n| format!("GET /{} HTTP/1.1\r\nHost: {SITE}\r\n\r\n", n % 4)).collect();
            let mut client = Client::connect(site.address)?;
            client.send(requests.as_bytes());
            let replies: Vec<_> = (0..8).map_while(|_| client.reply("GET")).collect();
            let bodies: Vec<_> = replies.iter().map(|reply| &*reply.body).collect();
            let expected: Vec<_> = (0..8).map(|n| format!("at /{}", n % 4)).collect();
            ensure!(bodies == expected, "the client got {bodies:?}");
            Ok("each in its place".to_owned())
        }),
    ]
}
