//! The forms of a report.

pub mod csv;
pub mod html;
pub mod json;
pub mod junit;
mod markup;
pub mod text;
mod words;

use std::fmt::Write as _;

/// A number with thousands apart: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        let _ = write!(out, "{digit}");
    }
    out
}

/// A share in percent; a dash of nothing.
fn share(part: u64, whole: u64) -> String {
    crate::loadtest::analysis::share(part, whole).map_or_else(|| "-".to_owned(), |share| format!("{share:.2} %"))
}
