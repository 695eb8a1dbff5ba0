//! The load test that knows the policy: drives traffic at a limit and says whether the limit kept its promise.
//!
//! * [`expect`] states what a limit promises, [`stated`] reads it from policies; [`probes`] makes a [`plan`] of phases: [`arrivals`], [`keys`], a client
//!   [`strategy`].
//! * [`session`] is the course of a test without sockets or clocks. [`virtual_time`] drives it against limiters in this
//!   process, [`live`] over connections.
//! * Each request becomes a [`record`]; [`replay`] is the reference limiter that says what the records prove.
//! * [`analysis`] puts the report together, [`metric`] names its figures and judges assertions, [`report`] writes it down.

pub mod analysis;
pub mod arrivals;
pub mod expect;
pub mod keys;
pub mod live;
pub mod metric;
pub mod plan;
pub mod probes;
pub mod record;
pub mod replay;
pub mod report;
pub mod session;
pub mod stated;
pub mod strategy;
pub mod virtual_time;
