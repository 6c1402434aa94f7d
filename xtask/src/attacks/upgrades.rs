//! Switches of protocols and trailers: a connection to the origin that no one reads any more, pages
//! that are stored by the way, and fields that come behind the content.

use anyhow::ensure;

use super::{
    case::{ALL, Case, PROXY},
    lab::SITE,
    script::Answer,
};

/// A request to switch to WebSocket, and more fields.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 0\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Returns the cases of this kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = switches();
    cases.extend(trailers());
    cases
}

fn switches() -> Vec<Case> {
    vec![
        Case::new("a-declined-upgrade-is-a-tunnel", PROXY, |lab| {
            let site = lab.site(|seen| match seen.has("upgrade") {
                true => Answer::new(426, "another version, please"),
                false => Answer::page(seen.target.clone()),
            })?;
            let hidden = "GET /hidden HTTP/1.1\r\nHost: internal.test\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n";
            let upgrade = format!("GET /chat HTTP/1.1\r\nHost: {SITE}\r\n{WEBSOCKET}\r\n{hidden}");
            let replies = site.raw(upgrade);
            ensure!(replies.first().is_some_and(|first| first.status == 426), "the client got {replies:?}");
            let unread = site.script.requests().into_iter().find(|seen| !seen.has("via"));
            ensure!(unread.is_none(), "the origin received a request past the proxy: {unread:?}");
            Ok(format!("the proxy has read all of {} requests", site.script.requests().len()))
        }),
        Case::new("another-switch-is-a-tunnel", PROXY, |lab| {
            let site = lab.site(|seen| match seen.target.as_str() {
                "/chat" => Answer::raw(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
                ),
                _ => Answer::page("the page"),
            })?;
            let hidden = "GET /hidden HTTP/1.1\r\nHost: internal.test\r\n\r\n";
            for fields in [WEBSOCKET, "", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"] {
                let replies = site.raw(format!("GET /chat HTTP/1.1\r\nHost: {SITE}\r\n{fields}\r\n{hidden}"));
                ensure!(replies.iter().all(|reply| reply.status != 101), "the client got {replies:?}");
            }
            let unread = site.script.requests().into_iter().find(|seen| !seen.has("via"));
            ensure!(unread.is_none(), "the origin received a request past the proxy: {unread:?}");
            Ok("no 101 reached the client".to_owned())
        }),
        Case::new("an-upgrade-poisons-a-page", ALL, |lab| {
            lab.unharmed(
                |seen| match seen.has("sec-websocket-key") {
                    true => Answer::page("only for WebSocket"),
                    false => Answer::page("the page"),
                },
                |site| {
                    let _ = site.get_with("/page", WEBSOCKET);
                },
            )
        }),
        Case::new("an-upgrade-with-content-smuggles", PROXY, |lab| {
            let site = lab.site(|_| Answer::page("the page"))?;
            let hidden = "GET /hidden HTTP/1.1\r\nHost: site.test\r\n\r\n";
            let length = hidden.len();
            site.raw(format!(
                "GET /chat HTTP/1.1\r\nHost: {SITE}\r\n{WEBSOCKET}Content-Length: {length}\r\n\r\n{hidden}"
            ));
            let hidden = site.script.requests_for("/hidden");
            ensure!(hidden.is_empty(), "the content became a request: {hidden:?}");
            Ok(format!("the origin received {} requests", site.script.requests().len()))
        }),
    ]
}

fn trailers() -> Vec<Case> {
    vec![
        Case::new("trailers-steer-the-origin", PROXY, |lab| {
            let site = lab.site(|_| Answer::page("the page"))?;
            let names = "X-Forwarded-Host, X-Forwarded-For, Host, X_Real_IP, Content-Length, Authorization";
            let body = "4\r\npage\r\n0\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-For: 127.0.0.1\r\n\
                        Host: evil.test\r\nX_Real_IP: 127.0.0.1\r\nContent-Length: 0\r\n\
                        Authorization: Bearer evil\r\n\r\n";
            let fields = format!("Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: {names}\r\n");
            site.send("POST", "/page", &fields, body)?;
            // The scripted origin merges trailers into the head, as some servers do.
            for seen in site.script.requests() {
                let evil = seen.headers.iter().find(|(name, value)| {
                    value.contains("evil")
                        || name == "X_Real_IP"
                        || name.eq_ignore_ascii_case("content-length")
                });
                ensure!(evil.is_none(), "the origin received {evil:?}");
                let clients = seen.headers("x-forwarded-for");
                ensure!(clients.len() == 1, "the origin received {clients:?}");
            }
            Ok("the origin received none of them".to_owned())
        }),
        Case::new("a-trailer-becomes-a-field-of-a-hit", PROXY, |lab| {
            let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\
                          Trailer: Set-Cookie, X-Evil\r\n\r\n4\r\npage\r\n0\r\nSet-Cookie: session=alice\r\n\
                          X-Evil: 1\r\n\r\n";
            let site = lab.site(move |_| Answer::raw(answer))?;
            site.get_with("/page", "Connection: close, te\r\nTE: trailers\r\n")?;
            let hit = site.get("/page")?;
            ensure!(hit.is_hit(), "the page is not stored: {}", hit.shown());
            let merged =
                ["set-cookie", "x-evil", "trailer"].iter().find(|name| !hit.headers(name).is_empty());
            ensure!(merged.is_none(), "the next client got {merged:?}");
            Ok(format!("the next client got {}", hit.shown()))
        }),
    ]
}
