//! What callers of an API see that stands behind a connector, over sockets: deadlines, pages, limits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compressed;
mod connections;
mod connector;
mod deadline;
mod hosts;
mod pages;
mod scripted;
mod side_calls;
#[path = "../support/mod.rs"]
mod support;
