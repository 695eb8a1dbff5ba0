//! `completions`: the script that teaches a shell the commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{exit, output};

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate completions bash > /etc/bash_completion.d/sluicegate
  sluicegate completions zsh > \"${fpath[1]}/_sluicegate\"
  sluicegate completions fish > ~/.config/fish/completions/sluicegate.fish")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Arguments::command(), "sluicegate", &mut script);
        output::print(&String::from_utf8_lossy(&script));
        exit::OK
    }
}
