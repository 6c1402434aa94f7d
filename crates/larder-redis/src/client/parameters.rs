//! Reads the options that a connection URL contains as query parameters. `servers` parses the rest.

use std::time::Duration;

use crate::{RedisConnectError, RedisOptions};

/// Range of a timeout in a URL.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// The options in a URL. They override those of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    timeout: Option<Duration>,
    required: Option<bool>,
}

impl Parameters {
    /// Removes the options from a URL and returns both. Other parameters stay in the URL.
    pub(crate) fn split(url: &str) -> Result<(String, Self), RedisConnectError> {
        let mut found = Self::default();
        let Some((start, query)) = url.split_once('?') else { return Ok((url.to_owned(), found)) };
        let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
        let mut others = Vec::new();
        for parameter in query.split('&') {
            match parameter.split_once('=') {
                Some(("timeout", value)) => {
                    let wrong = "timeout in the server URL is not between 1ms and 60s; e.g. ?timeout=250ms";
                    let timeout = parse_duration(value).filter(|timeout| TIMEOUTS.contains(timeout));
                    found.timeout = Some(timeout.ok_or_else(|| RedisConnectError::new(wrong))?);
                }
                Some(("required", value)) => {
                    let wrong = "required in the server URL is neither true nor false";
                    found.required = Some(value.parse().map_err(|_| RedisConnectError::new(wrong))?);
                }
                _ if parameter.is_empty() => {}
                _ => others.push(parameter),
            }
        }
        let separator = if others.is_empty() { "" } else { "?" };
        Ok((format!("{start}{separator}{}{fragment}", others.join("&")), found))
    }

    /// Returns the program's options with those of the URL. Connecting may take twice as long as a
    /// command.
    pub(crate) fn over(self, mut options: RedisOptions) -> RedisOptions {
        if let Some(timeout) = self.timeout {
            options.command_timeout = Some(timeout);
            options.connect_timeout = options.connect_timeout.max(timeout * 2);
        }
        options.lazy_connect = self.required.map_or(options.lazy_connect, |required| !required);
        options
    }
}

/// Parses a number of milliseconds or seconds, such as `250ms` or `2s`.
fn parse_duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return Some(Duration::from_millis(millis.parse().ok()?));
    }
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_a_url() {
        let ms = |millis| Some(Duration::from_millis(millis));
        for (url, expected) in [
            ("redis://h/0", Some(("redis://h/0", None, None))),
            ("redis://h/0?timeout=250ms", Some(("redis://h/0", ms(250), None))),
            ("redis://h?protocol=resp3&timeout=2s", Some(("redis://h?protocol=resp3", ms(2000), None))),
            ("rediss://h?required=true#insecure", Some(("rediss://h#insecure", None, Some(true)))),
            ("redis+cluster://h?required=false&timeout=1ms", Some(("redis+cluster://h", ms(1), Some(false)))),
            ("redis://h?timeout=50", None),
            ("redis://h?timeout=0ms", None),
            ("redis://h?timeout=1000s", None),
            ("redis://h?timeout=-1s", None),
            ("redis://h?required=yes", None),
        ] {
            let expected =
                expected.map(|(url, timeout, required)| (url.to_owned(), Parameters { timeout, required }));
            assert_eq!(Parameters::split(url).ok(), expected, "{url}");
        }
        let (_, parameters) =
            Parameters::split("redis://h?timeout=400ms&required=true").expect("it is valid");
        let options = parameters.over(RedisOptions::default().with_lazy_connect(true));
        assert_eq!((options.command_timeout, options.connect_timeout), (ms(400), ms(800).unwrap()));
        assert!(!options.lazy_connect);
    }
}
