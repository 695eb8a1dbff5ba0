//! Runs the test: over connections, with or without a gateway of its own, or in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::order::Planned;
use super::progress::{Progress, Seen};
use super::subject::{Known, Subject};
use super::{Loadtest, usage};
use crate::cli::output::complain;
use crate::cli::run::{self, Asked, Signals};
use crate::cli::{exit, output};
use crate::clock::Clock;
use crate::compile::{Origin, Rehearsal, Shared};
use crate::config::render;
use crate::identity::Subscription;
use crate::identity::subscription::{KeyDigest, Scope, State};
use crate::loadtest::analysis::{Measured, Report, Setting, analyse};
use crate::loadtest::expect::nanos;
use crate::loadtest::live::stand_in::StandIn;
use crate::loadtest::live::{self, Driven, KeyPlace, Target};
use crate::loadtest::metric::assertions;
use crate::loadtest::plan::Act;
use crate::loadtest::session::Session;
use crate::loadtest::virtual_time::{self, Limits};
use crate::process::source::Source;
use crate::process::{AdminAddress, Overrides, Process};

/// Runs the test and puts the report together.
pub(super) fn drive(arguments: &Loadtest, subject: &Subject, planned: &Planned) -> Result<Report, u8> {
    let (runtime, signals) = run::control()?;
    if arguments.target.virtual_time {
        in_virtual_time(arguments, subject, planned, &runtime, signals)
    } else {
        over_connections(arguments, subject, planned, &runtime, signals)
    }
}

fn in_virtual_time(
    arguments: &Loadtest,
    subject: &Subject,
    planned: &Planned,
    runtime: &Runtime,
    signals: Signals,
) -> Result<Report, u8> {
    let Planned { plan, keys, latency } = planned;
    let seen = Arc::<Seen>::default();
    let session = std::thread::scope(|scope| {
        let (done, ended) = oneshot::channel();
        let telling = seen.clone();
        scope.spawn(move || {
            let mut limits = Limits::new(&subject.found.setups);
            let mut look = |session: &Session<'_>, now| telling.look(session, now);
            let _ = done.send(virtual_time::run(plan, keys, nanos(*latency), &mut limits, &mut look));
        });
        let (_, mut acts) = mpsc::unbounded_channel();
        let progress = Progress::new(arguments.report.progress, seen.clone(), plan.end);
        runtime.block_on(watch(ended, signals, progress, &seen, &mut acts, &mut |_| Around::Nothing))
    })?;
    let ended = session.records.iter().map(|record| record.ended).max().unwrap_or(0);
    let setting = setting(arguments, subject, planned, &seen, ended);
    Ok(finish(arguments, &session, planned, setting, &Measured::default()))
}

/// What a live test runs against, when it is the test's own.
struct Own {
    process: Process,
    stand_in: Option<StandIn>,
}

fn over_connections(
    arguments: &Loadtest,
    subject: &Subject,
    planned: &Planned,
    runtime: &Runtime,
    signals: Signals,
) -> Result<Report, u8> {
    let Planned { plan, keys, latency } = planned;
    let own = match (&arguments.target.url, &subject.operation) {
        (None, Some(known)) => {
            Some(runtime.block_on(async { serve(arguments, subject, known, keys, *latency, runtime) })?)
        }
        _ => None,
    };
    let target = target(arguments, subject, own.as_ref(), keys)?;
    if !target.is_local() && !arguments.bounds.allow_remote {
        return Err(usage(&format!(
            "{} is not on this machine. Load somebody else's machine only with their consent, and with --allow-remote",
            target.address
        )));
    }
    let seen = Arc::<Seen>::default();
    let timeout = arguments.bounds.timeout;
    let driven = std::thread::scope(|scope| {
        let (done, ended) = oneshot::channel();
        let (acting, mut acts) = mpsc::unbounded_channel();
        let telling = seen.clone();
        scope.spawn(move || {
            let mut look = |session: &Session<'_>, now| telling.look(session, now);
            let _ = done.send(live::run(plan, target, timeout, &acting, &mut look));
        });
        let mut act = |act: Act| {
            let hooks = &arguments.probes;
            let command = match act {
                Act::Reload => &hooks.on_reload,
                Act::StoreDown => &hooks.on_store_down,
                Act::StoreUp => &hooks.on_store_up,
            };
            match (command, &own) {
                (Some(command), _) => Around::Command(command.clone()),
                (None, Some(own)) if act == Act::Reload => {
                    own.process.reload_unchanged();
                    Around::Nothing
                }
                _ => Around::Nothing,
            }
        };
        let progress = Progress::new(arguments.report.progress, seen.clone(), plan.end);
        runtime.block_on(watch(ended, signals, progress, &seen, &mut acts, &mut act))
    })?;
    let driven = driven.map_err(|error| {
        complain(&format!("error: the load cannot be driven: {error}\n"));
        exit::FAILED
    })?;
    let upstream = own.as_ref().and_then(|own| Some(own.stand_in.as_ref()?.upstream()));
    if let Some(own) = own {
        runtime.block_on(async { drop(own.process.drain(false).await) });
    }
    let Driven { session, busy, ended, first_error } = driven;
    if session.tally == [0, 0, session.records.len() as u64]
        && let Some(error) = &first_error
    {
        complain(&format!("error: nothing was answered: {error}\n"));
        return Err(exit::FAILED);
    }
    let mut setting = setting(arguments, subject, planned, &seen, ended);
    setting.notes.extend(first_error.map(|error| format!("the first request without an answer: {error}")));
    let measured = Measured { upstream, busy: Some(busy), connections: plan.bounds.connections };
    Ok(finish(arguments, &session, planned, setting, &measured))
}

/// What is done about an act.
enum Around {
    Nothing,
    Command(String),
}

/// Waits for the end of a test while it listens to signals, acts and shows progress.
async fn watch<T>(
    mut ended: oneshot::Receiver<T>,
    mut signals: Signals,
    mut progress: Option<Progress>,
    seen: &Seen,
    acts: &mut mpsc::UnboundedReceiver<Act>,
    act: &mut dyn FnMut(Act) -> Around,
) -> Result<T, u8> {
    let mut tick = tokio::time::interval(progress.as_ref().map_or(Duration::from_secs(3600), Progress::every));
    let mut last_signal = None::<tokio::time::Instant>;
    let result = loop {
        tokio::select! {
            ended = &mut ended => break ended.map_err(|_| exit::FAILED),
            asked = signals.next() => match (asked, last_signal) {
                (Asked::Reload, _) => {}
                // A terminal may send it twice.
                (_, Some(last)) if last.elapsed() > Duration::from_millis(250) => std::process::exit(exit::FAILED.into()),
                _ => {
                    last_signal.get_or_insert_with(tokio::time::Instant::now);
                    seen.stop();
                }
            },
            Some(one) = acts.recv() => match act(one) {
                Around::Nothing => {}
                Around::Command(command) => execute(&command).await,
            },
            _ = tick.tick() => if let Some(progress) = &mut progress {
                progress.show();
            },
        }
    };
    if let Some(progress) = &mut progress {
        progress.clear();
    }
    result
}

/// Runs a command of the user's and says when it fails.
async fn execute(command: &str) {
    let status =
        tokio::process::Command::new("sh").args(["-c", command]).stdin(std::process::Stdio::null()).status().await;
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => complain(&format!("\nwarning: `{command}` failed: {status}\n")),
        Err(error) => complain(&format!("\nwarning: `{command}` cannot be run: {error}\n")),
    }
}

/// Serves the folder on a free port of this machine, with a fast backend in place of the real ones.
fn serve(
    arguments: &Loadtest,
    subject: &Subject,
    known: &Known,
    keys: &[String],
    latency: Duration,
    runtime: &Runtime,
) -> Result<Own, u8> {
    let failed = |error: &dyn std::fmt::Display| {
        complain(&format!("error: {error}\n"));
        exit::FAILED
    };
    let stand_in = if arguments.target.real_backends {
        remote_backends(arguments, known)?;
        None
    } else {
        Some(StandIn::start(latency).map_err(|error| failed(&error))?)
    };
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
        keys.iter().enumerate().map(guest).collect()
    } else {
        Vec::new()
    };
    let rehearsal = Rehearsal { backend: stand_in.as_ref().map(|stand_in| stand_in.address), guests, server: None };
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
    let process = Process::start(source, loaded, stamp, &overrides).map_err(|error| failed(&error))?;
    Ok(Own { process, stand_in })
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

/// What requests are sent to.
fn target(arguments: &Loadtest, subject: &Subject, own: Option<&Own>, keys: &[String]) -> Result<Target, u8> {
    let given = &arguments.target;
    let known = subject.operation.as_ref();
    let bad = |error: &dyn std::fmt::Display| usage(&error.to_string());
    let url: Uri = match (&given.url, own, known) {
        (Some(url), _, known) => {
            // A URL without a path is where the gateway is; the operation says the rest.
            let path = match (url.path(), &given.path, known) {
                (_, Some(path), _) => path.clone(),
                ("" | "/", None, Some(known)) => known.path.clone(),
                _ => url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            };
            let scheme = url.scheme_str().unwrap_or("http");
            let authority = url.authority().map(ToString::to_string).unwrap_or_default();
            format!("{scheme}://{authority}{path}").parse().map_err(|error| bad(&error))?
        }
        (None, Some(own), Some(known)) => {
            format!("{}{}", own.process.url(), known.path).parse().map_err(|error| bad(&error))?
        }
        _ => return Err(exit::FAILED),
    };
    let method = given.method.clone().or_else(|| known.map(|known| known.method.clone())).unwrap_or_default();
    let body = match given.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
        None => Bytes::new(),
        Some((_, Some(path))) => {
            std::fs::read(path).map_err(|error| usage(&format!("the body in `{path}` cannot be read: {error}")))?.into()
        }
        Some((text, None)) => Bytes::from(text.to_owned()),
    };
    let mut headers: Vec<(HeaderName, HeaderValue)> = known.map(|known| known.headers.clone()).unwrap_or_default();
    let place = match (&subject.found.place, known) {
        (KeyPlace::Subscription, Some(known)) => KeyPlace::Header(known.key_header.clone()),
        (place, known) => {
            // A call that needs a key has one, though the limits do not count by it.
            if let Some(known) = known.filter(|known| known.needs_key && own.is_some())
                && let Some(value) = keys.first().and_then(|key| HeaderValue::from_str(key).ok())
            {
                headers.push((known.key_header.clone(), value));
            }
            place.clone()
        }
    };
    headers.extend(given.headers.iter().cloned());
    let target = Target::new(&url, given.ca_file.as_deref(), Clock::system()).map_err(|error| bad(&error))?;
    if place == KeyPlace::Address && !(target.is_local() && target.address.is_ipv4()) {
        return Err(usage("--key address needs a target at an IPv4 address of this machine"));
    }
    Ok(target.with_method(method).with_headers(headers).with_body(body).with_keys(place, keys.to_vec().into()))
}

fn setting(arguments: &Loadtest, subject: &Subject, planned: &Planned, seen: &Seen, ended: u64) -> Setting {
    let given = &arguments.target;
    let target = match (&subject.operation, &given.url) {
        (Some(known), Some(url)) => format!("{} at {url}", known.name),
        (Some(known), None) => format!("{} of {}", known.name, known.folder.display()),
        (None, Some(url)) => url.to_string(),
        (None, None) => "what is expected".to_owned(),
    };
    let limits = subject.found.limits.iter().map(|limit| limit.terms.to_string()).collect::<Vec<_>>().join(", ");
    let digest = subject.operation.as_ref().map(|known| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let text = runtime.map(|runtime| {
            let shared = Shared::new(Clock::system(), runtime.handle().clone());
            Source::new(Origin::Folder(known.folder.clone()), Arc::new(shared)).stamp().text()
        });
        format!("{limits}; {} {}", known.folder.display(), text.unwrap_or_default())
    });
    Setting {
        target,
        repeat: repeat(planned.plan.seed, given.virtual_time || arguments.traffic.seed.is_some()),
        policy: digest.or_else(|| (!limits.is_empty()).then_some(limits)),
        seed: planned.plan.seed,
        virtual_time: given.virtual_time,
        interrupted: seen.stopped(),
        seconds: ended as f64 / 1e9,
        notes: planned.plan.notes.clone(),
    }
}

/// The command line again, with the seed.
fn repeat(seed: u64, _: bool) -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        "sluicegate".clone_into(program);
    }
    if !words.iter().any(|word| word == "--seed" || word.starts_with("--seed=")) {
        words.push(format!("--seed {seed}"));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+ ".contains(c);
    let mut hidden = false;
    let quoted = words.iter().enumerate().map(|(at, word)| {
        // What a header holds may be a secret.
        let secret = std::mem::take(&mut hidden);
        hidden = matches!(word.as_str(), "-H" | "--header");
        match word {
            word if secret => format!("'{}: …'", word.split(':').next().unwrap_or_default()),
            word if word.starts_with("--header=") || (word.starts_with("-H") && word.len() > 2) => "-H '…'".to_owned(),
            word if at + 1 == words.len() && word.starts_with("--seed ") => word.clone(),
            word if word.chars().all(safe) && !word.contains(' ') && !word.is_empty() => word.clone(),
            word => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn finish(
    arguments: &Loadtest,
    session: &Session<'_>,
    planned: &Planned,
    setting: Setting,
    measured: &Measured,
) -> Report {
    let wanted = &arguments.report;
    let assertions = assertions(&wanted.assertions, !wanted.no_default_assertions);
    analyse(session, &planned.plan, setting, measured, &assertions)
}
