//! Any text is read as an expression or refused with an error that points into it; what is read can be evaluated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::expression::testing::MapFacts;
use sluicegate::expression::{Dialect, Expression};

fuzz_target!(|text: &str| {
    match Expression::parse(text, Dialect::Gateway) {
        Ok(expression) => drop(expression.evaluate(&MapFacts::sample())),
        Err(error) => assert!(text.get(error.range.clone()).is_some(), "{error} at {:?} in {text:?}", error.range),
    }
});
