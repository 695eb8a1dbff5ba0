//! What can be watched: metrics, the access log, the process log, and what is hidden from all of them.

pub mod access_log;
pub mod finding;
pub mod metrics;
pub mod process_log;
pub mod redact;

pub use access_log::AccessLog;
pub use finding::Finding;
pub use metrics::Metrics;
pub use redact::Redactor;
