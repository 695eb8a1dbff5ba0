//! JSON bodies as policies edit them: read once, written once, and untouched where no policy looked.
//!
//! A [`Document`] checks the whole text and then opens only the arrays and objects on the way to what a policy asks for. All
//! else stays the bytes that came: numbers keep their digits (`1.10`, `12345678901234567890`), keys their order, text its escapes.

mod document;
mod index;
mod path;
mod reader;
mod scan;
#[cfg(test)]
mod tests;

pub use document::{Document, Kind, Member, Node};
pub use index::{Index, Value};
pub(crate) use path::root;
pub use path::{Key, Path, PathError, Root};
pub use reader::{Reader, Visit};
pub use scan::{JsonError, MAX_DEPTH};
