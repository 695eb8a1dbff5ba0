//! Sluicegate: a reverse-proxy API gateway that applies connector-style policies.

pub mod body;
pub mod clock;
pub mod forwarded;
pub mod pipeline;
pub mod routing;
