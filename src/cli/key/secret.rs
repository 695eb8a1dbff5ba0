//! Keys in clear: made from chance, or read from standard input. Nothing else of the program ever holds one for long.

use std::io::{self, BufRead, IsTerminal as _, Read};

use super::Failure;
use crate::cli::output::complain;
use crate::identity::subscription::digest_of;

/// The longest key: what fits a header field with room for the others.
const MAX_BYTES: u64 = 4096;

/// The front of keys that are made, by which scanners of source code find one that was committed.
const PREFIX: &str = "sgk_";

/// How many characters follow: 238 bits of chance, of which the last four characters show 24.
const RANDOM: usize = 40;

/// A key in clear. It has no `Debug`.
pub(super) struct Secret(String);

impl Secret {
    /// A new key. Letters and digits only, so that it fits a URL, a cookie and a double click.
    pub(super) fn generate() -> Result<Self, Failure> {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut key = PREFIX.to_owned();
        while key.len() < PREFIX.len() + RANDOM {
            let mut bytes = [0; 64];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::new("the system gives no random bytes"))?;
            // Six bits of each byte; the two numbers too many are thrown away, so that every character is as likely.
            let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x3f)));
            key.extend(letters.map(|byte| char::from(*byte)).take(PREFIX.len() + RANDOM - key.len()));
        }
        Ok(Self(key))
    }

    /// Reads a key. On a terminal it is asked for, and shown as it is typed.
    pub(super) fn read() -> Result<Self, Failure> {
        let input = io::stdin();
        let read = if input.is_terminal() {
            complain("key: ");
            first_line(&mut input.lock())
        } else {
            everything(&mut input.lock())
        };
        Self::parse(&read.map_err(|error| Failure::new(format!("the key cannot be read: {error}")))?)
    }

    /// A key that a request can carry. The line break that `echo` adds is not part of it.
    pub(super) fn parse(input: &[u8]) -> Result<Self, Failure> {
        let key = input.strip_suffix(b"\n").unwrap_or(input);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if key.is_empty() {
            return Err(Failure::new("the key is empty").hint("printf %s \"$KEY\" | sluicegate key …"));
        }
        if key.len() as u64 > MAX_BYTES {
            return Err(Failure::new(format!("the key is longer than {MAX_BYTES} bytes")));
        }
        // Space at either end would be lost on the way (RFC 9110 §5.5), and the rest cannot stand in a header.
        if let Some(position) = key.iter().position(|byte| !byte.is_ascii_graphic()) {
            let text = format!("a key has visible ASCII characters only, and character {} is not one", position + 1);
            return Err(Failure::new(text));
        }
        Ok(Self(key.iter().map(|byte| char::from(*byte)).collect()))
    }

    /// The key itself.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The digest that is kept of it.
    pub(super) fn digest(&self) -> String {
        digest_of(self.0.as_bytes())
    }

    /// By what people recognise it. Of a short key four characters would give too much away.
    pub(super) fn last_four(&self) -> Option<&str> {
        (self.0.len() >= 16).then(|| &self.0[self.0.len() - 4..])
    }
}

fn first_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    input.take(MAX_BYTES + 2).read_until(b'\n', &mut key)?;
    Ok(key)
}

fn everything(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    // One byte more than the longest with its line break, so that a longer one shows.
    input.take(MAX_BYTES + 3).read_to_end(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = "sha256:ade937c23dc04c64b0bd37e190c26c8fdbe7bb3b824adc8660c02a968b492425";

    #[test]
    fn digests() {
        let long = "k".repeat(4096);
        for (input, want) in [
            ("contoso-demo-key", Ok(DEMO)),
            ("contoso-demo-key\n", Ok(DEMO)),
            ("contoso-demo-key\r\n", Ok(DEMO)),
            (&long, Ok("sha256:")),
            (&format!("{long}k"), Err("the key is longer than 4096 bytes")),
            ("", Err("the key is empty")),
            ("\n", Err("the key is empty")),
            (" key", Err("a key has visible ASCII characters only, and character 1 is not one")),
            ("one\ntwo", Err("a key has visible ASCII characters only, and character 4 is not one")),
            ("schlüssel", Err("a key has visible ASCII characters only, and character 5 is not one")),
        ] {
            let read = Secret::parse(&everything(&mut input.as_bytes()).unwrap());
            match (read.map(|key| key.digest()), want) {
                (Ok(digest), Ok(want)) => assert!(digest.starts_with(want), "{digest} for {input:?}"),
                (Err(failure), Err(want)) => assert_eq!(failure.message, want, "{input:?}"),
                (found, want) => panic!("{found:?} for {input:?}, not {want:?}"),
            }
        }
        assert_eq!(first_line(&mut &b"one\ntwo"[..]).unwrap(), b"one\n");
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let keys: std::collections::HashSet<String> = (0..100).map(|_| Secret::generate().unwrap().0).collect();
        assert_eq!(keys.len(), 100);
        for key in &keys {
            let random = key.strip_prefix("sgk_").unwrap();
            assert!(random.len() == 40 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{random}");
        }
        let seen: std::collections::HashSet<char> = keys.iter().flat_map(|key| key[4..].chars()).collect();
        assert_eq!(seen.len(), 62, "every character is used");
    }

    #[test]
    fn a_short_key_is_not_shown_in_part() {
        for (key, want) in [("fifteen-letters", None), ("sixteen-letters!", Some("ers!"))] {
            assert_eq!(Secret::parse(key.as_bytes()).unwrap().last_four(), want);
        }
    }
}
