//! Tests what every adapter does with a request before the caching rules: its target, its key and
//! the fields that are forwarded. Each row's last column is the reason.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use larder_core::adapter::{
    ForwardedFields, Forwarding, LoopDetected, ReceivedTarget, RequestTarget, TargetRejection,
    TrustedProxies, set_target_fields,
};

/// Returns a map of these fields, one line each.
fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).expect("a name");
        fields.append(name, HeaderValue::try_from(*value).expect("a value"));
    }
    fields
}

/// Returns the networks of the load balancers in these tests.
fn trusted() -> TrustedProxies {
    "10.0.0.0/8".parse().expect("a network")
}

const BALANCER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

/// Returns a target in absolute form, received without TLS.
fn absolute<'a>(scheme: &'a str, authority: &'a str) -> ReceivedTarget<'a> {
    let mut received = ReceivedTarget::new("http", "/a");
    received.uri_scheme = Some(scheme);
    received.uri_authority = Some(authority);
    received
}

#[test]
fn the_target_is_what_the_origin_understands() {
    let origin_form = ReceivedTarget::new("http", "/a");
    let mut http_2 = absolute("https", "example.com");
    http_2.is_http_2 = true;
    let mut http_1_0 = origin_form;
    http_1_0.is_http_1_0 = true;
    let asterisk = ReceivedTarget::new("http", "*");
    let mut options = asterisk;
    options.is_options = true;
    for (received, headers, expected, reason) in [
        (
            origin_form,
            &[("host", "Example.COM:80")][..],
            Ok("http://example.com/a"),
            "RFC 9110 §4.2.3: normal form",
        ),
        (origin_form, &[("host", " example.com ")], Ok("http://example.com/a"), "RFC 9112 §5"),
        (origin_form, &[], Err(TargetRejection::NoHost), "RFC 9112 §3.2: a request without Host"),
        (origin_form, &[("host", "")], Err(TargetRejection::NoHost), "an empty Host"),
        (
            origin_form,
            &[("host", "a"), ("host", "a")],
            Err(TargetRejection::SeveralHosts),
            "RFC 9112 §3.2: two Host lines",
        ),
        (http_1_0, &[], Ok("http://localhost/a"), "HTTP/1.0 has no Host: health checks of load balancers"),
        (
            absolute("http", "example.com"),
            &[("host", "EXAMPLE.com:80")],
            Ok("http://example.com/a"),
            "the same authority",
        ),
        (
            absolute("http", "example.com"),
            &[("host", "evil.example")],
            Err(TargetRejection::AuthoritiesDiffer),
            "another server routes by the other",
        ),
        (
            absolute("https", "example.com"),
            &[],
            Err(TargetRejection::Scheme),
            "an absolute form of another scheme",
        ),
        (absolute("ftp", "example.com"), &[], Err(TargetRejection::Scheme), "neither http nor https"),
        (http_2, &[], Ok("http://example.com/a"), "RFC 9113 §8.3.1: :scheme is what a proxy has received"),
        (
            http_2,
            &[("host", "evil.example")],
            Err(TargetRejection::AuthoritiesDiffer),
            "RFC 9113 §8.3.1: Host and :authority",
        ),
        (
            asterisk,
            &[("host", "example.com")],
            Err(TargetRejection::Asterisk),
            "RFC 9112 §3.2.4: * is for OPTIONS",
        ),
        (options, &[("host", "example.com")], Ok("http://example.com*"), "RFC 9112 §3.2.4"),
        (
            origin_form,
            &[("host", "example.com"), ("x-forwarded-host", "evil.example")],
            Ok("http://example.com/a"),
            "any client can send it",
        ),
    ] {
        let headers = fields(headers);
        let target = RequestTarget::of(&received, &headers, Some(STRANGER), &trusted());
        let target = target.map(|target| target.to_uri().expect("a valid target").to_string());
        assert_eq!(target, expected.map(str::to_owned), "{reason}");
    }
}

/// Other servers pass these characters on, and answer 400 to several lengths.
#[test]
fn raw_characters_are_encoded_and_two_lengths_rejected() {
    let mut http_2 = ReceivedTarget::new("http", "/a");
    http_2.is_http_2 = true;
    let raw = ReceivedTarget::new("http", "/\"<>\\^`{|}/ü?\"<>\\^`{|}ü");
    for (received, lengths, expected, reason) in [
        (
            raw,
            &[][..],
            Ok("http://example.com/%22%3C%3E%5C%5E%60%7B%7C%7D/%C3%BC?%22%3C%3E%5C%5E%60%7B%7C%7D%C3%BC"),
            "RFC 3986 §2.1: percent-encoding",
        ),
        (
            http_2,
            &["0", "41"],
            Err(TargetRejection::SeveralLengths),
            "RFC 9112 §6.3: an origin behind HTTP/1.1 believes one of them",
        ),
        (http_2, &["41"], Ok("http://example.com/a"), "RFC 9113 §8.1.1: one length"),
    ] {
        let mut headers = fields(&[("host", "example.com")]);
        headers.extend(
            lengths.iter().map(|length| (http::header::CONTENT_LENGTH, HeaderValue::from_static(length))),
        );
        let target = RequestTarget::of(&received, &headers, Some(STRANGER), &trusted());
        if let Ok(target) = &target {
            assert_eq!(target.has_other_path(), received.path != "/a", "{reason}");
        }
        let target = target.map(|target| target.to_uri().expect("a valid target").to_string());
        assert_eq!(target, expected.map(str::to_owned), "{reason}");
    }
}

#[test]
fn a_trusted_proxy_states_scheme_and_host_and_nobody_else() {
    let received = ReceivedTarget::new("http", "/");
    let host = ("host", "app-1.internal");
    for (headers, expected, reason) in [
        (&[host][..], Ok("http://app-1.internal/"), "no forwarded fields"),
        (
            &[host, ("x-forwarded-proto", "https"), ("x-forwarded-host", "www.example.com")],
            Ok("https://www.example.com/"),
            "both are the target",
        ),
        (&[host, ("x-forwarded-proto", "HTTPS")], Ok("https://app-1.internal/"), "a scheme in any case"),
        (
            &[host, ("forwarded", "for=203.0.113.9;proto=https;host=\"www.example.com:443\"")],
            Ok("https://www.example.com/"),
            "RFC 7239 §4: quoted strings",
        ),
        (
            &[host, ("forwarded", "host=evil.example, for=203.0.113.9;host=www.example.com")],
            Ok("http://www.example.com/"),
            "the client's own value comes first",
        ),
        (
            &[host, ("forwarded", "for=203.0.113.9;host=www.example.com, for=10.0.0.2;host=inner.example")],
            Ok("http://www.example.com/"),
            "two trusted proxies",
        ),
        (
            &[
                host,
                ("x-forwarded-host", "evil.example, www.example.com"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            Ok("http://www.example.com/"),
            "the client's own value comes first",
        ),
        (
            &[
                host,
                ("x-forwarded-host", "www.example.com, inner.example"),
                ("x-forwarded-for", "203.0.113.9, 10.0.0.2"),
            ],
            Ok("http://www.example.com/"),
            "two trusted proxies",
        ),
        (
            &[
                host,
                ("x-forwarded-host", "www.example.com"),
                ("forwarded", "for=203.0.113.9;host=evil.example"),
            ],
            Ok("http://www.example.com/"),
            "a balancer that writes X-Forwarded-* passes Forwarded on",
        ),
        (
            &[host, ("x-forwarded-for", "203.0.113.9"), ("forwarded", "host=evil.example;proto=http")],
            Ok("http://app-1.internal/"),
            "one that does not write the host either",
        ),
        (&[host, ("x-forwarded-proto", "gopher")], Err(TargetRejection::Forwarded), "neither http nor https"),
        (&[host, ("forwarded", "nonsense")], Err(TargetRejection::Forwarded), "RFC 7239 §4: pairs"),
    ] {
        let headers = fields(headers);
        let of = |peer| RequestTarget::of(&received, &headers, peer, &trusted());
        let target = of(Some(BALANCER)).map(|target| target.to_uri().expect("a valid target").to_string());
        assert_eq!(target, expected.map(str::to_owned), "{reason}");
        for stranger in [Some(STRANGER), None] {
            let target = of(stranger).expect("the fields mean nothing");
            assert_eq!(
                target.to_uri().expect("a valid target").as_str(),
                "http://app-1.internal/",
                "{reason}"
            );
        }
    }
}

/// A client in a company network sent `Forwarded: proto=http` through its own proxy. The balancer
/// passed it on beside its own `X-Forwarded-Proto: https`, and the client got 400 for every page.
#[test]
fn the_fields_of_a_trusted_proxy_are_a_choice() {
    use ForwardedFields::{Agreeing, Forwarded, PreferXForwarded, XForwarded};
    const X: (&str, &str) = ("x-forwarded-host", "x.example");
    const RFC: (&str, &str) = ("forwarded", "host=rfc.example");
    for (choice, headers, expected) in [
        (PreferXForwarded, &[X, RFC][..], Ok("x.example")),
        (PreferXForwarded, &[RFC], Ok("rfc.example")),
        (PreferXForwarded, &[RFC, ("x-forwarded-for", "203.0.113.9")], Ok("app")),
        (PreferXForwarded, &[RFC, ("x-forwarded-proto", "http")], Ok("app")),
        (XForwarded, &[X, RFC], Ok("x.example")),
        (XForwarded, &[RFC], Ok("app")),
        (Forwarded, &[X, RFC], Ok("rfc.example")),
        (Forwarded, &[X], Ok("app")),
        (Agreeing, &[X, RFC], Err(TargetRejection::Forwarded)),
        (Agreeing, &[X, ("forwarded", "host=X.example")], Ok("x.example")),
        (Agreeing, &[X], Ok("x.example")),
    ] {
        let trusted = trusted().with_fields(choice);
        let headers = fields(&[&[("host", "app")], headers].concat());
        let target = RequestTarget::of(&ReceivedTarget::new("http", "/"), &headers, Some(BALANCER), &trusted);
        assert_eq!(
            target.map(|target| target.authority.into_owned()),
            expected.map(str::to_owned),
            "{choice:?} {headers:?}"
        );
    }
}

/// A handler that writes links with the `Host` that it sees wrote `SITE.test:80` for everybody.
#[test]
fn a_handler_sees_the_form_that_is_in_the_key() {
    for (is_trusted, headers, expected, reason) in [
        (false, &[("host", "SITE.test:80")][..], &[("host", "site.test")][..], "RFC 9110 §4.2.3"),
        (false, &[("host", "site.test:")], &[("host", "site.test")], "RFC 3986 §3.2.3: an empty port"),
        (false, &[("host", "site.test:8080")], &[("host", "site.test:8080")], "another port"),
        (
            false,
            &[("host", "site.test"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
            &[("host", "site.test"), ("cookie", "a=1; b=2; c=3")],
            "RFC 9113 §8.2.3",
        ),
        (
            true,
            &[("host", "APP.internal:80"), ("x-forwarded-host", "Site.test")],
            &[("host", "app.internal"), ("x-forwarded-host", "site.test"), ("x-forwarded-proto", "http")],
            "the balancer's own name stays",
        ),
    ] {
        let mut headers = fields(headers);
        let received = ReceivedTarget::new("http", "/");
        let peer = Some(if is_trusted { BALANCER } else { STRANGER });
        let target = RequestTarget::of(&received, &headers, peer, &trusted()).expect("a target");
        let normal = target.to_uri().expect("a valid target");
        let differs = target.differs_from_fields(&headers);
        let sent = headers.clone();
        set_target_fields(&mut headers, normal.scheme(), normal.authority(), is_trusted);
        assert_eq!(headers, fields(expected), "{reason}");
        assert_eq!(differs, sent != headers, "{reason}");
        let received = ReceivedTarget::new("http", "/");
        let again = RequestTarget::of(&received, &headers, peer, &trusted()).expect("a target");
        assert!(is_trusted || !again.differs_from_fields(&headers), "{reason}");
    }
}

#[test]
fn a_client_removes_nothing_that_the_proxy_writes() {
    let forwarding = Forwarding::new("edge");
    let prepare = |lines: &[(&str, &str)], peer| {
        let mut headers = fields(lines);
        forwarding.prepare(&mut headers, "https", "example.com", Some(peer), &trusted()).expect("no loop");
        headers
    };
    for name in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-for", "via", "cdn-loop", "host"] {
        let headers =
            prepare(&[("host", "example.com"), ("connection", name), (name, "evil.example")], STRANGER);
        let sent: Vec<_> = headers.get_all(name).iter().filter(|value| *value != "evil.example").collect();
        assert_eq!(sent.len(), 1, "{name} in {headers:?}");
        assert!(!headers.contains_key("connection"));
    }
    for name in [
        "x-forwarded-host",
        "x_forwarded_host",
        "forwarded",
        "x-original-url",
        "x-http-method-override",
        "x-real-ip",
    ] {
        let headers = prepare(&[(name, "evil.example")], STRANGER);
        assert!(!headers.values().any(|value| value == "evil.example"), "{name} in {headers:?}");
    }
    let headers = prepare(&[("x-forwarded-for", "evil"), ("cookie", "a=1"), ("cookie", "b=2")], STRANGER);
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9", "the chain of a stranger begins anew");
    let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"], "RFC 9113 §8.2.3: one line for HTTP/1.1");
    let headers = prepare(&[("x-forwarded-for", "203.0.113.9, 10.0.0.2")], BALANCER);
    assert_eq!(
        headers["x-forwarded-for"], "203.0.113.9, 10.0.0.2, 10.0.0.1",
        "that of a trusted proxy continues"
    );
    let mapped = "::ffff:203.0.113.9".parse().expect("an address");
    assert_eq!(prepare(&[], mapped)["x-forwarded-for"], "203.0.113.9", "an IPv4 client of an IPv6 listener");
}

/// A proxy that was its own origin sent each POST to itself until the timeout.
#[test]
fn a_request_that_comes_back_is_a_loop() {
    let (forwarding, other) = (Forwarding::new("edge"), Forwarding::new("edge"));
    let mut headers = fields(&[("cdn-loop", "another; a=1, third")]);
    let prepare = |by: &Forwarding, headers: &mut HeaderMap| {
        by.prepare(headers, "http", "example.com", Some(STRANGER), &TrustedProxies::default())
    };
    assert_eq!(prepare(&forwarding, &mut headers), Ok(()));
    assert_eq!(prepare(&other, &mut headers), Ok(()), "another proxy of the same name is no loop");
    assert_eq!(prepare(&forwarding, &mut headers), Err(LoopDetected));
}
