//! What a cassette knows while it is used: its recordings, which of them were used, and what went
//! wrong.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use larder_core::Timestamp;

use crate::{
    CassetteError, CassetteErrorKind, CassetteOptions, Mode, RecordedExchange, difference, matching::Compared,
};

/// A recording, from a file or of this run.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The name of its file, also if the cassette has no directory.
    pub(crate) name: String,
    pub(crate) exchange: Arc<RecordedExchange>,
    pub(crate) compared: Compared,
    /// The number in its name.
    pub(crate) number: usize,
    /// Whether its name is the one that it gets when it is recorded. Others are those that a person
    /// has named or edited, and those that were recorded with other rules.
    pub(crate) is_numbered: bool,
    pub(crate) is_used: bool,
}

/// Equal requests.
#[derive(Debug, Default)]
struct Group {
    /// Indices of the recordings that answer the request with their number, from 1.
    numbered: BTreeMap<usize, usize>,
    /// Indices of the other recordings. In their order, they answer the requests between.
    others: Vec<usize>,
    /// How many such requests there were.
    requested: usize,
}

impl Group {
    fn count(&self) -> usize {
        self.numbered.len() + self.others.len()
    }

    /// Returns the number of the last request that has a recording; 0 if none has.
    fn last(&self) -> usize {
        let last = self.numbered.last_key_value().map_or(0, |(number, _)| *number);
        last.max(self.count())
    }

    /// Returns the index of the recording that answers the `number`-th request.
    fn find(&self, number: usize) -> Option<usize> {
        if let Some(index) = self.numbered.get(&number) {
            return Some(*index);
        }
        if self.others.is_empty() {
            return None;
        }
        let before = self.numbered.range(..number).count();
        self.others.get(number.checked_sub(before + 1)?).copied()
    }

    /// Returns the first number of a request that has no recording.
    fn first_free(&self) -> usize {
        let end = self.count() + 1;
        if self.last() < end {
            return end;
        }
        (1..end).find(|number| self.find(*number).is_none()).unwrap_or(end)
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// This recording.
    Replay(Arc<RecordedExchange>),
    /// The network; the exchange is recorded as the `number`-th of equal ones.
    Record { number: usize, started: Timestamp },
}

/// The state of a cassette, behind a lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) recordings: Vec<Recording>,
    /// Indices of the recordings by name.
    names: HashMap<String, usize>,
    groups: HashMap<Compared, Group>,
    /// Indices of the recordings in the order in which they were recorded.
    order: Vec<usize>,
    /// Requests without a recording, one text each.
    missing: Vec<String>,
    /// Exchanges that could not be recorded, one text each.
    not_recorded: Vec<String>,
    /// Exchanges that are being recorded.
    pub(crate) pending: usize,
    /// Bytes of the bodies of this run.
    pub(crate) bytes: u64,
    last_started: Timestamp,
}

impl State {
    /// Adds a recording. One of the same name is replaced.
    pub(crate) fn add(&mut self, recording: Recording) {
        if let Some(index) = self.names.get(&recording.name) {
            self.recordings[*index] = recording;
            return;
        }
        let index = self.recordings.len();
        self.names.insert(recording.name.clone(), index);
        let time = recording.exchange.recorded.unwrap_or_default();
        let (number, is_numbered) = (recording.number, recording.is_numbered);
        let compared = recording.compared.clone();
        self.recordings.push(recording);
        let all = &self.recordings;
        let time_of = |index: &usize| all[*index].exchange.recorded.unwrap_or_default();
        let group = self.groups.entry(compared).or_default();
        // Two files can have one number, if a normal form makes their requests equal.
        if is_numbered && !group.numbered.contains_key(&number) {
            group.numbered.insert(number, index);
        } else {
            let key = |other: &usize| (all[*other].number, time_of(other));
            let at = group.others.partition_point(|other| key(other) <= (number, time));
            group.others.insert(at, index);
        }
        let at = self.order.partition_point(|other| (time_of(other), all[*other].number) <= (time, number));
        self.order.insert(at, index);
    }

    /// Returns the first number that no recording of equal requests has.
    pub(crate) fn first_free(&self, compared: &Compared) -> usize {
        self.groups.get(compared).map_or(1, Group::first_free)
    }

    /// Returns whether there is a recording with this name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Decides about a request.
    pub(crate) fn decide(
        &mut self,
        compared: &Compared,
        mode: Mode,
        options: &CassetteOptions,
        place: &str,
    ) -> Result<Decision, CassetteError> {
        if mode != Mode::Record && options.in_order {
            self.check_order(compared, place)?;
        }
        let group = match self.groups.get_mut(compared) {
            Some(group) => group,
            None => self.groups.entry(compared.clone()).or_default(),
        };
        let number = group.requested + 1;
        let last = group.last();
        let found = match mode {
            Mode::Record => None,
            Mode::Replay | Mode::RecordMissing if options.repeats => group.find(number.min(last)),
            Mode::Replay | Mode::RecordMissing => group.find(number),
        };
        if let Some(index) = found {
            group.requested = number;
            let recording = &mut self.recordings[index];
            recording.is_used = true;
            return Ok(Decision::Replay(Arc::clone(&recording.exchange)));
        }
        if mode == Mode::Replay {
            let error = self.missing(compared, place);
            self.missing.push(error.to_string());
            return Err(error);
        }
        group.requested = number;
        // Later than the one before, so that the order of the recordings is that of the requests.
        let started = options.clock.now().max(self.last_started.saturating_add(Duration::from_millis(1)));
        self.last_started = started;
        self.pending += 1;
        Ok(Decision::Record { number, started })
    }

    /// Checks that a request is the next one by the order of the recordings.
    fn check_order(&mut self, compared: &Compared, place: &str) -> Result<(), CassetteError> {
        let next = self.order.iter().map(|index| &self.recordings[*index]).find(|next| !next.is_used);
        let Some(next) = next.filter(|next| next.compared != *compared) else { return Ok(()) };
        let group = self.groups.get(compared);
        if group.and_then(|group| group.find(group.requested + 1)).is_none() {
            return Ok(());
        }
        let text = format!(
            "the request is not the next one of {place}, which answers in the order of the recordings:\n  {}\n\
             expected:\n  {}\n  {}",
            difference::summary(compared),
            difference::summary(&next.compared),
            next.name
        );
        self.missing.push(text.clone());
        Err(CassetteError::new(CassetteErrorKind::Missing, text))
    }

    /// Returns the error of a request without a recording.
    fn missing(&self, compared: &Compared, place: &str) -> CassetteError {
        let request = difference::summary(compared);
        let group = self.groups.get(compared);
        let (recorded, last) = group.map_or((0, 0), |group| (group.count(), group.last()));
        let number = group.map_or(0, |group| group.requested) + 1;
        let mut text = match recorded {
            1.. if number < last => {
                format!("{place} has no recording {number} of this request, but a later one:\n  {request}")
            }
            0 => format!("no recording of this request in {place}:\n  {request}"),
            _ => {
                let times = if recorded == 1 { "once".to_owned() } else { format!("{recorded} times") };
                format!("this request is in {place} {times}, and was sent again:\n  {request}")
            }
        };
        if recorded > 0 && number > last {
            text.push_str("\nCassetteOptions::repeats answers further requests with the last recording.");
        } else if self.recordings.is_empty() {
            text.push_str("\nNothing has been recorded there.");
        } else if recorded == 0 {
            text.push_str(&format!("\nnearest of {} recordings:", self.recordings.len()));
            let recorded = self.recordings.iter().map(|recording| (&*recording.name, &recording.compared));
            text.push_str(&difference::nearest(compared, recorded));
        }
        text.push_str(
            "\nTo record it, run once with Mode::RecordMissing, or with Mode::Record to record all again.",
        );
        CassetteError::new(CassetteErrorKind::Missing, text)
    }

    /// Notes that an exchange could not be recorded.
    pub(crate) fn not_recorded(&mut self, text: String) {
        self.not_recorded.push(text);
    }

    /// Returns an error if a request had no recording, an exchange could not be recorded, or a
    /// recording was not used. In the modes that record, recordings may be unused.
    pub(crate) fn check(&self, mode: Mode, place: &str) -> Result<(), CassetteError> {
        if let Some(first) = self.missing.first() {
            let more = match self.missing.len() - 1 {
                0 => String::new(),
                more => format!("\n({more} more requests had no recording)"),
            };
            return Err(CassetteError::new(CassetteErrorKind::Missing, format!("{first}{more}")));
        }
        if !self.not_recorded.is_empty() {
            let text = format!("not recorded in {place}:\n  {}", self.not_recorded.join("\n  "));
            return Err(CassetteError::new(CassetteErrorKind::NotRecorded, text));
        }
        let unused: Vec<_> = self.recordings.iter().filter(|recording| !recording.is_used).collect();
        if mode != Mode::Replay || unused.is_empty() {
            return Ok(());
        }
        let mut text =
            format!("{} of {} recordings in {place} were not used:", unused.len(), self.recordings.len());
        for recording in unused.iter().take(20) {
            let request = &recording.exchange.request;
            text.push_str(&format!("\n  {} {}\n    {}", request.method, request.url, recording.name));
        }
        text.push_str(
            "\nIf they are no longer needed, remove the files, or record all again with Mode::Record.",
        );
        Err(CassetteError::new(CassetteErrorKind::Unused, text))
    }

    /// Returns the exchanges in the order in which they were recorded.
    pub(crate) fn exchanges(&self) -> Vec<Arc<RecordedExchange>> {
        self.order.iter().map(|index| Arc::clone(&self.recordings[*index].exchange)).collect()
    }
}
