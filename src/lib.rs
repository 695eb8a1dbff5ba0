//! Sluicegate: a reverse-proxy API gateway that applies connector-style policies.

pub mod backend;
pub mod body;
pub mod clock;
pub mod pipeline;
pub mod server;
