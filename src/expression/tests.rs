//! What expressions mean, from their text to their values.
