//! Runs the test: over connections, with or without a gateway of its own, or in virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::Loadtest;
use super::backend::Backend;
use super::order::Planned;
use super::progress::{Progress, Seen};
use super::setting::setting;
use super::subject::{Known, Subject};
use super::{hooks, serve, target};
use crate::cli::exit;
use crate::cli::output::complain;
use crate::cli::run::{self, Asked, Signals};
use crate::loadtest::analysis::{Measured, Report, Setting, analyse};
use crate::loadtest::expect::nanos;
use crate::loadtest::live::{self, Driven};
use crate::loadtest::metric::assertions;
use crate::loadtest::session::Session;
use crate::loadtest::virtual_time::{self, Limits};

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
        let progress = Progress::new(arguments.report.progress, seen.clone(), plan.end);
        runtime.block_on(watch(ended, signals, progress, &seen))
    })?;
    let ended = session.records.iter().map(|record| record.ended).max().unwrap_or(0);
    let setting = setting(arguments, subject, planned, &seen, ended);
    Ok(finish(arguments, &session, planned, setting, &Measured::default()))
}

fn over_connections(
    arguments: &Loadtest,
    subject: &Subject,
    planned: &Planned,
    runtime: &Runtime,
    signals: Signals,
) -> Result<Report, u8> {
    let Planned { plan, keys, .. } = planned;
    let served = subject.operation.as_ref().filter(|_| arguments.target.urls.is_empty());
    let backend = Backend::begin(arguments, subject, planned, runtime)?;
    let serve = |known: &Known| {
        runtime.block_on(async { serve::serve(arguments, subject, known, planned, backend.address(), runtime) })
    };
    let own = served.map(serve).transpose()?;
    let target = target::target(arguments, subject, own.as_ref(), keys)?;
    let seen = Arc::<Seen>::default();
    let timeout = arguments.bounds.timeout;
    live::reach(&target, timeout).map_err(|why| {
        complain(&format!("error: {why}\n"));
        exit::FAILED
    })?;
    let (driven, mut broken) = std::thread::scope(|scope| {
        let (done, ended) = oneshot::channel();
        let (acting, acts) = mpsc::unbounded_channel();
        let telling = seen.clone();
        scope.spawn(move || {
            let mut look = |session: &Session<'_>, now| telling.look(session, now);
            let _ = done.send(live::run(plan, target, timeout, &acting, &mut look));
        });
        let progress = Progress::new(arguments.report.progress, seen.clone(), plan.end);
        let hooks = hooks::follow(acts, plan, &arguments.probes, own.as_ref());
        runtime.block_on(async { tokio::join!(watch(ended, signals, progress, &seen), hooks) })
    });
    let driven = driven?.map_err(|error| {
        complain(&format!("error: the load cannot be driven: {error}\n"));
        exit::FAILED
    })?;
    let upstream = backend.upstream(arguments, runtime).unwrap_or_else(|why| {
        complain(&format!("warning: {why}\n"));
        broken.push(why);
        None
    });
    if let Some(own) = own {
        runtime.block_on(async { drop(own.drain(false).await) });
    }
    let Driven { session, busy, ended, first_error } = driven;
    if session.tally == [0, 0, session.records.len() as u64]
        && let Some(error) = &first_error
    {
        complain(&format!("error: nothing was answered: {error}\n"));
        return Err(exit::FAILED);
    }
    let mut setting = Setting { broken, ..setting(arguments, subject, planned, &seen, ended) };
    setting.notes.extend(first_error.map(|error| format!("the first request without an answer: {error}")));
    let measured = Measured { upstream, busy: Some(busy), connections: plan.bounds.connections };
    Ok(finish(arguments, &session, planned, setting, &measured))
}

/// Waits for the end of a test while it listens to signals and shows progress.
async fn watch<T>(
    mut ended: oneshot::Receiver<T>,
    mut signals: Signals,
    mut progress: Option<Progress>,
    seen: &Seen,
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
