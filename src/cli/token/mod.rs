//! `token`: makes, reads and checks JSON Web Tokens on the command line.

mod decode;
mod input;
mod mint;
mod verify;

use clap::Subcommand;

/// How the commands about tokens can print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts: one object.
    Json,
}

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
