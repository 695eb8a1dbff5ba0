//! The configuration's reference, made from the types that read it: a JSON Schema for editors and a page for people.

mod page;
mod schema;
#[cfg(test)]
mod tests;

pub use page::page;
pub use schema::{File, schema, text};
