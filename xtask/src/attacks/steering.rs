//! Steering: fields that make an origin respond for another host, scheme, path, method or client
//! than those in the key. One request must not change the page of every other client.

use anyhow::ensure;

use super::{
    case::{ALL, Case, Outcome, PROXY},
    lab::{Lab, SITE},
    script::{Answer, Seen},
};

/// Fields from which frameworks take the host of links, each a case.
const HOSTS: &[&str] =
    &["X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "X-Original-Host", "X-HTTP-Host-Override"];
/// Fields from which frameworks take the path.
const PATHS: &[&str] = &["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Path"];
/// Fields from which frameworks take the method.
const METHODS: &[&str] = &["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];
/// Fields that state the scheme, with a value that means "not over TLS".
const SCHEMES: &[(&str, &str)] = &[
    ("X-Forwarded-Scheme", "http"),
    ("X-Forwarded-Ssl", "off"),
    ("X-Forwarded-Protocol", "http"),
    ("X-Url-Scheme", "http"),
    ("Front-End-Https", "off"),
];
/// Fields that state the client's address, beside `X-Forwarded-For`.
const ADDRESSES: &[&str] = &[
    "True-Client-IP",
    "X-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Cluster-Client-IP",
    "X-Real-IP",
];

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &name in HOSTS {
        let case = format!("links-follow-{}", name.to_lowercase());
        cases.push(Case::new(&case, ALL, move |lab| {
            poison(lab, &format!("{name}: evil.test\r\n"), move |seen| links(seen, name))
        }));
    }
    for &name in PATHS {
        let case = format!("path-follows-{}", name.to_lowercase());
        cases.push(Case::new(&case, ALL, move |lab| {
            poison(lab, &format!("{name}: /evil\r\n"), move |seen| {
                let path = Some(seen.header(name)).filter(|path| !path.is_empty());
                Answer::page(format!("the page {}", path.unwrap_or(&seen.target)))
            })
        }));
    }
    for &name in METHODS {
        let case = format!("method-follows-{}", name.to_lowercase());
        cases.push(Case::new(&case, ALL, move |lab| {
            poison(lab, &format!("{name}: DELETE\r\n"), move |seen| match seen.header(name) {
                "" => Answer::page("the page"),
                _ => Answer::error(405).with("Allow", "GET"),
            })
        }));
    }
    for &(name, value) in SCHEMES {
        let case = format!("redirect-follows-{}", name.to_lowercase());
        cases.push(Case::new(&case, ALL, move |lab| {
            poison(lab, &format!("{name}: {value}\r\n"), move |seen| redirect_unless_tls(seen, name))
        }));
    }
    cases.extend(addresses());
    cases.extend(spellings());
    cases.extend(trusted());
    cases
}

/// Sends these header lines with a request, and checks that the next client's page is as without.
fn poison(
    lab: &Lab<'_>,
    fields: &str,
    respond: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
) -> Outcome {
    lab.unharmed(respond, |site| {
        let _ = site.get_with("/page", fields);
    })
}

/// Responds with a link to the hosts in this field, or in `Host`. A framework that reads the field
/// itself does so for its own URL.
fn links(seen: &Seen, name: &str) -> Answer {
    let hosts = Some(seen.headers(name).join("+")).filter(|hosts| !hosts.is_empty());
    Answer::page(format!("<a href=//{}/> of {}", hosts.as_deref().unwrap_or(SITE), seen.url))
}

fn redirect_unless_tls(seen: &Seen, name: &str) -> Answer {
    match seen.header(name) {
        "http" | "off" => Answer::redirect("https://site.test/page"),
        _ => Answer::page("the page"),
    }
}

fn addresses() -> Vec<Case> {
    vec![
        Case::new("links-follow-forwarded", ALL, |lab| {
            poison(lab, "Forwarded: host=evil.test;proto=https\r\n", |seen| links(seen, "Forwarded"))
        }),
        Case::new("the-framework-url-follows-a-field", &ALL[1..], |lab| {
            let fields = "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\n";
            poison(lab, fields, |seen| Answer::page(format!("<a href={}>", seen.url)))
        }),
        Case::new("the-framework-url-follows-forwarded", &ALL[1..], |lab| {
            let fields = "Forwarded: host=evil.test;proto=https\r\n";
            poison(lab, fields, |seen| Answer::page(format!("<a href={}>", seen.url)))
        }),
        Case::new("links-follow-x-forwarded-port", ALL, |lab| {
            poison(lab, "X-Forwarded-Port: 1337\r\n", |seen| {
                let port = if seen.header("x-forwarded-port") == "1337" { ":1337" } else { "" };
                Answer::page(format!("<a href=//{SITE}{port}/>"))
            })
        }),
        Case::new("links-follow-x-forwarded-prefix", ALL, |lab| {
            poison(lab, "X-Forwarded-Prefix: //evil.test\r\n", |seen| {
                Answer::page(format!("<a href={}/next>", seen.header("x-forwarded-prefix")))
            })
        }),
        Case::new("links-follow-x-script-name", ALL, |lab| {
            poison(lab, "X-Script-Name: //evil.test\r\n", |seen| {
                Answer::page(format!("<a href={}/next>", seen.header("x-script-name")))
            })
        }),
        Case::new("one-client-address-blocks-everyone", PROXY, |lab| {
            let mut seen = String::new();
            for &name in ADDRESSES {
                let fields = format!("{name}: 203.0.113.66\r\n");
                seen = poison(lab, &fields, move |seen| match seen.header(name) {
                    "203.0.113.66" => Answer::error(403),
                    _ => Answer::page("the page"),
                })
                .map_err(|error| error.context(name))?;
            }
            Ok(seen)
        }),
        Case::new("a-proxy-field-reaches-a-cgi-origin", PROXY, |lab| {
            poison(lab, "Proxy: http://evil.test:3128\r\n", |seen| {
                Answer::page(format!("fetched through {:?}", seen.header("proxy")))
            })
        }),
    ]
}

/// Returns a header as a CGI or WSGI origin reads it: `_` and other characters count as `-`.
fn cgi<'a>(seen: &'a Seen, name: &str) -> &'a str {
    let variable = |name: &str| {
        let letters = name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'-' });
        letters.map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    // The client's line wins, wherever it stands.
    let found = seen.headers.iter().filter(|(found, _)| variable(found) == variable(name));
    let values: Vec<_> = found.map(|(_, value)| &**value).collect();
    values
        .iter()
        .find(|value| value.contains("evil") || **value == "http")
        .or(values.last())
        .copied()
        .unwrap_or("")
}

fn spellings() -> Vec<Case> {
    let spelled = |case: &str, spellings: &'static [&'static str], name: &'static str| {
        Case::new(case, PROXY, move |lab| {
            let mut seen = String::new();
            for spelling in spellings {
                seen = poison(lab, &format!("{spelling}: evil.test\r\n"), move |seen| {
                    Answer::page(format!("<a href=//{}/>", cgi(seen, name)))
                })
                .map_err(|error| error.context(*spelling))?;
            }
            Ok(seen)
        })
    };
    vec![
        spelled(
            "links-follow-x_forwarded_host",
            &["X_Forwarded_Host", "x_forwarded_host"],
            "X-Forwarded-Host",
        ),
        spelled(
            "links-follow-a-mixed-spelling",
            &[
                "X-Forwarded_Host",
                "X_Forwarded-Host",
                "X.Forwarded.Host",
                "X-Forwarded.Host",
                "X!Forwarded~Host",
            ],
            "X-Forwarded-Host",
        ),
        spelled(
            "path-follows-x_original_url",
            &["X_Original_URL", "X_Rewrite_URL", "X-Rewrite_URL"],
            "X-Original-URL",
        ),
        Case::new("redirect-follows-x_forwarded_proto", PROXY, |lab| {
            // A page with a redirect for everything that is not https, as frameworks have it.
            poison(lab, "X_Forwarded_Proto: https\r\n", |seen| {
                match seen.headers.iter().any(|(name, value)| cgi_name(name) && value == "https") {
                    true => Answer::redirect("https://evil.test/"),
                    false => Answer::page("the page"),
                }
            })
        }),
        Case::new("method-follows-x_http_method_override", PROXY, |lab| {
            poison(lab, "X_HTTP_Method_Override: DELETE\r\n", |seen| {
                match cgi(seen, "X-HTTP-Method-Override") {
                    "" => Answer::page("the page"),
                    _ => Answer::error(405),
                }
            })
        }),
        Case::new("content_length-reaches-a-cgi-origin", PROXY, |lab| {
            // A CGI origin reads the length and the type of the content from variables that
            // have no `HTTP_`; the other names are the ones that it takes for routing.
            let fields = "Content_Length: 5\r\nTransfer_Encoding: chunked\r\nHost_: evil.test\r\n";
            let site = lab.site(|_| Answer::page("the page"))?;
            let _ = site.get_with("/page", fields);
            let sent = site.script.requests().into_iter().find(|seen| {
                seen.headers.iter().any(|(name, _)| name.contains("ontent_") || name.contains("ransfer_"))
            });
            ensure!(sent.is_none(), "the origin received {:?}", sent.unwrap_or_default().head);
            site.expect("/page", &site.get("/page")?)
        }),
    ]
}

fn cgi_name(name: &str) -> bool {
    name.replace('_', "-").eq_ignore_ascii_case("x-forwarded-proto")
}

/// Behind a TLS terminator that sets the fields: they are the target.
fn trusted() -> Vec<Case> {
    vec![
        Case::new("trusted-hosts-share-a-page", PROXY, |lab| {
            let site = lab.site_with(&["--trust-forwarded"], |seen| links(seen, "X-Forwarded-Host"))?;
            site.get_with("/page", "X-Forwarded-Host: one.test\r\n")?;
            let two = site.get_with("/page", "X-Forwarded-Host: two.test\r\n")?;
            ensure!(two.contains("two.test"), "the client of two.test got {}", two.shown());
            Ok(format!("the client of two.test got {}", two.shown()))
        }),
        Case::new("a-trusted-scheme-redirects-forever", PROXY, |lab| {
            let site =
                lab.site_with(&["--trust-forwarded"], |seen| redirect_unless_tls(seen, "X-Forwarded-Proto"))?;
            let plain = site.get_with("/page", "X-Forwarded-Proto: http\r\n")?;
            ensure!(plain.status == 301, "over http: {}", plain.shown());
            let secure = site.get_with("/page", "X-Forwarded-Proto: https\r\n")?;
            ensure!(secure.status == 200, "over https: {}", secure.shown());
            Ok(format!("over https: {}", secure.shown()))
        }),
        Case::new("a-clients-own-proxy-locks-it-out", ALL, |lab| {
            // The balancer writes X-Forwarded-*, and passes the Forwarded of its client on.
            let site = lab.behind_balancer(|seen| Answer::page(seen.header("x-forwarded-proto")))?;
            let fields = "X-Forwarded-Proto: https\r\nForwarded: proto=http;for=192.0.2.7\r\n";
            site.get_with("/page", fields)?;
            let reply = site.get_with("/page", fields)?;
            ensure!(reply.is_hit() && reply.body == "https", "the client got {}", reply.shown());
            Ok(format!("the client got {}", reply.shown()))
        }),
        Case::new("trusted-forwarded-hosts-share-a-page", PROXY, |lab| {
            let site = lab.site_with(&["--trust-forwarded"], |seen| {
                // The proxy may pass it on in either form.
                let hosts = ["forwarded", "x-forwarded-host", "host"].map(|name| seen.header(name));
                Answer::page(hosts.join(" "))
            })?;
            site.get_with("/page", "Forwarded: host=one.test;proto=https\r\n")?;
            let two = site.get_with("/page", "Forwarded: host=two.test;proto=https\r\n")?;
            ensure!(two.contains("two.test"), "the client of two.test got {}", two.shown());
            Ok(format!("the client of two.test got {}", two.shown()))
        }),
    ]
}
