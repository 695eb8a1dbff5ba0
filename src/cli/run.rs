//! `run`: serves a configuration until it is told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::compile::{self, Origin, Shared};
use crate::config::render;
use crate::gateway::handle::Entry;
use crate::server::Server;

use super::exit;

/// Serves a folder.
#[expect(clippy::print_stderr, reason = "a command speaks to its terminal")]
pub fn run(folder: Option<&Path>) -> u8 {
    let origin = Origin::Folder(folder.unwrap_or(Path::new("policies")).to_owned());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return exit::FAILED;
        }
    };
    let shared = Arc::new(Shared::new(Clock::system(), runtime.handle().clone()));
    let loaded = compile::load(&origin, &shared);
    eprint!("{}", render::text(&loaded.diagnostics, &loaded.sources));
    let Some(gateway) = loaded.gateway else { return exit::CONFIGURATION };
    if let Some(limits) = loaded.limits {
        limits.commit();
    }
    let entry = Arc::new(Entry::new(Arc::new(gateway)));
    let server = match Server::bind(loaded.process.server) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("error: cannot listen: {error}");
            return exit::FAILED;
        }
    };
    eprintln!("listening on {:?}", server.addresses());
    let (stop, stopped) = tokio::sync::watch::channel(None);
    let serving = std::thread::spawn(move || server.run(&entry, &stopped));
    runtime.block_on(async { tokio::signal::ctrl_c().await.ok() });
    let _ = stop.send(Some(Duration::from_secs(30)));
    let _ = serving.join();
    exit::OK
}
