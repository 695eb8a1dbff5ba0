//! Limits and cached things that gateways share, in real Redis servers: that they decide as limits in memory do, that several gateways together admit
//! exactly the limit, and what happens when servers die.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cache;
mod concurrency;
mod decisions;
#[path = "../support/mod.rs"]
mod support;

mod gateways;
mod leases;
mod outages;
mod quotas;
mod server;
mod sharing;
mod tokens;
