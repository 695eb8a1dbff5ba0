//! What happens around the target while a test runs: the gateway is reloaded, its store is cut off and comes back.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::ProbeArguments;
use crate::cli::output::complain;
use crate::loadtest::plan::{Act, Plan};
use crate::process::Process;

/// How long a command may still take when the test is over. One that goes on, as a server in the foreground does, is left alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to happen, in order.
struct Acts {
    coming: UnboundedReceiver<Act>,
    waiting: VecDeque<Act>,
    /// From when on nobody waits any more: some time after the end of the test.
    until: Option<Instant>,
}

impl Acts {
    /// Takes in what is to happen next, or learns that the test is over.
    async fn listen(&mut self) {
        match self.coming.recv().await {
            Some(act) => self.waiting.push_back(act),
            None => self.until = Some(Instant::now() + PATIENCE),
        }
    }

    async fn next(&mut self) -> Option<Act> {
        while self.waiting.is_empty() && self.until.is_none() {
            self.listen().await;
        }
        self.waiting.pop_front()
    }

    /// Runs a command of the user's to its end, if it has one.
    async fn execute(&mut self, command: &str) -> Result<(), String> {
        let mut shell = Command::new("sh");
        // Standard output is the report's.
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(std::io::stderr());
        let mut child = shell.spawn().map_err(|error| error.to_string())?;
        loop {
            let end = self.until;
            tokio::select! {
                ended = child.wait() => return match ended {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(format!("{status} of `{command}`")),
                    Err(error) => Err(error.to_string()),
                },
                () = self.listen(), if end.is_none() => {}
                () = tokio::time::sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return Ok(()),
            }
        }
    }
}

/// Does what is to happen, one after the other, until the test is over. Returns what failed.
pub(super) async fn follow(
    coming: UnboundedReceiver<Act>,
    plan: &Plan,
    commands: &ProbeArguments,
    own: Option<&Process>,
) -> Vec<String> {
    let mut acts = Acts { coming, waiting: VecDeque::new(), until: None };
    let mut failed = Vec::new();
    while let Some(act) = acts.next().await {
        let (name, command) = match act {
            Act::Reload => ("--on-reload", &commands.on_reload),
            Act::StoreDown => ("--on-store-down", &commands.on_store_down),
            Act::StoreUp => ("--on-store-up", &commands.on_store_up),
        };
        match (command, own) {
            (Some(command), _) => {
                let began = Instant::now();
                let done = acts.execute(command).await;
                let room = plan.room_after(act).map(Duration::from_nanos).filter(|room| began.elapsed() > *room);
                let done = done.and_then(|()| match room {
                    None => Ok(()),
                    Some(room) => Err(format!(
                        "it took {:.1} s, and its probe waits {:.1} s: a longer period of the limit gives it more time",
                        began.elapsed().as_secs_f64(),
                        room.as_secs_f64()
                    )),
                });
                if let Err(why) = done {
                    complain(&format!("\nwarning: {name} failed: {why}\n"));
                    failed.push(format!("{name} failed, so that its probe did not ask what it was to ask: {why}"));
                }
            }
            (None, Some(own)) if act == Act::Reload => own.reload_unchanged(),
            (None, _) => {}
        }
    }
    failed
}
