//! Who the request comes from and how it is followed: client address, request id, trace context.

mod client;
mod hex;
mod request_id;
mod trace_context;

pub(crate) use client::split_quoted;
pub use client::{Fields, Forwarding, Outside, Peer, Scheme, TrustedProxies};
pub use request_id::RequestId;
pub use trace_context::TraceContext;
