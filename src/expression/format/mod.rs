//! .NET's format strings for numbers and dates, in the culture `en-US`, and its names of time zones.

pub(super) mod date;
pub(super) mod number;
pub(super) mod zone;

/// The longest format, in bytes. A format may be computed, and its length decides how long the result gets.
const MAX_FORMAT: usize = 256;

fn check_length(format: &str) -> Result<(), String> {
    if format.len() > MAX_FORMAT { Err(format!("the format is longer than {MAX_FORMAT} bytes")) } else { Ok(()) }
}
