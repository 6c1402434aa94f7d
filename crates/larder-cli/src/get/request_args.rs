//! The options of `larder get` that change the request: those of curl, with the same meaning.

use std::io::Read as _;

use http::{Method, header::CONTENT_TYPE};
use larder::client::RequestBuilder;

use crate::store_url::UsageError;

/// Longest content of a request, in bytes.
const MAX_DATA: u64 = 64 << 20;

/// The options of a request.
#[derive(Debug, clap::Args)]
pub(super) struct RequestArgs {
    /// Method of the requests [default: GET, with --data POST, with --head HEAD].
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = parse_method)]
    method: Option<Method>,
    /// Content of the request, as application/x-www-form-urlencoded; @FILE reads it from a file.
    ///
    /// The method becomes POST. With several --data options, the values are joined by &. Line
    /// breaks of files are removed, as in curl. @- reads standard input.
    #[arg(short, long, value_name = "DATA")]
    data: Vec<String>,
    /// Request only the headers (HEAD), and print them.
    #[arg(short = 'I', long, conflicts_with = "data")]
    pub(super) head: bool,
    /// Follow redirects. This is the default; the option is here for people who know curl.
    #[arg(short = 'L', long)]
    location: bool,
}

/// What is requested.
#[derive(Debug, Clone)]
pub(super) struct RequestPlan {
    pub(super) method: Method,
    content: Option<Vec<u8>>,
    has_content_type: bool,
}

impl RequestArgs {
    /// Reads the content of the request. `headers` are the values of `--header`.
    pub(super) fn plan(&self, headers: &[String]) -> Result<RequestPlan, UsageError> {
        let content = match &*self.data {
            [] => None,
            parts => {
                let parts = parts.iter().map(|part| data(part)).collect::<Result<Vec<_>, _>>()?;
                Some(parts.join(&b'&'))
            }
        };
        let method = self.method.clone().unwrap_or(match (self.head, &content) {
            (true, _) => Method::HEAD,
            (_, Some(_)) => Method::POST,
            _ => Method::GET,
        });
        let has_content_type = headers.iter().any(|line| {
            let name = line.split([':', ';']).next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(CONTENT_TYPE.as_str())
        });
        Ok(RequestPlan { method, content, has_content_type })
    }
}

impl RequestPlan {
    /// Adds the content to a request.
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        let Some(content) = &self.content else { return request };
        let request = request.body(content.clone());
        if self.has_content_type {
            return request;
        }
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
    }
}

/// Parses a method. Methods are case-sensitive; most people mean the upper case.
fn parse_method(text: &str) -> Result<Method, &'static str> {
    Method::from_bytes(text.as_bytes()).map_err(|_| "not a method; e.g. PUT")
}

/// Returns the content of one `--data` option.
fn data(text: &str) -> Result<Vec<u8>, UsageError> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let wrong = |why: &dyn std::fmt::Display| UsageError(format!("--data @{path}: {why}"));
    let mut content = Vec::new();
    let read = match path {
        "-" => std::io::stdin().lock().take(MAX_DATA + 1).read_to_end(&mut content),
        _ => std::fs::File::open(path).and_then(|file| file.take(MAX_DATA + 1).read_to_end(&mut content)),
    };
    if read.map_err(|error| wrong(&error))? as u64 > MAX_DATA {
        return Err(wrong(&"more than 64 MiB"));
    }
    content.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    Ok(content)
}
