//! No secret is in a file or an error, and a replay needs none.

mod common;

use common::{NoNetwork, open, options, request, send, texts};
use http::{HeaderValue, Request, Response};
use larder_cassette::{Cassette, Mode, Redaction};
use larder_core::{Body, Origin as _};
use larder_testkit::FnOrigin;
use tempfile::tempdir;

fn with(mut request: Request<Body>, fields: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

#[tokio::test]
async fn credentials_are_never_written_and_not_needed() {
    let directory = tempdir().unwrap();
    let send_all = async |cassette: &Cassette, secret: &str| {
        let answer = format!(
            r#"{{ "access_token" : "{secret}", "expires_in": 3600, "users": [{{"password":"{secret}","name":"Anna"}}] }}"#
        );
        let cookie = format!("sid={secret}; Path=/; HttpOnly");
        let location =
            format!("https://{secret}@example.com/cb?code=1&access_token={secret}#id_token={secret}");
        let server = FnOrigin::new(move |_, _| {
            let response = Response::builder()
                .header("content-type", "application/json")
                .header("content-length", answer.len())
                .header("set-cookie", &cookie)
                .header("location", &location);
            Ok(response.body(Body::from(answer.clone())).unwrap())
        });
        let url =
            format!("https://user:{secret}@api.example.com/login?api_key={secret}&page_token=2&key=users");
        let form = format!("client_id=me&client_secret={secret}&x=1");
        let mut marked = HeaderValue::from_str(secret).unwrap();
        marked.set_sensitive(true);
        let mut login = Request::post(url).body(Body::from(form)).unwrap();
        login.headers_mut().insert("x-anything", marked);
        let login = with(
            login,
            &[
                ("content-type", "application/x-www-form-urlencoded"),
                ("authorization", &format!("Bearer {secret}")),
                ("cookie", &format!("a={secret}; b={secret}")),
                ("proxy-authorization", &format!("Basic {secret}")),
                ("x-api-key", secret),
            ],
        );
        let origin: Box<dyn larder_core::Origin> =
            if cassette.mode() == Mode::Replay { Box::new(NoNetwork) } else { Box::new(server) };
        cassette.origin(origin).fetch(login).await
    };
    let cassette = open(directory.path(), Mode::Record);
    let response = send_all(&cassette, "hunter2hunter2hunter2").await.unwrap();
    let body = response.into_body().into_bytes(1000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("hunter2"), "the client itself gets the token");
    cassette.finish().await.unwrap();
    let text = texts(directory.path());
    assert!(!text.contains("hunter2"), "{text}");
    for kept in [
        "POST https://api.example.com/login?api_key=REDACTED&page_token=2&key=users\n",
        "client_id=me&client_secret=REDACTED&x=1\n",
        "authorization: Bearer REDACTED\n",
        "cookie: a=REDACTED; b=REDACTED\n",
        "proxy-authorization: Basic REDACTED\n",
        "set-cookie: sid=REDACTED; Path=/; HttpOnly\n",
        "location: https://example.com/cb?code=1&access_token=REDACTED#id_token=REDACTED\n",
        r#"{ "access_token" : "REDACTED", "expires_in": 3600, "users": [{"password":"REDACTED","name":"Anna"}] }"#,
    ] {
        assert!(text.contains(kept) || kept.starts_with("proxy-"), "{kept}\n{text}");
    }
    assert!(!cassette.export_har().contains("hunter2"));

    // A replay needs no secret, and gets none.
    let cassette = open(directory.path(), Mode::Replay);
    let response = send_all(&cassette, "another").await.unwrap();
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let body = response.into_body().into_bytes(1000).await.unwrap();
    assert_eq!(body.len(), length, "the length follows the redacted body");
    assert!(body.starts_with(br#"{ "access_token" : "REDACTED""#));
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn a_user_adds_and_keeps_what_is_redacted() {
    let directory = tempdir().unwrap();
    let redaction = Redaction::default()
        .with_header("X-Tenant")
        .with_parameter("email")
        .with_json("/users/*/phone")
        .with_kept("x-csrf-token")
        .with_request(|request| {
            let path = request.url.to_string().replace("/accounts/4711", "/accounts/1");
            request.url = path.parse().unwrap();
        })
        .with_response(|response| {
            let text = String::from_utf8_lossy(&response.body).replace("Anna", "Someone");
            response.body = text.into();
        });
    let options = options().with_redaction(redaction);
    let body = r#"{"users":[{"name":"Anna","phone":123},{"name":"Anna","phone":[4]}]}"#;
    let server = FnOrigin::new(move |_, _| {
        let response = Response::builder().header("content-type", "application/problem+json; charset=utf-8");
        Ok(response.header("content-length", body.len()).body(Body::from(body)).unwrap())
    });
    let request = || {
        with(
            request("GET", "https://api.example.com/accounts/4711?email=a%40b.c&x=%20", ""),
            &[("x-tenant", "acme"), ("x-csrf-token", "visible")],
        )
    };
    let cassette = Cassette::with_options(directory.path(), Mode::Record, options.clone()).unwrap();
    send(&cassette.origin(server), request()).await.unwrap();
    let text = texts(directory.path());
    assert!(text.contains("GET https://api.example.com/accounts/1?email=REDACTED&x=%20\n"), "{text}");
    assert!(text.contains("x-tenant: REDACTED\nx-csrf-token: visible\n"), "{text}");
    let redacted =
        r#"{"users":[{"name":"Someone","phone":"REDACTED"},{"name":"Someone","phone":"REDACTED"}]}"#;
    assert!(text.contains(&format!("content-length: {}\n", redacted.len())), "{text}");
    let cassette = Cassette::with_options(directory.path(), Mode::Replay, options).unwrap();
    assert_eq!(send(&cassette.origin(NoNetwork), request()).await.unwrap().1, redacted);
}

#[tokio::test]
async fn nothing_is_redacted_by_name_if_a_user_says_so() {
    let directory = tempdir().unwrap();
    let options = options().with_redaction(Redaction::none().with_header("x-tenant"));
    let cassette = Cassette::with_options(directory.path(), Mode::Record, options).unwrap();
    let request = with(
        request("GET", "https://api.example.com/?token=abc", ""),
        &[("x-tenant", "acme"), ("cookie", "a=b")],
    );
    send(&cassette.origin(FnOrigin::fixed(&[], b"")), request).await.unwrap();
    let text = texts(directory.path());
    assert!(text.contains("?token=abc") && text.contains("cookie: a=b\n"), "{text}");
    assert!(text.contains("x-tenant: REDACTED\n"), "{text}");
}

/// A test read its password from the environment, where CI has none: the form of the replay had an
/// empty field and did not match.
#[tokio::test]
async fn a_replay_may_have_an_empty_secret() {
    let directory = tempdir().unwrap();
    let login = |secret: &str| {
        let body = format!(r#"{{"user":"anna","password":"{secret}"}}"#);
        let url = format!("https://api.example.com/login?api_key={secret}");
        let request = Request::post(url).body(Body::from(body)).unwrap();
        with(request, &[("content-type", "application/json")])
    };
    let cassette = open(directory.path(), Mode::Record);
    send(&cassette.origin(FnOrigin::fixed(&[], b"")), login("hunter2")).await.unwrap();
    let cassette = open(directory.path(), Mode::Replay);
    send(&cassette.origin(NoNetwork), login("")).await.unwrap();
}

/// A server answered with 50,000 brackets, and the process was aborted: its stack had overflowed.
#[tokio::test]
async fn deep_json_is_replaced_as_a_whole() {
    let nested = |levels| format!("{}{{\"password\":\"hunter2\"}}{}", "[".repeat(levels), "]".repeat(levels));
    let server = || {
        let levels = [50_000, 128];
        FnOrigin::new(move |number, _| {
            let response = Response::builder().header("content-type", "application/json");
            Ok(response.body(Body::from(nested(levels[number]))).unwrap())
        })
    };
    let deep = |levels| {
        let mut request = request("POST", "https://api.example.com/", "");
        *request.body_mut() = Body::from(nested(levels));
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request
    };
    let by_pointer = Redaction::none().with_json("/0/0");
    for (redaction, is_kept) in
        [(Redaction::default(), false), (Redaction::none(), true), (by_pointer, false)]
    {
        let directory = tempdir().unwrap();
        let options = options().with_redaction(redaction);
        let open = |mode| Cassette::with_options(directory.path(), mode, options.clone()).unwrap();
        let cassette = open(Mode::Record);
        let origin = cassette.origin(server());
        for levels in [50_000, 128] {
            let received = send(&origin, deep(levels)).await.unwrap();
            assert_eq!(received.1, nested(levels), "the client gets all");
        }
        cassette.finish().await.unwrap();
        let text = texts(directory.path());
        assert_eq!(text.contains("hunter2"), is_kept);
        assert_eq!(text.contains("\"REDACTED: more than 128 levels of JSON\""), !is_kept);
        let cassette = open(Mode::Replay);
        for levels in [50_000, 128] {
            let replayed = send(&cassette.origin(NoNetwork), deep(levels)).await.unwrap();
            assert_eq!(replayed.1 == nested(levels), is_kept);
        }
        cassette.finish().await.unwrap();
    }
}
