//! Serves the folder for a test: on a free port of this machine, with subscriptions of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::order::Planned;
use super::subject::{Known, Subject};
use super::{Loadtest, usage};
use crate::cli::output::complain;
use crate::cli::{exit, output};
use crate::clock::Clock;
use crate::compile::{Origin, Rehearsal, Shared};
use crate::config::render;
use crate::identity::Subscription;
use crate::identity::subscription::{KeyDigest, Scope, State};
use crate::loadtest::live::KeyPlace;
use crate::process::source::Source;
use crate::process::{AdminAddress, Overrides, Process};

/// Serves the folder on a free port of this machine, with the backend at this address in place of the real ones.
pub(super) fn serve(
    arguments: &Loadtest,
    subject: &Subject,
    known: &Known,
    planned: &Planned,
    backend: Option<SocketAddr>,
    runtime: &Runtime,
) -> Result<Process, u8> {
    let failed = |error: &dyn std::fmt::Display| {
        complain(&format!("error: {error}\n"));
        exit::FAILED
    };
    if backend.is_none() {
        remote_backends(arguments, known)?;
    }
    let scope = known.product.as_ref().map_or(Scope::All, |product| Scope::Product(product.name.clone()));
    let guest = |(number, key): (usize, &String)| {
        let subscription = Subscription {
            id: format!("loadtest-{number}").into(),
            consumer: None,
            scope: scope.clone(),
            state: State::Active,
            expires: None,
            start: None,
            metadata: None,
        };
        (subscription, KeyDigest::of(key.as_bytes()))
    };
    let guests = if known.needs_key || subject.found.place == KeyPlace::Subscription {
        planned.keys.iter().enumerate().map(guest).collect()
    } else {
        Vec::new()
    };
    let rehearsal = Rehearsal { backend, guests, server: None };
    let shared = Shared { rehearsal: Some(rehearsal), ..Shared::new(Clock::system(), runtime.handle().clone()) };
    let mut source = Source::new(Origin::Folder(known.folder.clone()), Arc::new(shared));
    let Some((mut loaded, stamp)) = source.load() else {
        return Err(failed(&"the files of the configuration keep changing while they are read"));
    };
    if loaded.gateway.is_none() {
        complain(&render::styled(&loaded.diagnostics, &loaded.sources, output::style()));
        return Err(exit::CONFIGURATION);
    }
    // The test calls it as 127.0.0.1, which no certificate names.
    loaded.process.tls = None;
    let overrides = Overrides {
        listen: Some(([127, 0, 0, 1], 0).into()),
        admin: Some(AdminAddress::Off),
        keep_stdout_free: true,
        no_access_log: true,
    };
    Process::start(source, loaded, stamp, &overrides).map_err(|error| failed(&error))
}

/// Refuses to send to backends on other machines without consent.
fn remote_backends(arguments: &Loadtest, known: &Known) -> Result<(), u8> {
    let gateway = known.loaded.gateway.as_ref().ok_or(exit::FAILED)?;
    let local = |host: &str| {
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            || host == "sample.invalid"
    };
    let endpoints = gateway.backends.iter().flat_map(|backend| backend.endpoints());
    let remote = endpoints.map(|target| target.endpoint.host()).find(|host| !local(host));
    match remote {
        Some(host) if !arguments.bounds.allow_remote => Err(usage(&format!(
            "the backend `{host}` is not on this machine. Load somebody else's machine only with their consent, and with --allow-remote"
        ))),
        _ => Ok(()),
    }
}
