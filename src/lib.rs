//! Sluicegate: a reverse-proxy API gateway that applies connector-style policies.
//!
//! The way of a request, and where to read on:
//!
//! 1. [`server`] accepts a connection on one worker, which it never leaves, and hands hyper's request to a handler.
//! 2. [`gateway::handle`] takes the configuration in force (one pointer) and keeps it to the end of the exchange.
//! 3. [`server::admission`] refuses what is not HTTP as it should be; [`routing::normalise`] brings the path into one form.
//! 4. [`routing::Router`] finds the API and the operation: 404. [`gateway::caller`] finds who calls: 401.
//! 5. [`pipeline::Pipeline`] runs the steps of inbound, backend and outbound in the order written; adjacent steps are one
//!    [`pipeline::Segment`], and a step that wraps what follows is a tower [`layer`].
//! 6. [`pipeline::Forward`] picks an endpoint of the [`gateway::Backend`] and calls it: [`backend::forward`].
//! 7. Whatever fails becomes a response in [`pipeline::rescue`], after the on-error section had its say.
//! 8. When the last byte of the answer is out, metrics and access log are written ([`telemetry`]), and with `[server] traces` what
//!    each step did ([`trace`]).
//!
//! Before that: [`config`] reads a folder with every mistake at its place, [`compile`] turns it into pipelines, one file for
//! each policy in [`policy`]; values that vary are [`expression`]s, and JSON bodies are edited as [`json`] documents.
//! What requests and answers of language models say of tokens is read along by [`llm`].
//! [`process`] starts, reloads and drains. [`connector`] writes such a folder from what makers of Power Platform connectors have.
//!
//! Invariants:
//!
//! * [`pipeline`] and [`layer`] never read TOML, and nothing that runs implements `Deserialize`.
//! * Only [`pipeline::rescue`] writes error bodies; only policies made for it (`return-response`) write others.
//! * Only [`server`], [`backend`], [`identity`]'s key fetches, [`credential`]'s token fetches, [`admin`], [`sample`] and
//!   [`issuer`] touch sockets.
//! * Only [`config`] reads the environment. Time, randomness and stores are passed in; see [`clock`].
//! * Nothing that a caller sends can grow without a bound, and a mistake never means "no limit" or "no authentication".

pub mod admin;
pub mod backend;
pub mod body;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod compile;
pub mod config;
pub mod connector;
pub mod credential;
pub mod expression;
pub mod forwarded;
pub mod gateway;
pub mod identity;
pub mod issuer;
pub mod json;
pub mod layer;
pub mod limit;
pub mod llm;
pub mod loadtest;
pub mod openapi;
pub(crate) mod own_request;
pub mod pipeline;
pub mod policy;
pub mod process;
pub mod reference;
pub mod routing;
pub mod sample;
pub mod server;
pub mod shared_store;
pub mod store;
pub mod telemetry;
pub mod trace;
