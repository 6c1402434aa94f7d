//! Hostile origins: responses that are two, that end elsewhere than they claim, or that come when
//! none was requested. The next client of the connection must not get another's response, and what
//! is broken must not be stored as whole.

use anyhow::ensure;

use super::{
    case::{ALL, Case, Outcome, PROXY},
    client::Client,
    lab::{Lab, SITE, Site},
    script::{Answer, Seen},
};

/// A response to the next client, which must not get it.
const EVIL: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\nevil";

/// Responses to `/attack`, after which the connection stays open. `EVIL` stands for a second one,
/// and `LENGTH` for its length; a digit after it is added.
const SPLIT: &[(&str, &str, &str)] = &[
    ("a-second-response-reaches-the-next", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL"),
    (
        "bytes-after-a-response-reach-the-next",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 evil\r\n",
    ),
    ("a-body-after-head-reaches-the-next", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\nEVIL"),
    ("a-body-after-204-reaches-the-next", "GET", "HTTP/1.1 204 No Content\r\n\r\nEVIL"),
    (
        "a-length-of-204-hides-a-response",
        "GET",
        "HTTP/1.1 204 No Content\r\nContent-Length: LENGTH\r\n\r\nEVIL",
    ),
    (
        "a-body-after-304-reaches-the-next",
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: LENGTH\r\n\r\nEVIL",
    ),
    (
        "a-100-without-request-shifts-responses",
        "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL",
    ),
    (
        "a-103-with-a-length-shifts-responses",
        "GET",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: LENGTH\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a-101-without-request-is-a-tunnel",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nEVIL",
    ),
    (
        "two-lengths-of-a-response-shift-the-next",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: LENGTH2\r\n\r\nokEVIL",
    ),
    (
        "a-list-of-lengths-shifts-the-next",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, LENGTH2\r\n\r\nokEVIL",
    ),
    (
        "length-and-chunked-shift-the-next",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: LENGTH5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nEVIL",
    ),
    (
        "chunked-in-http-1-0-shifts-the-next",
        "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nEVIL",
    ),
    ("a-negative-length-shifts-the-next", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nEVIL"),
    (
        "a-bare-lf-in-a-chunk-shifts-the-next",
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\nok\r\n0\r\n\r\nEVIL",
    ),
    (
        "a-bare-cr-in-a-value-splits-a-response",
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 0\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("nul-in-a-value-splits-a-response", "GET", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    (
        "a-folded-line-splits-a-response",
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "a-spaced-name-splits-a-response",
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length : LENGTH2\r\nContent-Length: 2\r\n\r\nokEVIL",
    ),
    (
        "trailers-of-a-response-become-fields",
        "GET",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: evil=1\r\nLocation: evil\r\n\r\n",
    ),
];

/// Responses that break off, or are no HTTP: never stored, never served as whole.
const BROKEN: &[(&str, &str)] = &[
    (
        "a-short-body-is-stored",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 100\r\n\r\nhalf",
    ),
    (
        "a-body-without-last-chunk-is-stored",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ),
    (
        "a-broken-chunk-is-stored",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ),
    (
        "a-cut-chunk-is-stored",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ),
    ("a-cut-head-is-stored", "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Le"),
    ("text-without-a-head-is-served", "half a page\r\n"),
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, method, response) in SPLIT {
        cases.push(Case::new(name, PROXY, move |lab| split(lab, method, response)));
    }
    for &(name, response) in BROKEN {
        cases.push(Case::new(name, PROXY, move |lab| broken(lab, response)));
    }
    cases.extend(connections());
    cases.extend(fields());
    cases
}

/// Responds to `/attack` with these bytes, and to all else with the target.
fn attack(response: &str) -> impl Fn(&Seen) -> Answer + Clone + use<> {
    let length = |more: usize| (EVIL.len() + more).to_string();
    let response = response.replace("LENGTH2", &length(2)).replace("LENGTH5", &length(5));
    let response = response.replace("LENGTH", &length(0)).replace("EVIL", EVIL);
    move |seen| match &*seen.target {
        "/attack" => Answer::raw(response.clone()),
        _ => Answer::page(format!("at {}", seen.target)),
    }
}

/// Lets several clients follow the attack, on the connections that it may have left in the pool.
fn split(lab: &Lab<'_>, method: &str, response: &str) -> Outcome {
    let site = lab.site(attack(response))?;
    let mut client = Client::connect(site.address)?;
    client.send(format!("{method} /attack HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n").as_bytes());
    let got = client.rest();
    let first = got.lines().next().unwrap_or("nothing").to_owned();
    let heads = got.matches("HTTP/1.1 ").count();
    let allowed = if got.starts_with("HTTP/1.1 1") { 2 } else { 1 };
    ensure!(heads <= allowed && !first.contains("101"), "the client got {got:?}");
    let head = got.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    ensure!(!head.contains("evil"), "the client got the head {head:?}");
    followed(&site)?;
    Ok(format!("the client got {first:?}, the next ones their own"))
}

/// Checks the responses to the clients that follow.
fn followed(site: &Site) -> anyhow::Result<()> {
    for target in ["/1", "/2", "/3", "/1"] {
        let next = site.get(target)?;
        ensure!(next.body == format!("at {target}"), "GET {target} of the next client got {}", next.shown());
    }
    Ok(())
}

/// Lets two clients get a broken response: neither may take it for a whole one, and the second is
/// not answered from the store.
fn broken(lab: &Lab<'_>, response: &'static str) -> Outcome {
    let site = lab.site(move |_| Answer::Raw(response.into(), true))?;
    let mut shown = "nothing".to_owned();
    for client in ["first", "second"] {
        let fetched = site.script.requests().len();
        let reply = site.get("/page").unwrap_or_default();
        let whole = reply.status == 200 && reply.complete && !reply.header("content-length").is_empty();
        ensure!(!whole, "the {client} client got {}", reply.shown());
        let fetches = site.script.requests().len() - fetched;
        ensure!(fetches > 0, "the {client} client got {} from the store", reply.shown());
        shown = reply.shown();
    }
    Ok(format!("the second client got {shown}"))
}

fn connections() -> Vec<Case> {
    vec![
        Case::new("an-early-response-shifts-the-next", PROXY, |lab| {
            // The origin responds before it has read the content, and keeps the connection.
            let site = lab.site(|seen| match &*seen.method {
                "POST" => Answer::raw("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
                _ => Answer::page(format!("at {}", seen.target)),
            })?;
            let mut client = Client::connect(site.address)?;
            let content = "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n";
            client.send(
                format!("POST /attack HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: {}\r\n\r\n", content.len())
                    .as_bytes(),
            );
            client.send(content.as_bytes());
            let _ = client.reply("POST");
            followed(&site)?;
            ensure!(
                site.script.requests_for("/hidden").is_empty(),
                "the origin received the content as a request"
            );
            Ok("the next clients got their own".to_owned())
        }),
        Case::new("an-unfinished-post-shifts-the-next", PROXY, |lab| {
            // The client goes away in the middle of its content: the connection is not reused.
            let site = lab.site(|seen| Answer::page(format!("at {}", seen.target)))?;
            for _ in 0..4 {
                let mut client = Client::connect(site.address)?;
                client.send(
                    format!("POST /attack HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 1000\r\n\r\npart")
                        .as_bytes(),
                );
                drop(client);
            }
            followed(&site)?;
            Ok("the next clients got their own".to_owned())
        }),
        Case::new("a-response-without-request-is-used", PROXY, |lab| {
            // The second response is written with the first, so that it waits in the pool.
            let site = lab.site(|seen| match &*seen.target {
                "/attack" => Answer::raw(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok{}",
                    EVIL.repeat(20)
                )),
                _ => Answer::page(format!("at {}", seen.target)),
            })?;
            for _ in 0..3 {
                site.get("/attack")?;
                followed(&site)?;
            }
            Ok("the next clients got their own".to_owned())
        }),
        Case::new("endless-interim-responses-hang-a-client", PROXY, |lab| {
            let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(2000);
            let site =
                lab.site(attack(&format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))?;
            let reply = site.get("/attack")?;
            ensure!(reply.body == "ok" || reply.status >= 500, "the client got {}", reply.shown());
            followed(&site)?;
            Ok(format!("the client got {}", reply.shown()))
        }),
    ]
}

fn fields() -> Vec<Case> {
    let odd = |case: &str, fields: &'static [(&'static str, &'static str)]| {
        Case::new(case, ALL, move |lab| {
            let site = lab.site(move |seen| {
                let page = Answer::new(200, format!("page of {}", seen.header("cookie")));
                fields.iter().fold(page, |page, (name, value)| page.with(name, value))
            })?;
            let alice = site.get_with("/page", "Cookie: alice\r\n")?;
            let next = site.get("/page")?;
            ensure!(!next.contains("alice"), "the next client got {}", next.shown());
            Ok(format!("the clients got {} and {}", alice.shown(), next.shown()))
        })
    };
    vec![
        odd("a-forged-age-prolongs-a-page", &[("Cache-Control", "max-age=10"), ("Age", "10")]),
        odd(
            "a-date-in-the-future-prolongs-a-page",
            &[("Date", "Fri, 31 Dec 2100 23:59:59 GMT"), ("Expires", "Thu, 30 Dec 2100 23:59:59 GMT")],
        ),
        odd("expires-0-is-fresh", &[("Expires", "0")]),
        odd(
            "two-expires-lines-are-fresh",
            &[("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
        ),
        odd(
            "two-max-ages-take-the-longer",
            &[("Cache-Control", "max-age=0"), ("Cache-Control", "max-age=600")],
        ),
        odd("a-pragma-of-an-old-origin-is-ignored", &[("Pragma", "no-cache"), ("Cache-Control", "no-cache")]),
        Case::new("ten-thousand-fields-stop-the-cache", PROXY, |lab| {
            let fields: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
            let site =
                lab.site(attack(&format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok")))?;
            let reply = site.get("/attack")?;
            followed(&site)?;
            Ok(format!("the client got {}", reply.status))
        }),
        Case::new("a-vary-of-10000-names-stops-the-cache", ALL, |lab| {
            let names: Vec<_> = (0..10_000).map(|n| format!("x{n}")).collect();
            let names = names.join(",");
            let site = lab.site(move |seen| match &*seen.target {
                "/attack" => Answer::page("ok").with("Vary", &names),
                _ => Answer::page(format!("at {}", seen.target)),
            })?;
            for _ in 0..3 {
                site.get("/attack")?;
            }
            followed(&site)?;
            Ok("the next clients got their own".to_owned())
        }),
    ]
}
