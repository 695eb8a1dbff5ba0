//! The data path on real sockets: what a client and a backend see, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod downstream;
mod endings;
mod load;
mod support;
mod tls;
mod upstream;
