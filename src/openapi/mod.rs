//! What an API's definition promises, compiled: parameters, bodies and answers that messages are checked against, filled in from and
//! made up by.
//!
//! [`Contract::read`] compiles an OpenAPI 2.0 or 3 document once, when the configuration is loaded; what it cannot check it tells as a
//! [`Fault`] and leaves unchecked. Schemas are those of OpenAPI, that is JSON Schema with its own words: references go to the
//! same document only and may lead in circles, regular expressions run in linear time, and the work for one message is bounded.

pub mod check;
pub mod contract;
pub mod fill;
mod format;
pub mod media;
mod number;
pub mod parameter;
mod pattern;
mod read;
mod same;
pub mod sample;
mod schema;
#[cfg(test)]
mod tests;
pub mod visit;

pub use check::{Direction, Strictness, TooMuch};
pub use contract::{Answer, Content, Contract, Operation, Payload, Status, content_for};
pub use format::Format;
pub use parameter::{Parameter, Place};
pub use pattern::Pattern;
pub use read::Fault;
pub use schema::{SchemaId, Schemas, Types};
