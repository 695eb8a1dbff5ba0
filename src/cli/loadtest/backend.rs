//! What reaches the backend during a test: counted by the test's own, or told by a command of the user's before and after.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::runtime::Runtime;

use super::order::Planned;
use super::subject::Subject;
use super::{Loadtest, usage};
use crate::cli::exit;
use crate::cli::output::complain;
use crate::loadtest::analysis::Upstream;
use crate::loadtest::live::stand_in::{Manner, StandIn};

/// The backend of a test, as far as the test sees it.
pub(super) struct Backend {
    /// The test's own.
    stand_in: Option<StandIn>,
    /// What the user's command said before the test.
    before: Option<u64>,
}

impl Backend {
    /// Starts the test's own backend, where there is one, or asks how many requests the other one has had.
    pub(super) fn begin(
        arguments: &Loadtest,
        subject: &Subject,
        planned: &Planned,
        runtime: &Runtime,
    ) -> Result<Self, u8> {
        let target = &arguments.target;
        let served = subject.operation.is_some() && target.urls.is_empty();
        let at = match target.backend_at {
            None if served && !target.real_backends => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            at => at,
        };
        if at.is_some() && target.backend_count.is_some() {
            return Err(usage(
                "--backend-count is for --url and --real-backends: the test's own backend counts by itself",
            ));
        }
        let failed = |why: String| {
            complain(&format!("error: {why}\n"));
            exit::FAILED
        };
        let start = |at: SocketAddr| {
            let manner = Manner {
                latency: planned.latency,
                failures: target.backend_failures,
                seed: planned.plan.seed,
                usage: subject.usage,
            };
            StandIn::start(at, manner).map_err(|error| failed(format!("the backend cannot be served at {at}: {error}")))
        };
        let stand_in = at.map(start).transpose()?;
        let ask = |command: &String| {
            let asked = runtime.block_on(counted(command, arguments.bounds.timeout));
            asked.map_err(|why| failed(format!("--backend-count failed: {why}")))
        };
        let before = target.backend_count.as_ref().map(ask).transpose()?;
        Ok(Self { stand_in, before })
    }

    /// Where the test's own is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.stand_in.as_ref().map(|stand_in| stand_in.address)
    }

    /// What has reached it during the test, where that is known; an error says why it should be and is not.
    pub(super) fn upstream(&self, arguments: &Loadtest, runtime: &Runtime) -> Result<Option<Upstream>, String> {
        if let Some(stand_in) = &self.stand_in {
            return Ok(Some(stand_in.upstream()));
        }
        let (Some(before), Some(command)) = (self.before, &arguments.target.backend_count) else { return Ok(None) };
        let failed = |why| format!("--backend-count failed, so that amplification was not measured: {why}");
        let after = runtime.block_on(counted(command, arguments.bounds.timeout)).map_err(failed)?;
        let requests =
            after.checked_sub(before).ok_or_else(|| failed(format!("it said {before} before and {after} after")))?;
        Ok(Some(Upstream { requests, duplicates: None }))
    }
}

/// The number that a command of the user's prints.
async fn counted(command: &str, patience: Duration) -> Result<u64, String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = tokio::time::timeout(patience, shell.output()).await;
    let output = output.map_err(|_| format!("no answer of `{command}` within {patience:?}"))?;
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{} of `{command}`", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    number(&text).ok_or_else(|| {
        let said: String = text.trim().chars().take(80).collect();
        format!("`{command}` is to print a number, and printed `{said}`")
    })
}

/// A count, as programs print them: `1234`, or `1.234e+03`.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let rounded = || text.parse::<f64>().ok().filter(|number| (0.0..1e18).contains(number)).map(|number| number as u64);
    text.parse().ok().or_else(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_programs_print_them() {
        for (text, want) in [
            ("1234\n", Some(1_234)),
            ("1.234e+03", Some(1_234)),
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("NaN", None),
            ("requests 12", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
