//! Sluicegate: a reverse-proxy API gateway that applies connector-style policies.

pub mod admin;
pub mod backend;
pub mod body;
pub mod cli;
pub mod clock;
pub mod compile;
pub mod config;
pub mod expression;
pub mod forwarded;
pub mod gateway;
pub mod identity;
pub mod layer;
pub mod limit;
pub mod pipeline;
pub mod policy;
pub mod process;
pub mod reference;
pub mod routing;
pub mod sample;
pub mod server;
pub mod telemetry;
