//! Routes and purging: which route a path takes, and whether a purge removes what clients get. The
//! cases use a configuration file, and the admin listener of a proxy.

use anyhow::{Context as _, ensure};

use super::{
    case::{ALL, Case, PROXY},
    client::Reply,
    lab::Site,
    script::{Answer, Seen},
};

/// Spellings of `/account` that an origin may read as that path, each a case.
const ACCOUNTS: &[(&str, &str)] = &[
    ("a-double-slash-leaves-its-route", "//account"),
    ("an-encoded-letter-leaves-its-route", "/%61ccount"),
    ("a-dot-segment-leaves-its-route", "/./account"),
    ("a-parent-segment-leaves-its-route", "/x/../account"),
    ("encoded-dots-leave-their-route", "/x/%2e%2e/account"),
    ("an-encoded-slash-leaves-its-route", "/x/..%2faccount"),
    ("a-path-parameter-leaves-its-route", "/account;x=1"),
    ("an-encoded-separator-leaves-its-route", "/account%2f"),
    ("a-double-encoding-leaves-its-route", "/%2561ccount"),
    ("a-backslash-leaves-its-route", "/\\account"),
    ("a-parameter-before-it-leaves-its-route", "/;x/account"),
    ("a-trailing-nul-leaves-its-route", "/account%00"),
    ("an-overlong-letter-leaves-its-route", "/%c1%a1ccount"),
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, target) in ACCOUNTS {
        cases.push(Case::new(name, PROXY, move |lab| {
            let file = "[[route]]\norigins = [\"ORIGIN\"]\nfreshness = \"1h\"\n\
                        [[route]]\nprefix = \"/account\"\norigins = [\"ORIGIN\"]\ncache = false\n";
            let site =
                lab.routes(file, |seen| Answer::new(200, format!("account of {}", seen.header("cookie"))))?;
            let _ = site.get_with(target, "Cookie: alice\r\n");
            let next = site.get(target)?;
            ensure!(!next.contains("alice"), "GET {target} of the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }));
    }
    cases.extend(routes());
    cases.extend(purges());
    cases.extend(groups());
    cases
}

/// Echoes the target.
fn echo(seen: &Seen) -> Answer {
    Answer::page(format!("at {}", seen.target))
}

fn routes() -> Vec<Case> {
    vec![
        Case::new("a-prefix-takes-over-a-tenant", PROXY, |lab| {
            let file = "[[route]]\nhost = \"site.test\"\norigins = [\"ORIGIN\"]\n\
                        request_headers = { set = { X-Route = \"tenant\" } }\n\
                        [[route]]\nprefix = \"/api\"\norigins = [\"ORIGIN\"]\n\
                        request_headers = { set = { X-Route = \"api\" } }\n";
            let site = lab.routes(file, |seen| Answer::page(seen.header("x-route")))?;
            let reply = site.get("/api")?;
            ensure!(reply.body == "tenant", "site.test/api went to the route {:?}", reply.body);
            Ok("the tenant's route".to_owned())
        }),
        Case::new("a-cloaked-parameter-is-ignored", PROXY, |lab| {
            // Some frameworks separate parameters at `;`, too.
            let site = lab.routes(IGNORING, |seen| {
                let parameters = seen.target.split(['?', '&', ';']);
                let callback = parameters.filter_map(|one| one.strip_prefix("callback=")).next_back();
                Answer::page(format!("{}()", callback.unwrap_or_default()))
            })?;
            site.get("/page?callback=good&utm_x=1;callback=evil")?;
            let next = site.get("/page?callback=good")?;
            ensure!(next.body == "good()", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("an-encoded-ignored-name-keeps-others", PROXY, |lab| {
            let site = lab.routes(IGNORING, echo)?;
            site.get("/page?utm%5Fx%3Dy%26id=2")?;
            let next = site.get("/page")?;
            let own = next.body == "at /page" || next.body.starts_with("at /page?utm");
            ensure!(own && !next.is_hit() || next.body == "at /page", "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("an-ignored-parameter-hides-a-fragment", PROXY, |lab| {
            let site = lab.routes(IGNORING, echo)?;
            site.get("/page?id=1&utm_x=%23&id=2")?;
            let next = site.get("/page?id=1")?;
            ensure!(!next.is_hit(), "the next client got {}", next.shown());
            Ok(format!("the next client got {}", next.shown()))
        }),
        Case::new("a-route-header-is-set-by-a-client", PROXY, |lab| {
            let file =
                "[[route]]\norigins = [\"ORIGIN\"]\nrequest_headers = { set = { X-Tier = \"free\" } }\n";
            let site = lab.routes(file, |seen| Answer::page(seen.headers("x-tier").join("+")))?;
            let reply = site.get_with("/page", "Connection: close, X-Tier\r\nX-Tier: paid\r\n")?;
            ensure!(reply.body == "free", "the origin saw {:?}", reply.body);
            Ok("the origin saw free".to_owned())
        }),
        Case::new("a-web-page-purges-by-dns-rebinding", PROXY, |lab| {
            let site = lab.routes(PLAIN, echo)?;
            site.get("/page")?;
            let reply = site.purge("{\"all\":true}", "Host: evil.test\r\nOrigin: http://evil.test\r\n")?;
            ensure!(site.get("/page")?.is_hit(), "the purge got {}, and the page is gone", reply.shown());
            Ok(format!("the purge got {}", reply.shown()))
        }),
        Case::new("a-public-client-purges", PROXY, |lab| {
            let site = lab.routes(PLAIN, echo)?;
            site.get("/page")?;
            for (method, target) in
                [("PURGE", "/page"), ("BAN", "/page"), ("POST", "/purge"), ("REFRESH", "/page")]
            {
                let json = "{\"all\":true}";
                let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
                let _ = site.send(method, target, &fields, json);
            }
            let next = site.get("/page")?;
            ensure!(next.is_hit(), "after the requests, GET got {}", next.shown());
            Ok("the page is still a hit".to_owned())
        }),
    ]
}

const PLAIN: &str = "[[route]]\norigins = [\"ORIGIN\"]\n";
const IGNORING: &str = "[[route]]\norigins = [\"ORIGIN\"]\nignore_query = [\"utm_*\"]\n";

/// Checks that a page was stored, that the purge succeeds, and that the page is gone.
fn purged(site: &Site, target: &str, purge: impl Fn() -> anyhow::Result<Reply>) -> anyhow::Result<String> {
    site.get(target)?;
    ensure!(site.get(target)?.is_hit(), "GET {target} was not stored");
    let answer = purge()?;
    ensure!(answer.status == 200, "the purge got {}", answer.shown());
    let next = site.get(target)?;
    ensure!(!next.is_hit(), "the purge got {}, and the page is still a hit", answer.shown());
    Ok(format!("the purge got {}", answer.shown()))
}

fn purges() -> Vec<Case> {
    let purge = |case: &str, file: &'static str, target: &'static str, json: &'static str| {
        Case::new(case, PROXY, move |lab| {
            let site = lab.routes(file, echo)?;
            purged(&site, target, || site.purge(json, ""))
        })
    };
    vec![
        purge(
            "a-purge-misses-ignored-parameters",
            IGNORING,
            "/page?utm_source=a",
            "{\"url\":\"http://site.test/page?utm_source=a\"}",
        ),
        purge(
            "a-purge-misses-another-spelling",
            PLAIN,
            "/page?q=1",
            "{\"url\":\"HTTP://SITE.test:80/x/../%70age?q=1\"}",
        ),
        purge("a-purge-misses-raw-characters", PLAIN, "/p%22", "{\"url\":\"http://site.test/p\\\"\"}"),
        purge(
            "a-prefix-purge-misses-the-prefix",
            PLAIN,
            "/news/1",
            "{\"prefix\":\"HTTP://SITE.test:80/news/\"}",
        ),
        Case::new("a-prefix-purge-takes-its-neighbours", PROXY, |lab| {
            let site = lab.routes(PLAIN, echo)?;
            for target in ["/news", "/newsletter"] {
                site.get(target)?;
            }
            site.purge("{\"prefix\":\"http://site.test/news\"}", "")?;
            ensure!(!site.get("/news")?.is_hit(), "/news is still a hit");
            let neighbour = site.get("/newsletter")?;
            ensure!(neighbour.is_hit(), "/newsletter is gone, too");
            Ok("/newsletter is still a hit".to_owned())
        }),
        Case::new("a-purge-of-nothing-reports-success", PROXY, |lab| {
            let site = lab.routes(PLAIN, echo)?;
            let answer = site.purge("{\"url\":\"http://site.test/nothing\"}", "")?;
            let counted = answer.body.contains("\"entries\":0") || answer.body.contains(": 0");
            ensure!(counted || answer.status != 200, "the purge got {}", answer.shown());
            Ok(format!("the purge got {}", answer.shown()))
        }),
        Case::new("a-purge-by-the-public-name-misses", ALL, |lab| {
            // A load balancer sends its own name as Host, and the public one beside it.
            let site = lab.behind_balancer(echo)?;
            let request = "GET /x HTTP/1.1\r\nHost: app-1.internal\r\nX-Forwarded-Host: www.example.com\r\n\
                           X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
            site.raw(request);
            ensure!(site.raw(request).iter().any(Reply::is_hit), "the page was not stored");
            let answer = site.purge_url("https://www.example.com/x")?;
            let gone = !site.raw(request).iter().any(Reply::is_hit);
            ensure!(gone, "the purge got {}, and the page is still a hit", answer.shown());
            Ok(format!("the purge got {}", answer.shown()))
        }),
        app_purge(
            "an-app-purge-misses-ignored-parameters",
            "/page?utm_source=a",
            "http://site.test/page?utm_source=a",
        ),
        app_purge("an-app-purge-misses-another-spelling", "/page?q=1", "HTTP://SITE.test:80/x/../%70age?q=1"),
        app_purge("an-app-purge-misses-raw-characters", "/p%22", "http://site.test/p\""),
    ]
}

/// Purges a URL of an application, as its operator knows it.
fn app_purge(case: &str, target: &'static str, url: &'static str) -> Case {
    Case::new(case, &ALL[1..], move |lab| {
        let site = lab.site(echo)?;
        purged(&site, target, || site.purge_url(url))
    })
}

/// Responds with this many groups, named `g1`, `g2`, …
fn grouped(count: usize) -> impl Fn(&Seen) -> Answer + Clone {
    move |seen| {
        let names: Vec<_> = (1..=count).map(|n| format!("\"g{n}\"")).collect();
        echo(seen).with("Cache-Groups", &names.join(", "))
    }
}

fn groups() -> Vec<Case> {
    let last = |case: &str, count: usize| {
        Case::new(case, PROXY, move |lab| {
            let site = lab.routes(PLAIN, grouped(count))?;
            site.get("/page")?;
            if !site.get("/page")?.is_hit() {
                return Ok("not stored".to_owned());
            }
            let json = format!("{{\"tag\":\"g{count}\",\"of\":\"http://site.test\"}}");
            purged(&site, "/page", || site.purge(&json, "")).context("purge by the last group")
        })
    };
    vec![
        last("a-purge-by-the-65th-group-misses", 65),
        last("a-purge-by-the-257th-group-misses", 257),
        last("a-purge-by-the-1025th-group-misses", 1025),
        Case::new("an-origin-hides-the-operators-group", PROXY, |lab| {
            let file = "[[route]]\norigins = [\"ORIGIN\"]\ngroups = [\"mine\"]\n";
            let site = lab.routes(file, grouped(64))?;
            purged(&site, "/page", || site.purge("{\"tag\":\"mine\",\"of\":\"http://site.test\"}", ""))
        }),
        Case::new("a-group-purge-reaches-another-site", PROXY, |lab| {
            let site = lab.routes(PLAIN, grouped(1))?;
            site.get("/page")?;
            site.purge("{\"tag\":\"g1\",\"of\":\"http://evil.test\"}", "")?;
            ensure!(site.get("/page")?.is_hit(), "the page of site.test is gone");
            Ok("the page of site.test is still a hit".to_owned())
        }),
        Case::new("group-invalidation-reaches-another-site", PROXY, |lab| {
            let site = lab.routes(PLAIN, |seen| match &*seen.method {
                "GET" => grouped(1)(seen),
                _ => Answer::new(200, "done").with("Cache-Group-Invalidation", "\"g1\""),
            })?;
            site.get("/page")?;
            site.raw("POST /p HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            ensure!(site.get("/page")?.is_hit(), "the page of site.test is gone");
            Ok("the page of site.test is still a hit".to_owned())
        }),
    ]
}
