//! Recording and replaying through an origin: modes, sequences, strictness, and what can go wrong
//! on the way.

mod common;

use std::fs;

use common::{Counting, NoNetwork, files, open, options, request, send, texts};
use larder_cassette::{Cassette, CassetteErrorKind, Mode, Played};
use larder_core::Origin as _;
use larder_testkit::FnOrigin;
use tempfile::tempdir;

const USERS: &str = "https://api.example.com/users";

#[tokio::test]
async fn a_replay_returns_what_was_recorded_without_a_network() {
    let directory = tempdir().unwrap();
    let server = Counting::default();
    let cassette = open(directory.path(), Mode::Record);
    let origin = cassette.origin(server.clone());
    let mut recorded = Vec::new();
    for (method, url, body) in [
        ("GET", USERS, ""),
        ("POST", USERS, r#"{"name":"x"}"#),
        ("GET", USERS, ""),
        ("DELETE", "https://api.example.com/users/1", ""),
    ] {
        recorded.push(send(&origin, request(method, url, body)).await.unwrap());
    }
    cassette.finish().await.unwrap();
    assert_eq!(server.count(), 4);
    assert_eq!(recorded[1].0, 201);
    assert_eq!(files(directory.path()).len(), 4);

    let cassette = open(directory.path(), Mode::Replay);
    let origin = cassette.origin(NoNetwork);
    // Equal requests come in their order, others in any.
    for (index, (method, url, body)) in [
        (3, ("DELETE", "https://api.example.com/users/1", "")),
        (0, ("GET", USERS, "")),
        (2, ("GET", USERS, "")),
        (1, ("POST", USERS, r#"{"name":"x"}"#)),
    ] {
        assert_eq!(send(&origin, request(method, url, body)).await.as_ref(), Ok(&recorded[index]));
    }
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn a_request_without_a_recording_shows_the_nearest_ones() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let origin = cassette.origin(Counting::default());
    let json = |body| {
        let mut request = request("POST", USERS, body);
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request.headers_mut().insert("authorization", "Bearer hunter2".parse().unwrap());
        request
    };
    send(&origin, json(r#"{"name":"Anna","age":7}"#)).await.unwrap();
    send(&origin, request("GET", "https://api.example.com/users?page=1&size=10", "")).await.unwrap();
    cassette.finish().await.unwrap();

    let cassette = open(directory.path(), Mode::Replay);
    let origin = cassette.origin(NoNetwork);
    let error = send(&origin, json(r#"{"age":8,"name":"Anna"}"#)).await.unwrap_err();
    assert!(
        error.starts_with(&format!("no recording of this request in {}", directory.path().display())),
        "{error}"
    );
    assert!(
        error.contains("POST https://api.example.com/users\n    body: {\"age\":8,\"name\":\"Anna\"}"),
        "{error}"
    );
    assert!(error.contains("body at /age: recorded 7, requested 8"), "{error}");
    assert!(error.contains("Mode::RecordMissing"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(!error.contains("page=1"), "only what is near: {error}");

    let error = send(&origin, request("POST", USERS, "a=1&b=2")).await.unwrap_err();
    assert!(error.contains("body: from byte 0, recorded '{"), "{error}");

    let error =
        send(&origin, request("GET", "https://api.example.com/users?size=10&page=2", "")).await.unwrap_err();
    assert!(error.contains("query: recorded 'page=1'\n    query: requested 'page=2'"), "{error}");

    let error = cassette.check().unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::Missing);
    assert!(error.to_string().contains("2 more requests had no recording"), "{error}");
}

#[tokio::test]
async fn an_error_names_an_empty_cassette_and_a_used_recording() {
    let directory = tempdir().unwrap();
    let nothing = open(&directory.path().join("absent"), Mode::Replay);
    let error = send(&nothing.origin(NoNetwork), request("GET", USERS, "")).await.unwrap_err();
    assert!(error.contains("Nothing has been recorded there."), "{error}");
    assert!(!directory.path().join("absent").exists(), "a replay writes nothing");

    let recording = open(directory.path(), Mode::RecordMissing);
    send(&recording.origin(Counting::default()), request("GET", USERS, "")).await.unwrap();
    let cassette = open(directory.path(), Mode::Replay);
    let origin = cassette.origin(NoNetwork);
    send(&origin, request("GET", USERS, "")).await.unwrap();
    let error = send(&origin, request("GET", USERS, "")).await.unwrap_err();
    assert!(error.contains("once, and was sent again"), "{error}");

    let repeating =
        Cassette::with_options(directory.path(), Mode::Replay, options().with_repeats(true)).unwrap();
    for _ in 0..3 {
        send(&repeating.origin(NoNetwork), request("GET", USERS, "")).await.unwrap();
    }
    repeating.assert_all_used();
}

#[tokio::test]
async fn unused_recordings_are_reported() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    for url in [USERS, "https://api.example.com/other"] {
        send(&cassette.origin(Counting::default()), request("GET", url, "")).await.unwrap();
    }
    let cassette = open(directory.path(), Mode::Replay);
    send(&cassette.origin(NoNetwork), request("GET", USERS, "")).await.unwrap();
    let error = cassette.finish().await.unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::Unused);
    assert!(error.to_string().contains("1 of 2 recordings"), "{error}");
    assert!(
        error.to_string().contains("GET https://api.example.com/other\n    get-api-example-com-other."),
        "{error}"
    );
}

#[tokio::test]
async fn only_missing_requests_reach_the_network() {
    let directory = tempdir().unwrap();
    let server = Counting::default();
    let cassette = open(directory.path(), Mode::RecordMissing);
    send(&cassette.origin(server.clone()), request("GET", USERS, "")).await.unwrap();
    let cassette = open(directory.path(), Mode::RecordMissing);
    let origin = cassette.origin(server.clone());
    let first = send(&origin, request("GET", USERS, "")).await.unwrap();
    assert_eq!((server.count(), &*first.1), (1, "1 GET https://api.example.com/users"));
    let second = send(&origin, request("GET", USERS, "")).await.unwrap();
    assert_eq!((server.count(), &*second.1), (2, "2 GET https://api.example.com/users"));
    cassette.finish().await.unwrap();

    let cassette = open(directory.path(), Mode::Replay);
    let origin = cassette.origin(NoNetwork);
    assert_eq!(send(&origin, request("GET", USERS, "")).await, Ok(first));
    assert_eq!(send(&origin, request("GET", USERS, "")).await, Ok(second));
    cassette.finish().await.unwrap();
}

/// A developer recorded again after an API had changed, and the test failed halfway: the old
/// recordings had been deleted at its start.
#[tokio::test]
async fn a_new_recording_replaces_the_old_ones_when_the_test_has_passed() {
    let directory = tempdir().unwrap();
    let old = open(directory.path(), Mode::Record);
    for url in [USERS, "https://api.example.com/v1"] {
        send(&old.origin(Counting::default()), request("GET", url, "")).await.unwrap();
    }
    fs::write(directory.path().join("README.md"), "mine").unwrap();
    fs::write(directory.path().join("damaged.exchange"), "half").unwrap();

    let failed = open(directory.path(), Mode::Record);
    send(&failed.origin(Counting::default()), request("GET", "https://api.example.com/v2", ""))
        .await
        .unwrap();
    drop(failed);
    assert_eq!(files(directory.path()).len(), 5, "nothing is removed without finish()");

    let cassette = open(directory.path(), Mode::Record);
    let server = Counting::default();
    send(&server, request("GET", USERS, "")).await.unwrap();
    send(&cassette.origin(server), request("GET", USERS, "")).await.unwrap();
    cassette.finish().await.unwrap();
    let names = files(directory.path());
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "README.md");
    let text = texts(directory.path());
    assert!(text.contains("2 GET https://api.example.com/users"), "{text}");
}

#[tokio::test]
async fn requests_can_have_to_come_in_order() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let origin = cassette.origin(Counting::default());
    for url in [USERS, "https://api.example.com/a", USERS] {
        send(&origin, request("GET", url, "")).await.unwrap();
    }
    let options = options().with_in_order(true);
    let cassette = Cassette::with_options(directory.path(), Mode::Replay, options.clone()).unwrap();
    for url in [USERS, "https://api.example.com/a", USERS] {
        send(&cassette.origin(NoNetwork), request("GET", url, "")).await.unwrap();
    }
    cassette.finish().await.unwrap();
    let cassette = Cassette::with_options(directory.path(), Mode::Replay, options).unwrap();
    let error =
        send(&cassette.origin(NoNetwork), request("GET", "https://api.example.com/a", "")).await.unwrap_err();
    assert!(
        error.contains("is not the next one")
            && error.contains("expected:\n  GET https://api.example.com/users"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_request_is_reported_as_not_recorded() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::RecordMissing);
    let refused = FnOrigin::new(|_, _| Err(larder_core::OriginErrorKind::Connect.into()));
    send(&cassette.origin(refused), request("GET", USERS, "")).await.unwrap_err();
    assert!(cassette.finish().await.unwrap_err().to_string().contains("there was no response"));
}

#[tokio::test]
async fn a_file_that_was_edited_has_a_matching_length() {
    let directory = tempdir().unwrap();
    fs::write(
        directory.path().join("login.exchange"),
        "larder exchange 1\n# Written by hand.\n\n=== request\nGET https://api.example.com/\n=== response\n\
         HTTP/1.1 200 OK\ncontent-length: 99\n=== response body\nlonger than it was\n=== end\n",
    )
    .unwrap();
    let cassette = open(directory.path(), Mode::Replay);
    let replayed =
        cassette.origin(NoNetwork).fetch(request("GET", "https://api.example.com", "")).await.unwrap();
    assert_eq!(replayed.headers()["content-length"], "18");
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_an_error_with_its_line() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("a.exchange"), "larder exchange 1\n\n=== request\nGET /relative\n")
        .unwrap();
    let error = Cassette::open(directory.path(), Mode::Replay).unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::Damaged);
    assert!(
        error.to_string().ends_with(
            "a.exchange: line 4: expected a method and an absolute URL, such as `GET https://example.com/`"
        ),
        "{error}"
    );
}

/// Two test processes recorded the same cassette at once, and each read half of what the other
/// wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_cassettes_record_one_directory_at_once() {
    let directory = tempdir().unwrap();
    let path = directory.path().to_owned();
    let tasks = (0..8).map(|number| {
        let path = path.clone();
        tokio::spawn(async move {
            let mode = if number % 2 == 0 { Mode::Record } else { Mode::RecordMissing };
            for _ in 0..10 {
                // Opening reads all files: none may be half.
                let cassette = Cassette::open(&path, mode).unwrap();
                let origin = cassette.origin(Counting::default());
                for page in 0..5 {
                    send(&origin, request("GET", &format!("{USERS}?page={page}"), "")).await.unwrap();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let names = files(&path);
    assert_eq!(names.len(), 5, "{names:?}");
    let cassette = open(&path, Mode::Replay);
    for page in 0..5 {
        send(&cassette.origin(NoNetwork), request("GET", &format!("{USERS}?page={page}"), "")).await.unwrap();
    }
    cassette.finish().await.unwrap();
}

#[tokio::test]
async fn a_recorder_without_a_response_is_reported() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    let played = cassette.play(request("GET", USERS, "")).await.unwrap();
    assert!(matches!(played, Played::Network(..)));
    drop(played);
    assert!(
        cassette
            .check()
            .unwrap_err()
            .to_string()
            .contains("there was no response, or the request was cancelled")
    );
    let error = cassette.play(request("GET", "/relative", "")).await.unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::Request);
}

/// A developer deleted the second of three recordings to record it again. The third answered in its
/// place, and what was recorded then was dropped, since its name was that of the third.
#[tokio::test]
async fn a_gap_is_recorded_under_its_number() {
    let directory = tempdir().unwrap();
    let server = Counting::default();
    let cassette = open(directory.path(), Mode::Record);
    for _ in 0..3 {
        send(&cassette.origin(server.clone()), request("GET", USERS, "")).await.unwrap();
    }
    cassette.finish().await.unwrap();
    let names = files(directory.path());
    let second = names.iter().find(|name| name.ends_with(".2.exchange")).unwrap();
    fs::remove_file(directory.path().join(second)).unwrap();

    let cassette = open(directory.path(), Mode::Replay);
    let origin = cassette.origin(NoNetwork);
    send(&origin, request("GET", USERS, "")).await.unwrap();
    let error = send(&origin, request("GET", USERS, "")).await.unwrap_err();
    assert!(error.contains(" has no recording 2 of this request, but a later one:\n  GET "), "{error}");

    for mode in [Mode::RecordMissing, Mode::Replay] {
        let cassette = open(directory.path(), mode);
        let origin = cassette.origin(server.clone());
        for number in [1, 4, 3] {
            let (_, text) = send(&origin, request("GET", USERS, "")).await.unwrap();
            assert_eq!(text, format!("{number} GET {USERS}"));
        }
        cassette.finish().await.unwrap();
        assert_eq!((server.count(), files(directory.path())), (4, names.clone()));
    }

    // The entries of a HAR take the free numbers, too.
    fs::remove_file(directory.path().join(second)).unwrap();
    let one = Cassette::recorder(options());
    send(&one.origin(server), request("GET", USERS, "")).await.unwrap();
    let cassette = open(directory.path(), Mode::RecordMissing);
    for _ in 0..2 {
        cassette.import_har(one.export_har().as_bytes()).unwrap();
    }
    assert_eq!(files(directory.path()).len(), 4);
}

#[tokio::test]
async fn recordings_with_names_of_their_own_answer_between_the_numbered_ones() {
    let directory = tempdir().unwrap();
    let server = Counting::default();
    let cassette = open(directory.path(), Mode::Record);
    for _ in 0..3 {
        send(&cassette.origin(server.clone()), request("GET", USERS, "")).await.unwrap();
    }
    cassette.finish().await.unwrap();
    for name in files(directory.path()).iter().filter(|name| !name.ends_with(".2.exchange")) {
        let own = if name.ends_with(".3.exchange") { "z.exchange" } else { "a.exchange" };
        fs::rename(directory.path().join(name), directory.path().join(own)).unwrap();
    }
    let options = options().with_repeats(true);
    let cassette = Cassette::with_options(directory.path(), Mode::Replay, options).unwrap();
    for number in [1, 2, 3, 3] {
        let (_, text) = send(&cassette.origin(NoNetwork), request("GET", USERS, "")).await.unwrap();
        assert_eq!(text, format!("{number} GET {USERS}"));
    }
    cassette.finish().await.unwrap();
}

/// A recording was edited to answer another request, and the first one could not be recorded again.
#[tokio::test]
async fn a_recording_whose_name_is_taken_is_reported() {
    let directory = tempdir().unwrap();
    let cassette = open(directory.path(), Mode::Record);
    send(&cassette.origin(Counting::default()), request("GET", USERS, "")).await.unwrap();
    cassette.finish().await.unwrap();
    let path = directory.path().join(&files(directory.path())[0]);
    let edited = fs::read_to_string(&path).unwrap().replacen(USERS, "https://api.example.com/edited", 1);
    fs::write(&path, edited).unwrap();

    let cassette = open(directory.path(), Mode::RecordMissing);
    // The error comes with the end of the body.
    let sent = send(&cassette.origin(Counting::default()), request("GET", USERS, "")).await;
    assert!(sent.is_err(), "{sent:?}");
    let error = cassette.check().unwrap_err();
    assert_eq!(error.kind(), CassetteErrorKind::NotRecorded);
    assert!(error.to_string().contains(" is taken: rename this file"), "{error}");
}
