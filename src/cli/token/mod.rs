//! `token`: makes, reads and checks JSON Web Tokens on the command line.

mod decode;
mod input;
mod mint;
mod verify;

use clap::Subcommand;

use super::form::Format;

/// The commands about tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    Mint(Box<mint::Mint>),
    Decode(decode::Decode),
    Verify(verify::Verify),
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> u8 {
        match self {
            Self::Mint(mint) => mint.run(),
            Self::Decode(decode) => decode.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}
