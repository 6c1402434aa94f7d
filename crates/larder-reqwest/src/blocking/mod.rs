//! A blocking client, for programs without async code: the client, its requests and its responses.

mod client;
mod request;
mod response;

pub use client::BlockingClient;
pub use request::BlockingRequest;
pub use response::BlockingResponse;
