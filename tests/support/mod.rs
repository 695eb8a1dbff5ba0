//! What tests of the whole gateway share: a gateway in this process, a recording backend, and HTTP/1.1 as it is on the wire.

#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod backend;
pub(crate) mod certificates;
pub(crate) mod gateway;
pub(crate) mod hosts;
pub(crate) mod wire;
