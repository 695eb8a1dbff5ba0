//! `key`: what is kept of a subscription key.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Subcommand;

use super::exit;
use crate::identity::subscription::digest_of;

/// The longest key: what fits a header field with room for the others.
const MAX_BYTES: u64 = 4096;

/// The commands about keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the digest of a key, as `[subscriptions.NAME]` keeps it. The key is read from standard input, so that it does
    /// not end up in the shell's history; on a terminal it is asked for, and shown as it is typed.
    Digest,
}

/// Runs a command about keys.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a command speaks to its terminal")]
pub fn run(command: &Command) -> u8 {
    match command {
        Command::Digest => {
            let input = io::stdin();
            let read = if input.is_terminal() {
                eprint!("key: ");
                io::stderr().flush().and_then(|()| first_line(&mut input.lock()))
            } else {
                everything(&mut input.lock())
            };
            let digest = read.map_err(|error| format!("the key cannot be read: {error}")).and_then(|key| digest(&key));
            match digest {
                Ok(digest) => {
                    println!("{digest}");
                    exit::OK
                }
                Err(message) => {
                    eprintln!("error: {message}");
                    exit::FAILED
                }
            }
        }
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

/// The digest of a key that a request can carry. The line break that `echo` adds is not part of it.
fn digest(input: &[u8]) -> Result<String, String> {
    let key = input.strip_suffix(b"\n").unwrap_or(input);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err("the key is empty; hint: printf %s \"$KEY\" | sluicegate key digest".to_owned());
    }
    if key.len() as u64 > MAX_BYTES {
        return Err(format!("the key is longer than {MAX_BYTES} bytes"));
    }
    // Space at either end would be lost on the way (RFC 9110 §5.5), and the rest cannot stand in a header.
    if let Some(position) = key.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("a key has visible ASCII characters only, and character {} is not one", position + 1));
    }
    Ok(digest_of(key))
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
            match (digest(&everything(&mut input.as_bytes()).unwrap()), want) {
                (Ok(digest), Ok(want)) => assert!(digest.starts_with(want), "{digest} for {input:?}"),
                (Err(message), Err(want)) => assert!(message.starts_with(want), "{message} for {input:?}"),
                (found, want) => panic!("{found:?} for {input:?}, not {want:?}"),
            }
        }
        assert_eq!(first_line(&mut &b"one\ntwo"[..]).unwrap(), b"one\n");
    }
}
