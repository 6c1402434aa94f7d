//! Parts (RFC 9111 §3.3, §3.4): when two of one representation become one.

use crate::{ByteRange, StoredHead};

/// Where the bytes of a combined body come from, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// These bytes of what is stored, counted from the start of its body.
    Stored {
        /// The first.
        from: u64,
        /// One after the last.
        to: u64,
    },
    /// The body that has just arrived, all of it.
    Arrived,
}

/// Two parts put together.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Combined {
    /// What the whole is: 200 if nothing is missing any more, a longer 206 otherwise.
    pub head: StoredHead,
    /// How its body is laid out.
    pub sources: Vec<Source>,
}

impl Combined {
    /// Combines a stored part with one that has just arrived.
    ///
    /// Only with the same *strong* validator (§3.4), and only if no byte is missing between them. What has arrived is
    /// newer, and its fields count.
    pub fn of(stored: &StoredHead, arrived: &StoredHead) -> Option<Self> {
        let (old, new) = (stored.part?, arrived.part?);
        stored.strong_tag().filter(|tag| arrived.strong_tag() == Some(tag))?;
        let same_whole = old.complete.is_some() && old.complete == new.complete;
        let touching = new.first <= old.last + 1 && old.first <= new.last + 1;
        if !same_whole || !touching || stored.selecting != arrived.selecting || new.covers(&old) {
            return None;
        }
        let mut sources = Vec::with_capacity(3);
        if old.first < new.first {
            sources.push(Source::Stored { from: 0, to: new.first - old.first });
        }
        sources.push(Source::Arrived);
        if old.last > new.last {
            sources.push(Source::Stored { from: new.last + 1 - old.first, to: old.length() });
        }
        let part = ByteRange::new(old.first.min(new.first), old.last.max(new.last), old.complete)?;
        let mut head = arrived.clone();
        head.become_part(part);
        Some(Self { head, sources })
    }
}

impl StoredHead {
    fn become_part(&mut self, part: ByteRange) {
        use crate::header_names::{CONTENT_LENGTH, CONTENT_RANGE};
        self.fields.remove(CONTENT_LENGTH);
        self.fields.remove(CONTENT_RANGE);
        if part.first == 0 && part.complete == Some(part.length()) {
            self.status = http::StatusCode::OK;
            self.part = None;
        } else {
            self.part = Some(part);
            if let Ok(value) = http::HeaderValue::from_str(&part.content_range()) {
                self.fields.insert(CONTENT_RANGE, value);
            }
        }
    }
}
