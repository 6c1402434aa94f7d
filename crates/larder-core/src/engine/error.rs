//! Why a request got no response.
use crate::*;
use http::StatusCode;
/// Why a request got no response, from the store or from the origin.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError { Target(TargetError), Origin(OriginError) }
impl FetchError { pub fn status(&self) -> StatusCode { unimplemented!() } }
