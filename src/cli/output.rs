//! What a command prints: to standard output, coloured on a terminal, silent when the reader has gone.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::compile::{self, Loaded, Origin, Shared};
use crate::config::render;

use super::exit;

/// Prints to standard output. A reader that has gone (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error.
pub(super) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How what goes to standard output may look.
pub(super) fn style() -> render::Style {
    render::Style::of(std::io::stdout().is_terminal())
}

/// The runtime of a command that serves nobody.
pub(super) fn runtime() -> Result<Runtime, u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(&format!("error: the runtime cannot start: {error}\n"));
        exit::FAILED
    })
}

/// Reads and compiles a folder without fetching anything or listening anywhere.
pub(super) fn load_offline(folder: &Path) -> Result<Loaded, u8> {
    Ok(load_quiet(folder, &runtime()?))
}

/// The same, for a command that may fetch on `runtime` what the configuration names.
pub(super) fn load_quiet(folder: &Path, runtime: &Runtime) -> Loaded {
    let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
    compile::load(&Origin::Folder(folder.to_owned()), &std::sync::Arc::new(shared))
}
