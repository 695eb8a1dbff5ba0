//! A token from the command line, or from standard input so that it does not land in the shell's history.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use crate::cli::output::complain;

/// The longest input: more than any header field that servers take.
const MAX_BYTES: u64 = 64 * 1024;

/// The token of the arguments; without one, or for `-`, that of standard input.
pub(super) fn token(argument: Option<&str>) -> Result<String, String> {
    let text = match argument {
        Some(text) if text != "-" => text.to_owned(),
        _ => read().map_err(|error| format!("the token cannot be read: {error}"))?,
    };
    bare(&text)
}

fn read() -> io::Result<String> {
    let input = io::stdin();
    let mut bytes = Vec::new();
    // One byte more than the longest, so that a longer one shows.
    let mut limited = input.lock().take(MAX_BYTES + 1);
    if input.is_terminal() {
        complain("token: ");
        limited.read_until(b'\n', &mut bytes)?;
    } else {
        limited.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The token without what comes along when it is copied: a header's name, the scheme, quotes, line breaks.
fn bare(text: &str) -> Result<String, String> {
    if text.len() as u64 > MAX_BYTES {
        return Err("the token is longer than 64 KiB".to_owned());
    }
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let without = |text: &str, prefix: &str| match text.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => text[prefix.len()..].trim_start().to_owned(),
        _ => text.to_owned(),
    };
    let text = without(&without(text, "authorization:"), "bearer ");
    // Terminals and mail break long lines.
    let text: String = text.split_ascii_whitespace().collect();
    if text.is_empty() {
        return Err("there is no token\n  hint: give it on standard input, as in `printf %s \"$TOKEN\" | sluicegate token decode`".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_along_is_taken_off() {
        for (text, want) in [
            ("a.b.c", Some("a.b.c")),
            (" a.b.c\r\n", Some("a.b.c")),
            ("Bearer a.b.c\n", Some("a.b.c")),
            ("Authorization: bearer a.b.c", Some("a.b.c")),
            ("\"a.b.c\"", Some("a.b.c")),
            ("a.b\n  .c", Some("a.b.c")),
            ("", None),
            ("Bearer ", Some("Bearer")),
        ] {
            assert_eq!(bare(text).ok().as_deref(), want, "{text:?}");
        }
        assert!(bare(&"x".repeat(64 * 1024 + 1)).is_err());
    }
}
