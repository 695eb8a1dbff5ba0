//! How an exchange runs: sections, segments, on-error. Knows no TOML.

pub mod fault;

pub use fault::{Blame, Fault};

/// Where in the configuration a step was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The policy's name (`set-header`).
    pub policy: &'static str,
    /// The section it stands in (`inbound`).
    pub section: &'static str,
    /// The scope it was written at (`global`, `product`, `api`, `operation`).
    pub scope: &'static str,
    /// Its place among the policies of its scope and section (`choose[3]/when[2]`).
    pub path: String,
    /// The `id` the author gave it.
    pub id: Option<String>,
    /// The file and line it was written at.
    pub place: String,
}
