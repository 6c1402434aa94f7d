//! Fuzzes the text of recorded exchanges, and HAR. Parsing must not panic; a parsed exchange that
//! is written and parsed again must be equal, and so must each body.
#![no_main]

use larder_cassette::{Cassette, CassetteOptions, RecordedExchange};
use libfuzzer_sys::fuzz_target;

const WITHOUT_BODY: &[u8] = b"larder exchange 1\n=== request\nPOST http://a/\n=== response\nHTTP/1.1 200 OK\n=== end\n";

fuzz_target!(|data: &[u8]| {
    if let Ok(exchange) = RecordedExchange::try_from(data) {
        restored(&exchange);
    }
    let mut exchange = RecordedExchange::try_from(WITHOUT_BODY).expect("a whole exchange");
    exchange.request.body = data.to_vec().into();
    exchange.response.body = exchange.request.body.clone();
    restored(&exchange);

    let Ok(cassette) = Cassette::from_har(data, CassetteOptions::default()) else { return };
    for exchange in cassette.exchanges() {
        restored(&exchange);
    }
    Cassette::from_har(cassette.export_har().as_bytes(), CassetteOptions::default()).expect("an own export");
});

/// Checks that an exchange is equal after it has been written and parsed, also with the line breaks
/// of Windows.
fn restored(exchange: &RecordedExchange) {
    let text = exchange.to_string();
    for text in [text.replace('\n', "\r\n"), text] {
        let parsed = RecordedExchange::try_from(text.as_bytes()).expect("it was just written");
        assert_eq!(parsed, *exchange);
    }
}
