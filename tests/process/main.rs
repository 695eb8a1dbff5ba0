//! The program as it is run: reload, admin pages, access log, secrets, drain, exit codes, and backends that misbehave.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod admin;
#[path = "../support/backend.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod backend;
mod backends;
mod behalf;
mod certificates;
mod command;
mod connector;
mod drain;
mod endings;
#[path = "../support/hosts.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod hosts;
#[path = "../support/certificates.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod identities;
mod issuer;
mod keys;
mod limits;
mod many;
#[path = "../support/packages.rs"]
mod packages;
mod reload;
mod secrets;
mod stand_in;
mod store;
mod support;
mod tokens;
mod traces;
mod transcript;
mod validation;
mod vault;
#[path = "../support/wire.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod wire;
