//! The load test itself, put to the test.

mod broken;
mod flawed;
mod pages;
