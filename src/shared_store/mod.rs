//! What several gateways share: a Redis or Valkey server that holds counters and values for all of them.

pub mod redis;
mod registry;

pub use redis::{Redis, StoreError};
pub use registry::Registry;
