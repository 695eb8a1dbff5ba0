//! Sluicegate: a reverse-proxy API gateway that applies connector-style policies.

pub mod body;
pub mod clock;
pub mod layer;
pub mod limit;
pub mod pipeline;
