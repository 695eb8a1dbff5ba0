//! The load test itself, put to the test.

mod broken;
pub(super) mod flawed;
mod pages;
