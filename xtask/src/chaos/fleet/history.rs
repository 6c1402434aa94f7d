//! Defines what a run records: each operation of a client with its begin and end, and each version
//! that the origin has had. All times are read from one monotonic clock.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Microseconds since the beginning of the run.
pub(super) type Micros = u64;
/// Number of a resource of the origin.
pub(super) type Resource = u32;

/// One life of a node: from its start until it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) node: usize,
    pub(super) life: u32,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}.{}", self.node + 1, self.life)
    }
}

/// What a removal concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Resource(Resource),
    Group(u32),
    Prefix(u32),
    All,
}

/// Resources are spread over this many groups, and over this many prefixes.
pub(super) const GROUPS: u32 = 4;
pub(super) const PREFIXES: u32 = 3;

impl Scope {
    /// Returns whether a removal of this scope concerns a resource.
    pub(super) fn includes(self, resource: Resource) -> bool {
        match self {
            Self::Resource(one) => one == resource,
            Self::Group(group) => resource % GROUPS == group,
            Self::Prefix(prefix) => resource % PREFIXES == prefix,
            Self::All => true,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(resource) => write!(f, "r{resource}"),
            Self::Group(group) => write!(f, "group g{group}"),
            Self::Prefix(prefix) => write!(f, "prefix /s{prefix}"),
            Self::All => write!(f, "everything"),
        }
    }
}

/// What a client learned of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A response with this version, and whether the cache had it.
    Read { version: u64, is_hit: bool },
    /// A response of which the parts are of different versions.
    Mixed,
    /// The removal has returned without an error.
    Confirmed,
    /// The removal has returned with an error, or it is not known whether it is confirmed.
    NotConfirmed,
    /// No response, or an error.
    Failed,
}

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read(Resource),
    /// A purge through the admin listener.
    Purge(Scope),
    /// A PUT, which created this version at the origin and invalidates the resource. Version 0 if
    /// no response has arrived.
    Write(Resource, u64),
}

impl Kind {
    /// Returns what the operation removes. `None` for a read.
    pub(super) fn removes(self) -> Option<Scope> {
        match self {
            Self::Read(_) => None,
            Self::Purge(scope) => Some(scope),
            Self::Write(resource, _) => Some(Scope::Resource(resource)),
        }
    }
}

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) begin: Micros,
    pub(super) end: Micros,
    /// The process that the client sent it to. `None` if the node was restarted meanwhile.
    pub(super) process: Option<Process>,
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |micros: Micros| micros as f64 / 1e6;
        write!(f, "{:>10.6} to {:>10.6}  ", seconds(self.begin), seconds(self.end))?;
        match self.process {
            Some(process) => write!(f, "{process}  ")?,
            None => write!(f, "restarted  ")?,
        }
        match self.kind {
            Kind::Read(resource) => write!(f, "read r{resource}: ")?,
            Kind::Purge(scope) => write!(f, "purge {scope}: ")?,
            Kind::Write(resource, version) => write!(f, "put r{resource} = v{version}: ")?,
        }
        match self.outcome {
            Outcome::Read { version, is_hit: true } => write!(f, "v{version} (hit)"),
            Outcome::Read { version, is_hit: false } => write!(f, "v{version} (origin)"),
            Outcome::Mixed => write!(f, "parts of different versions"),
            Outcome::Confirmed => write!(f, "confirmed"),
            Outcome::NotConfirmed => write!(f, "not confirmed"),
            Outcome::Failed => write!(f, "failed"),
        }
    }
}

/// A version that the origin had from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) resource: Resource,
    pub(super) version: u64,
    pub(super) at: Micros,
}

/// Everything that happened in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) operations: Vec<Operation>,
    pub(super) versions: Vec<Version>,
}

/// Records a history. Threads share it.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    history: Mutex<History>,
}

impl Recorder {
    #[expect(clippy::disallowed_methods, reason = "the clock of the history")]
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), history: Mutex::default() }
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> Micros {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records an operation that ends now.
    pub(super) fn record(&self, begin: Micros, process: Option<Process>, kind: Kind, outcome: Outcome) {
        let operation = Operation { begin, end: self.now(), process, kind, outcome };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).operations.push(operation);
    }

    /// Records a version that the origin has from now on.
    pub(super) fn version(&self, resource: Resource, version: u64) {
        let version = Version { resource, version, at: self.now() };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).versions.push(version);
    }

    /// Passes what was recorded so far.
    pub(super) fn with<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
