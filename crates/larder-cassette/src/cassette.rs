//! The cassette: opens a directory, answers or forwards requests, and is checked at the end.
//!
//! `state` decides about requests, `recording` records responses on their way to the client,
//! `files` reads and writes the directory.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::ACCEPT_ENCODING};
use larder_core::{Body, Origin, policy::strip_hop_by_hop};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    CassetteError, CassetteErrorKind, CassetteOptions, CassetteOrigin, HarImport, Mode, RecordedExchange,
    RecordedRequest, Recorder, dates,
    files::{self, FileName},
    har,
    message::{self, Read},
    shared::Shared,
    state::{Decision, Recording, State},
};

/// Recorded HTTP exchanges in a directory, which answer the requests of a test.
///
/// [`origin`](Self::origin) puts it between a cache or client and the network. The features
/// `reqwest-middleware` and `tower` have further forms, and [`play`](Self::play) serves any other
/// client. Clones share one cassette.
///
/// A cassette is used by one test. Its recordings answer equal requests in the order in which they
/// were recorded, each once. Several tests may read one directory, each with a cassette of its own.
///
/// ```
/// use larder_cassette::{Cassette, Mode};
/// use larder_reqwest::CachedClient;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cassette = Cassette::open("tests/cassettes/users", Mode::Replay)?;
/// let client = CachedClient::builder().map_origin(cassette.wrap()).build()?;
/// let users = client.get("https://api.example.com/users").send().await?;
/// cassette.finish().await?;
/// # drop(users);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cassette {
    pub(crate) shared: Arc<Shared>,
}

/// The answer of a cassette to a request.
#[derive(Debug)]
pub enum Played {
    /// The recorded response.
    Response(Response<Body>),
    /// The request has to be sent, and its response passed to the recorder.
    Network(Request<Body>, Recorder),
}

impl fmt::Debug for Cassette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cassette")
            .field("directory", &self.shared.directory)
            .field("mode", &self.shared.mode)
            .finish_non_exhaustive()
    }
}

impl Cassette {
    /// Opens a directory with the default options. A relative path begins at the current directory,
    /// which is that of the package in tests.
    ///
    /// A directory that does not exist has no recordings; the modes that record create it.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if the directory cannot be read, or if a recording is damaged.
    pub fn open(directory: impl AsRef<Path>, mode: Mode) -> Result<Self, CassetteError> {
        Self::with_options(directory, mode, CassetteOptions::default())
    }

    /// Opens a directory with these options.
    ///
    /// All recordings, the files that end with `.exchange`, are read into memory.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if the directory cannot be read, or if a recording is damaged.
    pub fn with_options(
        directory: impl AsRef<Path>,
        mode: Mode,
        options: CassetteOptions,
    ) -> Result<Self, CassetteError> {
        let directory = directory.as_ref();
        let files = files::list(directory)?;
        let mut state = State::default();
        if mode != Mode::Record {
            // Escapes and Base64 make a body at most four times as long.
            let limit = options.max_body.saturating_mul(8).saturating_add(1 << 20);
            for FileName { name, number } in &files {
                if let Some(exchange) = files::read(&directory.join(name), limit)? {
                    let compared = options.rules.compared(&exchange.request);
                    let given = FileName::of_request(&exchange.request, &compared.digest(), *number);
                    let is_numbered = given.name == *name;
                    let (name, number, exchange) = (name.clone(), *number, Arc::new(exchange));
                    let is_used = false;
                    state.add(Recording { name, exchange, compared, number, is_numbered, is_used });
                }
            }
        }
        let replaced = if mode == Mode::Record { files } else { Vec::new() };
        Ok(Self::new(Some(directory.to_owned()), mode, options, replaced, state))
    }

    /// Creates a cassette without a directory, which records all requests in memory, for
    /// [`export_har`](Self::export_har).
    ///
    /// A body that is longer than [`CassetteOptions::max_body`] is passed on and not kept, and so
    /// are bodies after 256 MiB in all. This holds for requests and responses.
    pub fn recorder(options: CassetteOptions) -> Self {
        Self::new(None, Mode::Record, options, Vec::new(), State::default())
    }

    /// Creates a cassette without a directory, which replays a HAR.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if the HAR is not valid; see [`import_har`](Self::import_har).
    pub fn from_har(har: &[u8], options: CassetteOptions) -> Result<Self, CassetteError> {
        let cassette = Self::new(None, Mode::Replay, options, Vec::new(), State::default());
        cassette.import_har(har)?;
        Ok(cassette)
    }

    fn new(
        directory: Option<PathBuf>,
        mode: Mode,
        options: CassetteOptions,
        replaced: Vec<FileName>,
        state: State,
    ) -> Self {
        let (state, settled) = (Mutex::new(state), Notify::new());
        Self { shared: Arc::new(Shared { directory, mode, options, replaced, state, settled }) }
    }

    /// Returns the mode.
    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    /// Creates an origin that answers from the recordings, and sends requests to `network` as the
    /// mode permits.
    ///
    /// A cache above it decides as usual which requests need an origin.
    pub fn origin(&self, network: impl Origin) -> CassetteOrigin {
        CassetteOrigin::new(self.clone(), network)
    }

    /// Returns a function that creates [`origin`](Self::origin)s, for builders that call one, such as
    /// `larder_reqwest::CachedClientBuilder::map_origin`.
    ///
    /// ```
    /// use larder_cassette::{Cassette, Mode};
    /// use larder_reqwest::CachedClient;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cassette = Cassette::open("tests/cassettes/users", Mode::Replay)?;
    /// let client = CachedClient::builder().map_origin(cassette.wrap()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wrap<O: Origin>(&self) -> impl FnOnce(O) -> CassetteOrigin + Send + Sync + use<O> {
        let cassette = self.clone();
        move |network| cassette.origin(network)
    }

    /// Answers a request from the recordings, or returns it with a [`Recorder`] if it has to be
    /// sent. This is what the other forms use; use it for a client that has none.
    ///
    /// The body of the request is read whole, also if it is sent on.
    ///
    /// ```no_run
    /// use larder_cassette::{Cassette, Played};
    /// use larder_core::Body;
    ///
    /// /// Sends a request with a client of your own.
    /// async fn fetch(
    ///     cassette: &Cassette,
    ///     request: http::Request<Body>,
    ///     send: impl AsyncFn(http::Request<Body>) -> std::io::Result<http::Response<Body>>,
    /// ) -> Result<http::Response<Body>, Box<dyn std::error::Error>> {
    ///     Ok(match cassette.play(request).await? {
    ///         Played::Response(response) => response,
    ///         Played::Network(request, recorder) => recorder.record(send(request).await?)?,
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] of kind [`Missing`](CassetteErrorKind::Missing) if there is no
    /// recording and the mode does not permit the network. Also if the request's body fails or is
    /// longer than [`CassetteOptions::max_body`], or if its URL is not absolute.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point; the request is not counted then.
    pub async fn play(&self, request: Request<Body>) -> Result<Played, CassetteError> {
        let Shared { options, mode, state, .. } = &*self.shared;
        let (mut parts, body) = request.into_parts();
        let url = message::absolute_url(&parts)?;
        let (body, known, omitted) = match message::read(body, options.max_body, &url).await? {
            Read::Whole(bytes, trailers) => (message::body(bytes.clone(), trailers), bytes, None),
            Read::Long(body, length) if *mode == Mode::Record && self.shared.omits_long_bodies() => {
                (body, Bytes::new(), Some(length))
            }
            Read::Long(..) => return Err(message::too_long(options.max_body, &url)),
        };
        // In all modes, since rules may compare it.
        if !options.content_codings && parts.headers.contains_key(ACCEPT_ENCODING) {
            parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let mut recorded = RecordedRequest::new(parts.method.clone(), url);
        recorded.headers = parts.headers.clone();
        (recorded.body, recorded.omitted) = (known, omitted);
        strip_hop_by_hop(&mut recorded.headers);
        options.redaction.request(&mut recorded);
        let compared = options.rules.compared(&recorded);
        let decision = state.lock().decide(&compared, *mode, options, &self.shared.place())?;
        match decision {
            Decision::Replay(exchange) => {
                let mut response = exchange.response.clone();
                if options.current_dates {
                    dates::shift(&mut response.headers, exchange.recorded, options.clock.now());
                }
                Ok(Played::Response(message::response(response, &parts.method)))
            }
            Decision::Record { number, started } => {
                let recorder = Recorder::new(Arc::clone(&self.shared), recorded, compared, number, started);
                Ok(Played::Network(Request::from_parts(parts, body), recorder))
            }
        }
    }

    /// Checks that all recordings were used, and that each request had one.
    ///
    /// # Panics
    ///
    /// Panics if a recording was not used, in [`Mode::Replay`], or if a request had no recording,
    /// or could not be recorded. The message lists them.
    #[track_caller]
    pub fn assert_all_used(&self) {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
    }

    /// Checks that all recordings were used, and that each request had one, and returns what was
    /// not so.
    ///
    /// It finds requests of which no caller got the error, too, such as those of a cache in the
    /// background.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if a recording was not used, in [`Mode::Replay`], or if a
    /// request had no recording, or could not be recorded.
    pub fn check(&self) -> Result<(), CassetteError> {
        self.shared.state.lock().check(self.shared.mode, &self.shared.place())
    }

    /// Ends the use of the cassette: call it at the end of a test.
    ///
    /// - In [`Mode::Replay`], it checks that all recordings were used ([`check`](Self::check)).
    /// - In the modes that record, it waits for responses that are still being recorded, for at
    ///   most [`CassetteOptions::drain_timeout`].
    /// - In [`Mode::Record`], it then removes the recordings that this run has not replaced. A test
    ///   that fails before this call keeps them.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] as [`check`](Self::check) does, or if a file cannot be removed.
    ///
    /// # Panics
    ///
    /// Panics if a response is still being recorded and the tokio runtime has no timer.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point, and called again.
    pub async fn finish(&self) -> Result<(), CassetteError> {
        let limit = self.shared.options.drain_timeout;
        let is_pending = self.shared.state.lock().pending > 0;
        if is_pending && tokio::time::timeout(limit, self.all_settled()).await.is_err() {
            let text =
                format!("a response to a request of {} was not read within {limit:?}", self.shared.place());
            return Err(CassetteError::new(CassetteErrorKind::NotRecorded, text));
        }
        self.check()?;
        if let Some(directory) = &self.shared.directory {
            let kept: Vec<_> =
                self.shared.state.lock().recordings.iter().map(|recording| recording.name.clone()).collect();
            for old in self.shared.replaced.iter().filter(|old| !kept.contains(&old.name)) {
                files::remove(&directory.join(&old.name))?;
            }
        }
        Ok(())
    }

    /// Waits until no exchange is being recorded.
    async fn all_settled(&self) {
        loop {
            let settled = self.shared.settled.notified();
            if self.shared.state.lock().pending == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Returns the exchanges in the order in which they were recorded: those of this run in
    /// [`Mode::Record`], and otherwise those of the files, too.
    pub fn exchanges(&self) -> Vec<Arc<RecordedExchange>> {
        self.shared.state.lock().exchanges()
    }

    /// Returns the [`exchanges`](Self::exchanges) as a HAR 1.2, which browsers and other tools read.
    ///
    /// It has no secrets that the [`Redaction`](crate::Redaction) removes.
    pub fn export_har(&self) -> String {
        har::export(&self.exchanges())
    }

    /// Adds the exchanges of a HAR, as browsers and other tools write them, to the cassette and its
    /// directory.
    ///
    /// Secrets are removed. What a HAR cannot express is put right: fields of HTTP/2 that are no
    /// header fields, a content coding that the tool has decoded, the charset of text. Entries
    /// without a response, or without the content that it had, are left out and listed.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if the HAR is not valid, or if a file cannot be written. The
    /// entries before it have been imported then.
    pub fn import_har(&self, har: &[u8]) -> Result<HarImport, CassetteError> {
        let (exchanges, skipped) = har::import(har)?;
        let imported = exchanges.len();
        let Shared { options, mode, state, .. } = &*self.shared;
        for mut exchange in exchanges {
            options.redaction.request(&mut exchange.request);
            options.redaction.response(&mut exchange.response);
            let compared = options.rules.compared(&exchange.request);
            let number = state.lock().first_free(&compared);
            let is_used = *mode == Mode::Record;
            self.shared.add(exchange, compared, number, is_used)?;
        }
        Ok(HarImport::new(imported, skipped))
    }
}
