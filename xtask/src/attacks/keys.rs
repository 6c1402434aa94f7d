//! Key confusion: two requests that an origin distinguishes must not share a page, and what is
//! stored under a key must be the response to the target that the key stands for.

use anyhow::ensure;

use super::{
    case::{ALL, AXUM, Case, Outcome, PROXY},
    lab::{Lab, SITE},
    script::{Answer, Seen},
};

/// Pairs of targets that are different resources for some origins, each a case.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("an-encoded-slash-shares-a-page", "/a%2Fb", "/a/b"),
    ("an-encoded-question-mark-shares-a-page", "/a%3Fb=1", "/a?b=1"),
    ("an-encoded-percent-shares-a-page", "/a%2541", "/aA"),
    ("an-encoded-semicolon-shares-a-page", "/a%3Bb", "/a;b"),
    ("an-encoded-nul-shares-a-page", "/a%00.css", "/a"),
    ("a-double-slash-shares-a-page", "//a", "/a"),
    ("upper-case-shares-a-page", "/A", "/a"),
    ("a-duplicate-parameter-shares-a-page", "/a?id=1&id=2", "/a?id=1"),
    ("parameter-order-shares-a-page", "/a?x=1&y=2", "/a?y=2&x=1"),
    ("an-encoded-ampersand-shares-a-page", "/a?x=1%26y=2", "/a?x=1&y=2"),
    ("a-plus-shares-a-page", "/a?x=1+2", "/a?x=1%2B2"),
    ("glued-parts-share-a-page", "/ab?c", "/a?bc"),
    ("a-trailing-slash-shares-a-page", "/a/", "/a"),
    ("path-parameters-share-a-page", "/a;user=alice", "/a;user=bob"),
];

/// Spellings of `/page` that are one URI for RFC 3986, but not for each origin. If they share its
/// key, the origin must receive the normal form, too.
const SPELLINGS: &[(&str, &str)] = &[
    ("dot-segments-poison-a-page", "/x/../page"),
    ("a-single-dot-poisons-a-page", "/./page"),
    ("encoded-dot-segments-poison-a-page", "/x/%2e%2e/page"),
    ("encoded-letters-poison-a-page", "/%70age"),
    ("an-empty-query-poisons-a-page", "/page?"),
    ("a-fragment-poisons-a-page", "/page#x"),
    ("a-backslash-poisons-a-page", "/x\\..\\page"),
    ("an-absolute-form-poisons-a-page", "http://site.test/x/../page"),
];

/// `Host` fields that some origins take for `site.test` or for another site.
const HOSTS: &[(&str, &str)] = &[
    ("host-with-another-port-poisons-links", "Host: site.test:1337\r\n"),
    ("host-with-the-default-port-poisons-links", "Host: SITE.test:80\r\n"),
    ("host-with-an-empty-port-poisons-links", "Host: site.test:\r\n"),
    ("host-with-a-zero-port-poisons-links", "Host: site.test:080\r\n"),
    ("host-with-a-dot-poisons-links", "Host: site.test.\r\n"),
    ("host-with-userinfo-poisons-links", "Host: evil.test@site.test\r\n"),
    ("host-with-a-path-poisons-links", "Host: site.test/evil\r\n"),
    ("host-with-a-query-poisons-links", "Host: site.test?evil\r\n"),
    ("host-with-a-comma-poisons-links", "Host: site.test, evil.test\r\n"),
    ("host-with-white-space-poisons-links", "Host: site.test evil.test\r\n"),
    ("host-with-quotes-poisons-links", "Host: site.test\"><script>\r\n"),
    ("a-second-host-line-poisons-links", "Host: site.test\r\nHost: evil.test\r\n"),
    ("a-first-host-line-poisons-links", "Host: evil.test\r\nHost: site.test\r\n"),
    ("an-indented-host-line-poisons-links", " Host: evil.test\r\nHost: site.test\r\n"),
    ("a-spaced-host-name-poisons-links", "Host : evil.test\r\nHost: site.test\r\n"),
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, one, other) in DIFFERENT {
        cases.push(Case::new(name, ALL, move |lab| different(lab, one, other)));
    }
    for &(name, spelling) in SPELLINGS {
        cases.push(Case::new(name, ALL, move |lab| {
            lab.unharmed(
                |seen| match &*seen.target {
                    "/page" => Answer::page("the page"),
                    _ => Answer::error(404),
                },
                |site| {
                    site.raw(format!("GET {spelling} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
                },
            )
        }));
    }
    for &(name, lines) in HOSTS {
        cases.push(Case::new(name, ALL, move |lab| {
            lab.unharmed(
                |seen| Answer::page(format!("<a href=//{}/>", hosts(seen))),
                |site| {
                    site.raw(format!("GET /page HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"));
                },
            )
        }));
    }
    cases.extend(authorities());
    cases.extend(contents());
    cases.extend(methods());
    cases
}

/// Returns all hosts that an origin could use for a link.
fn hosts(seen: &Seen) -> String {
    let fields = ["host", " host", "host ", "x-forwarded-host"];
    fields.iter().flat_map(|name| seen.headers(name)).collect::<Vec<_>>().join(" ")
}

/// Requests two targets, in both orders, from an origin that repeats the target.
fn different(lab: &Lab<'_>, one: &str, other: &str) -> Outcome {
    let echo = |seen: &Seen| Answer::page(seen.target.clone());
    for (first, second) in [(one, other), (other, one)] {
        let site = lab.site(echo)?;
        site.get(first)?;
        let reply = site.get(second)?;
        ensure!(reply.status >= 400 || reply.body == second, "{second} got {}", reply.shown());
    }
    Ok("each target got its own page".to_owned())
}

fn authorities() -> Vec<Case> {
    let absolute = |case: &str, line: &'static str, host: &'static str| {
        Case::new(case, ALL, move |lab| {
            lab.unharmed(
                |seen| Answer::page(format!("{} {}", hosts(seen), seen.target.contains("evil"))),
                move |site| {
                    site.raw(format!("GET {line} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"));
                },
            )
        })
    };
    vec![
        absolute("the-absolute-form-differs-from-host", "http://site.test/page", "Host: evil.test\r\n"),
        absolute("host-differs-from-the-absolute-form", "http://evil.test/page", "Host: site.test\r\n"),
        absolute("the-absolute-form-has-userinfo", "http://evil.test@site.test/page", "Host: site.test\r\n"),
        absolute("the-absolute-form-has-another-scheme", "https://site.test/page", "Host: site.test\r\n"),
        absolute("the-target-begins-with-a-host", "//evil.test/../page", "Host: site.test\r\n"),
        absolute("the-target-is-an-at-sign-path", "@evil.test/page", "Host: site.test\r\n"),
        absolute("a-request-without-host-poisons-a-page", "/page", ""),
        Case::new("two-sites-share-a-page", ALL, |lab| {
            let site = lab.site(|seen| Answer::page(format!("page of {}", seen.header("host"))))?;
            site.get("/page")?;
            let raw = site.raw("GET /page HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n");
            ensure!(raw.iter().all(|reply| reply.body == "page of other.test"), "other.test got {raw:?}");
            Ok("each site got its own page".to_owned())
        }),
        Case::new("nested-routers-share-a-page", AXUM, |lab| {
            let site = lab.site(|seen| Answer::page(format!("body of {}", seen.target)))?;
            site.get("/salaries/list")?;
            let orders = site.get("/orders/list")?;
            ensure!(orders.body == "body of /orders/list", "GET /orders/list got {}", orders.shown());
            Ok(format!("GET /orders/list got {}", orders.shown()))
        }),
        passed_on("raw-characters-are-refused", &["/a\"b", "/a\\b", "/a{b|c}^d", "/a?q=`{}|^\\"]),
        passed_on("raw-utf-8-is-refused", &["/Manü", "/a?q=ü"]),
        passed_on("raw-angle-brackets-are-refused", &["/a<b", "/a>b", "/a`b", "/a?q=\"<"]),
        Case::new("raw-and-encoded-characters-differ", PROXY, |lab| {
            // What shares a key must be the same to the origin.
            let site = lab.site(|seen| Answer::page(format!("at {}", seen.target)))?;
            for (raw, encoded) in
                [("/a\"b", "/a%22b"), ("/a<b", "/a%3Cb"), ("/a|b", "/a%7Cb"), ("/Manü", "/Man%C3%BC")]
            {
                let [one, two] = [site.get(raw)?, site.get(encoded)?];
                ensure!(
                    one.status == 400 || !two.is_hit() || two.body == format!("at {encoded}"),
                    "GET {encoded} after {raw}: {}",
                    two.shown()
                );
            }
            Ok("what shares a key was forwarded in one form".to_owned())
        }),
    ]
}

/// Sends targets with characters that a URI contains only percent-encoded. Other servers pass them
/// on.
fn passed_on(case: &str, targets: &'static [&'static str]) -> Case {
    Case::new(case, PROXY, move |lab| {
        let site = lab.site(|seen| Answer::page(format!("at {}", seen.target)))?;
        for target in targets {
            let reply = site.get(target)?;
            ensure!(reply.status == 200, "GET {target}: {}", reply.shown());
            ensure!(reply.body.is_ascii() && !reply.body.contains(['"', '<', '|']), "{}", reply.shown());
        }
        Ok("all were passed on".to_owned())
    })
}

/// A GET with content: an origin that reads it must not poison the page of those who send none.
fn contents() -> Vec<Case> {
    let fat = |case: &str, fields: &'static str, body: &'static str| {
        Case::new(case, ALL, move |lab| {
            lab.unharmed(
                |seen| Answer::page(format!("the page of {:?}", String::from_utf8_lossy(&seen.body))),
                move |site| {
                    let _ = site.send("GET", "/page", fields, body);
                },
            )
        })
    };
    vec![
        fat("a-fat-get-poisons-a-page", "Content-Length: 9\r\n", "user=evil"),
        fat(
            "a-chunked-fat-get-poisons-a-page",
            "Transfer-Encoding: chunked\r\n",
            "9\r\nuser=evil\r\n0\r\n\r\n",
        ),
        fat(
            "a-fat-get-with-override-poisons-a-page",
            "X-HTTP-Method-Override: POST\r\nContent-Length: 9\r\n",
            "user=evil",
        ),
        fat(
            "a-fat-get-with-a-form-poisons-a-page",
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n",
            "user=evil",
        ),
        Case::new("a-fat-head-poisons-a-page", ALL, |lab| {
            lab.unharmed(
                |seen| match seen.body.is_empty() {
                    true => Answer::page("the page"),
                    false => Answer::page("evil").with("ETag", "\"evil\""),
                },
                |site| {
                    let _ = site.send("HEAD", "/page", "Content-Length: 4\r\n", "evil");
                },
            )
        }),
    ]
}

/// Other methods than GET: what they store, and what they remove.
fn methods() -> Vec<Case> {
    vec![
        Case::new("a-post-is-served-to-a-get", ALL, |lab| {
            // Without the same `Content-Location`, only a POST gets it (RFC 9110 §9.3.3).
            lab.unharmed(
                |seen| match &*seen.method {
                    "GET" => Answer::page("the page"),
                    _ => Answer::page("evil").with("Content-Location", "/other"),
                },
                |site| {
                    let _ = site.send("POST", "/page", "Content-Length: 4\r\n", "evil");
                },
            )
        }),
        Case::new("a-post-writes-the-page-of-another-path", ALL, |lab| {
            lab.unharmed(
                |seen| match &*seen.method {
                    "GET" => Answer::page("the page"),
                    _ => Answer::page("evil").with("Content-Location", "http://site.test/page"),
                },
                |site| {
                    let _ = site.send("POST", "/other", "Content-Length: 4\r\n", "evil");
                },
            )
        }),
        Case::new("query-drops-a-stored-page", ALL, |lab| {
            let site = lab.site(|seen| Answer::page(format!("the page by {}", seen.method)))?;
            site.get("/page")?;
            ensure!(site.get("/page")?.is_hit(), "the page was not stored");
            let query =
                site.send("QUERY", "/page", "Content-Type: text/plain\r\nContent-Length: 1\r\n", "q")?;
            let next = site.get("/page")?;
            ensure!(
                query.status >= 400 || next.is_hit(),
                "QUERY got {}; then GET {}",
                query.shown(),
                next.shown()
            );
            ensure!(next.body == "the page by GET", "GET got {}", next.shown());
            Ok(format!("GET got {}", next.shown()))
        }),
        Case::new("two-queries-share-a-page", ALL, |lab| {
            let site = lab
                .site(|seen| Answer::page(format!("results for {}", String::from_utf8_lossy(&seen.body))))?;
            site.send("QUERY", "/page", "Content-Length: 3\r\n", "one")?;
            let two = site.send("QUERY", "/page", "Content-Length: 3\r\n", "two")?;
            ensure!(two.status >= 400 || two.body == "results for two", "the second got {}", two.shown());
            Ok(format!("the second got {}", two.shown()))
        }),
        Case::new("a-failed-post-drops-a-stored-page", ALL, |lab| {
            let site = lab.site(|seen| match &*seen.method {
                "GET" => Answer::page("the page"),
                _ => Answer::error(403),
            })?;
            site.get("/page")?;
            site.send("DELETE", "/page", "", "")?;
            let next = site.get("/page")?;
            ensure!(next.is_hit(), "after a DELETE that was refused, GET got {}", next.shown());
            Ok("the page is still a hit".to_owned())
        }),
        Case::new("a-post-drops-pages-of-another-site", ALL, |lab| {
            let site = lab.site(|seen| match &*seen.method {
                "GET" => Answer::page("the page"),
                _ => Answer::new(200, "done").with("Location", "http://site.test/page"),
            })?;
            site.get("/page")?;
            site.raw("POST /p HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            let next = site.get("/page")?;
            ensure!(next.is_hit(), "after a POST to evil.test, GET got {}", next.shown());
            Ok("the page is still a hit".to_owned())
        }),
    ]
}
