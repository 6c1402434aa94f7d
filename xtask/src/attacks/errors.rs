//! Errors that one client provokes: an origin that marks all its responses as fresh answers a
//! peculiar request with an error, and every other client must still get the page. Also responses
//! to conditions and ranges, which only the client that sent them can use.

use anyhow::ensure;

use super::{
    case::{ALL, Case},
    script::{Answer, Seen},
};

/// A case: the header lines of the attack, and the condition under which the origin responds with
/// this status instead of the page.
struct Provoked {
    name: &'static str,
    fields: &'static str,
    status: u16,
    when: fn(&Seen) -> bool,
}

const PROVOKED: &[Provoked] = &[
    Provoked {
        name: "a-range-beyond-the-end-is-everyones-416",
        fields: "Range: bytes=99999999-\r\n",
        status: 416,
        when: |seen| seen.has("range"),
    },
    Provoked {
        name: "an-odd-range-unit-is-everyones-416",
        fields: "Range: lines=1-2\r\n",
        status: 416,
        when: |seen| seen.has("range"),
    },
    Provoked {
        name: "if-match-is-everyones-412",
        fields: "If-Match: \"evil\"\r\n",
        status: 412,
        when: |seen| seen.has("if-match"),
    },
    Provoked {
        name: "if-unmodified-since-is-everyones-412",
        fields: "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        status: 412,
        when: |seen| seen.has("if-unmodified-since"),
    },
    Provoked {
        name: "if-none-match-is-everyones-304",
        fields: "If-None-Match: \"evil\"\r\n",
        status: 304,
        when: |seen| seen.has("if-none-match"),
    },
    Provoked {
        name: "if-modified-since-is-everyones-304",
        fields: "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n",
        status: 304,
        when: |seen| seen.has("if-modified-since"),
    },
    Provoked {
        name: "expect-is-everyones-417",
        fields: "Expect: a-miracle\r\n",
        status: 417,
        when: |seen| seen.has("expect"),
    },
    Provoked {
        name: "accept-is-everyones-406",
        fields: "Accept: application/x-nothing\r\n",
        status: 406,
        when: |seen| seen.has("accept"),
    },
    Provoked {
        name: "accept-encoding-is-everyones-406",
        fields: "Accept-Encoding: identity;q=0, x-nothing\r\n",
        status: 406,
        when: |seen| seen.has("accept-encoding"),
    },
    Provoked {
        name: "a-content-coding-is-everyones-415",
        fields: "Content-Encoding: x-nothing\r\n",
        status: 415,
        when: |seen| seen.has("content-encoding"),
    },
    Provoked {
        name: "a-content-type-is-everyones-400",
        fields: "Content-Type: x-invalid;;\r\n",
        status: 400,
        when: |seen| seen.has("content-type"),
    },
    Provoked {
        name: "an-upgrade-is-everyones-426",
        fields: "Upgrade: h2c\r\n",
        status: 426,
        when: |seen| seen.has("upgrade"),
    },
    Provoked {
        name: "a-meta-character-is-everyones-400",
        fields: "X-Meta: a\\nb\x7f\u{1}\r\n",
        status: 400,
        when: |seen| seen.has("x-meta"),
    },
    Provoked {
        name: "a-non-ascii-field-is-everyones-400",
        fields: "X-Meta: \u{fc}\r\n",
        status: 400,
        when: |seen| seen.has("x-meta"),
    },
    Provoked {
        name: "a-user-agent-is-everyones-403",
        fields: "User-Agent: sqlmap/1.0\r\n",
        status: 403,
        when: |seen| seen.header("user-agent").starts_with("sqlmap"),
    },
    Provoked {
        name: "bad-credentials-are-everyones-401",
        fields: "Authorization: Basic evil\r\n",
        status: 401,
        when: |seen| seen.has("authorization"),
    },
    Provoked {
        name: "a-broken-cookie-is-everyones-400",
        fields: "Cookie: ;;=;\r\n",
        status: 400,
        when: |seen| seen.has("cookie"),
    },
    Provoked {
        name: "too-many-requests-are-everyones-429",
        fields: "X-Load: heavy\r\n",
        status: 429,
        when: |seen| seen.has("x-load"),
    },
    Provoked {
        name: "max-forwards-is-everyones-403",
        fields: "Max-Forwards: 0\r\n",
        status: 403,
        when: |seen| seen.has("max-forwards"),
    },
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for provoked in PROVOKED {
        cases.push(Case::new(provoked.name, ALL, move |lab| {
            lab.unharmed(
                |seen| match (provoked.when)(seen) {
                    true => Answer::error(provoked.status),
                    false => Answer::page("the page").with("ETag", "\"1\""),
                },
                |site| {
                    let _ = site.get_with("/page", provoked.fields);
                },
            )
        }));
    }
    cases.extend(sizes());
    cases.extend(ranges());
    cases
}

fn sizes() -> Vec<Case> {
    let large = |case: &str, length: usize, count: usize, status: u16| {
        Case::new(case, ALL, move |lab| {
            lab.unharmed(
                move |seen| match seen.head.len() > 6000 {
                    true => Answer::error(status),
                    false => Answer::page("the page"),
                },
                move |site| {
                    let fields: String =
                        (0..count).map(|n| format!("X-{n}: {}\r\n", "x".repeat(length))).collect();
                    let _ = site.get_with("/page", &fields);
                },
            )
        })
    };
    vec![
        large("an-oversize-field-is-everyones-400", 9000, 1, 400),
        large("an-oversize-field-is-everyones-404", 9000, 1, 404),
        large("many-fields-are-everyones-431", 100, 80, 431),
        Case::new("a-heuristic-stores-a-provoked-error", ALL, |lab| {
            // 405 is cacheable by default (RFC 9110 §15.1).
            lab.unharmed(
                |seen| match seen.has("x-load") {
                    true => Answer::new(405, "no").with("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
                    false => Answer::page("the page"),
                },
                |site| {
                    let _ = site.get_with("/page", "X-Load: 1\r\n");
                },
            )
        }),
        Case::new("a-provoked-error-replaces-a-page", ALL, |lab| {
            lab.unharmed(
                |seen| match seen.has("x-load") {
                    true => Answer::error(400),
                    false => {
                        Answer::new(200, "the page").with("Cache-Control", "max-age=0").with("ETag", "\"1\"")
                    }
                },
                |site| {
                    let _ = site.get("/page");
                    let _ = site.get_with("/page", "X-Load: 1\r\nCache-Control: no-cache\r\n");
                },
            )
        }),
    ]
}

fn ranges() -> Vec<Case> {
    vec![
        Case::new("a-206-is-served-as-the-whole", ALL, |lab| {
            let site = lab.site(|seen| match seen.has("range") {
                true => partial(),
                false => Answer::page("the whole"),
            })?;
            let _ = site.get_with("/page", "Range: bytes=0-2\r\n");
            let next = site.get("/page")?;
            ensure!(next.body == "the whole", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("an-unwanted-206-is-served-as-the-whole", ALL, |lab| {
            let site = lab.site(|_| partial())?;
            let first = site.get("/page")?;
            let next = site.get("/page")?;
            ensure!(
                first.status != 200 && next.status != 200,
                "the clients got {} and {}",
                first.shown(),
                next.shown()
            );
            Ok(format!("the clients got {} and {}", first.shown(), next.shown()))
        }),
        Case::new("many-ranges-multiply-a-page", ALL, |lab| {
            let site = lab.site(|_| Answer::page("x".repeat(10_000)))?;
            site.get("/page")?;
            let ranges = vec!["0-"; 1000].join(",");
            let reply = site.get_with("/page", &format!("Range: bytes={ranges}\r\n"))?;
            ensure!(reply.body.len() < 40_000, "{} bytes of a page of 10,000", reply.body.len());
            Ok(format!("{} bytes of a page of 10,000", reply.body.len()))
        }),
        Case::new("a-304-without-condition-empties-a-page", ALL, |lab| {
            let site = lab.site(|seen| match seen.has("x-evil") {
                true => Answer::error(304).with("ETag", "\"1\""),
                false => Answer::page("the page").with("ETag", "\"1\""),
            })?;
            let _ = site.get_with("/page", "X-Evil: 1\r\n");
            let next = site.get("/page")?;
            ensure!(next.body == "the page", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("a-304-replaces-all-link-lines-by-one", ALL, |lab| {
            let site = lab.site(|_| {
                Answer::page("the page").with("ETag", "\"1\"").with("Link", "</a>").with("Link", "</b>")
            })?;
            site.get("/page")?;
            let reply = site.get_with("/page", "If-None-Match: \"1\"\r\n")?;
            ensure!(reply.status == 304, "not a 304: {}", reply.shown());
            let links = reply.headers("link").join(", ");
            ensure!(
                links.is_empty() || links.contains("</a>") && links.contains("</b>"),
                "the 304 has Link: {links}"
            );
            Ok(format!("the 304 has Link: {links}"))
        }),
    ]
}

/// Returns the first three bytes of `the whole`.
fn partial() -> Answer {
    Answer::new(206, "the")
        .with("Cache-Control", "max-age=600")
        .with("Content-Range", "bytes 0-2/9")
        .with("ETag", "\"1\"")
}
