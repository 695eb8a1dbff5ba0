//! What several gateways share: a Redis or Valkey server that holds counters and values for all of them.

pub mod redis;

pub use redis::{Redis, StoreError};
