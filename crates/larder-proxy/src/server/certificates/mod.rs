//! The certificates of listeners: several for one listener, chosen by name, and replaced while the
//! server runs.
//!
//! `load` reads them, `resolver` chooses, `validity` reads until when they are valid.

mod error;
#[cfg(feature = "tls")]
mod load;
#[cfg(feature = "tls")]
mod resolver;
#[cfg(feature = "tls")]
mod validity;

#[cfg(feature = "tls")]
mod set;
#[cfg(feature = "tls")]
mod watch;

pub use self::error::TlsError;
#[cfg(feature = "tls")]
pub(super) use self::watch::CertificateWatch;
#[cfg(feature = "tls")]
pub use self::{
    load::CertificateFiles,
    set::{CertificateExpiry, Certificates},
};
