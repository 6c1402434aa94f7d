//! The answer to one request.
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use crate::*;
/// The answer to one request, before an adapter turns it into its framework's response.
#[derive(Debug)]
pub struct Answer { pub(crate) status: StatusCode, pub(crate) head: AnswerHead, pub(crate) age: Option<Duration>, pub(crate) cache_status: CacheStatus, pub(crate) body: Body }
#[derive(Debug)]
pub(crate) enum AnswerHead { Stored(Candidates, usize), Own(HeaderMap) }
impl Answer {
    pub fn status(&self) -> StatusCode { self.status }
    pub fn cache_status(&self) -> &CacheStatus { &self.cache_status }
    /// `Age` to send, in whole seconds (RFC 9111 §5.1); `None` for an answer that came straight from the origin.
    pub fn age_seconds(&self) -> Option<u64> { self.age.map(|a| a.as_secs()) }
    /// The fields, without this cache's own `Age` and `Cache-Status`.
    pub fn fields(&self) -> &HeaderMap { unimplemented!() }
    /// A form of a *stored* head that an adapter made once (its framework's header map) and keeps beside the stored response.
    /// `make` runs at most once for each stored head. `None` if this answer's head is not the stored one as it is (304, 206, from the origin).
    pub fn with_prepared<T: Send + Sync + 'static, R>(&self, make: impl FnOnce(&StoredHead) -> T, with: impl FnOnce(&T) -> R) -> Option<R> { unimplemented!() }
    /// Takes the body out.
    pub fn take_body(&mut self) -> Body { std::mem::take(&mut self.body) }
}
