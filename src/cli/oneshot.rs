//! `oneshot`: serves a configuration for as long as a command runs, and ends as the command ends.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use tokio::process::Command;

use super::output::complain;
use super::run::{self, Asked, Listeners};
use crate::compile::Origin;
use crate::trace;

/// As shells and env(1) have it: the command was found and could not be run.
const NOT_RUNNABLE: u8 = 126;
/// As shells and env(1) have it: there is no such command.
const NOT_FOUND: u8 = 127;
/// What is added to the number of the signal that ended a command, as shells do.
const SIGNALLED: i32 = 128;
const SIGTERM: i32 = 15;

/// Serve a folder while a command runs, and exit with its code.
///
/// The command finds the gateway's address in SLUICEGATE_URL and the admin listener's in SLUICEGATE_ADMIN_URL. The access
/// log goes to standard error, and with --trace so does, at the end, what every policy did to the command's requests. A command
/// that a signal ends counts as 128 and the signal's number.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sluicegate oneshot policies --listen 127.0.0.1:0 -- npm test
  sluicegate oneshot policies -- sh -c 'curl -i $SLUICEGATE_URL/invoices'
  sluicegate oneshot policies --trace -- sh -c 'curl -s $SLUICEGATE_URL/invoices'")]
pub struct Oneshot {
    /// The folder that holds gateway.toml.
    folder: PathBuf,
    #[command(flatten)]
    listeners: Listeners,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Oneshot {
    /// Runs the command.
    pub fn run(self) -> u8 {
        serve(self.folder, self.listeners, &self.command).unwrap_or_else(|code| code)
    }
}

fn serve(folder: PathBuf, listeners: Listeners, command: &[OsString]) -> Result<u8, u8> {
    let (runtime, mut signals) = run::control()?;
    let prepared = run::prepare(Origin::Folder(folder), listeners, &runtime)?;
    runtime.block_on(async {
        let mut process = run::start(prepared, &listeners.overrides(true))?;
        let Some((program, arguments)) = command.split_first() else { return Err(super::exit::USAGE) };
        let mut command = Command::new(program);
        command.args(arguments).env("SLUICEGATE_URL", process.url()).kill_on_drop(true);
        match process.admin_url() {
            Some(url) => command.env("SLUICEGATE_ADMIN_URL", url),
            None => command.env_remove("SLUICEGATE_ADMIN_URL"),
        };
        let mut child = command.spawn().map_err(|error| {
            complain(&format!("error: cannot run `{}`: {error}\n", program.display()));
            if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
        })?;
        let code = loop {
            tokio::select! {
                status = child.wait() => break code(status.map_err(|error| {
                    complain(&format!("error: cannot wait for the command: {error}\n"));
                    super::exit::FAILED
                })?),
                asked = signals.next() => match asked {
                    Asked::Reload => process.reload(),
                    // A terminal sends it to the command as well, which decides what to do about it.
                    Asked::Interrupt => {}
                    Asked::Terminate => {
                        let _ = child.kill().await;
                        break u8::try_from(SIGNALLED + SIGTERM).unwrap_or(u8::MAX);
                    }
                },
                error = process.ended() => {
                    complain(&format!("error: the gateway failed: {error}\n"));
                    return Err(super::exit::FAILED);
                }
            }
        };
        // The command is done, so nobody needs to be told that the gateway will go away.
        let traced = listeners.trace.then(|| process.gateway().tracing.clone()).flatten();
        run::drain(process, &mut signals, false).await?;
        if let Some(tracing) = traced {
            // In the order in which the requests came.
            for one in tracing.traces().all().iter().rev() {
                complain(&format!("\n{}", trace::text(one)));
            }
        }
        Ok(code)
    })
}

/// The exit code that stands for how a command ended.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}
