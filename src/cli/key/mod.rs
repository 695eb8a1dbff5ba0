//! `key`: makes, lists, replaces and ends subscription keys.

mod digest;
mod list;
mod new;
mod place;
mod revoke;
mod rotate;
mod secret;

use clap::Subcommand;

use super::exit;
use super::form::Format;
use super::output::complain;

/// The commands about keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    New(new::New),
    List(list::List),
    Rotate(rotate::Rotate),
    Revoke(revoke::Revoke),
    Digest(digest::Digest),
}

/// Why a command about keys did not do what it was asked, and what to do about it.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: exit::FAILED, message: message.into(), hint: None }
    }

    fn configuration(message: impl Into<String>) -> Self {
        Self { code: exit::CONFIGURATION, ..Self::new(message) }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> u8 {
        let done = match self {
            Self::New(new) => new.run(),
            Self::List(list) => list.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Revoke(revoke) => revoke.run(),
            Self::Digest(digest) => digest.run(),
        };
        match done {
            Ok(()) => exit::OK,
            Err(Failure { code, message, hint }) => {
                let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
                complain(&format!("error: {message}\n{hint}"));
                code
            }
        }
    }
}
