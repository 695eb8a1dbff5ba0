//! `key digest`: what is kept of a key.

use clap::Args;

use super::Failure;
use super::secret::Secret;
use crate::cli::output::print;

/// Print the digest of a key, as `[subscriptions.NAME]` keeps it.
///
/// The key is read from standard input, so that it does not end up in the shell's history; on a terminal it is asked for, and
/// shown as it is typed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  printf %s \"$KEY\" | sluicegate key digest")]
pub struct Digest {}

impl Digest {
    #[expect(clippy::unused_self, reason = "as the other commands")]
    pub(super) fn run(&self) -> Result<(), Failure> {
        print(&format!("{}\n", Secret::read()?.digest()));
        Ok(())
    }
}
