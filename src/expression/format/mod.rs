//! .NET's format strings for numbers and dates, in the culture `en-US`, and its names of time zones.

pub(super) mod date;
pub(super) mod number;
pub(super) mod zone;
