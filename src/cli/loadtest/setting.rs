//! How a test was run, for its report: what was tested, by which policy, and how to run it again.

use std::sync::Arc;

use super::Loadtest;
use super::order::Planned;
use super::progress::Seen;
use super::subject::Subject;
use crate::clock::Clock;
use crate::compile::{Origin, Shared};
use crate::loadtest::analysis::Setting;
use crate::process::source::Source;

pub(super) fn setting(arguments: &Loadtest, subject: &Subject, planned: &Planned, seen: &Seen, ended: u64) -> Setting {
    let given = &arguments.target;
    let urls = given.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let target = match (&subject.operation, urls.is_empty()) {
        (Some(known), false) => format!("{} at {urls}", known.name),
        (Some(known), true) => format!("{} of {}", known.name, known.folder.display()),
        (None, false) => urls,
        (None, true) => "what is expected".to_owned(),
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
        repeat: repeat(planned.plan.seed),
        policy: digest.or_else(|| (!limits.is_empty()).then_some(limits)),
        seed: planned.plan.seed,
        virtual_time: given.virtual_time,
        interrupted: seen.stopped(),
        broken: Vec::new(),
        seconds: ended as f64 / 1e9,
        notes: planned.plan.notes.clone(),
    }
}

/// The command line again, with the seed.
fn repeat(seed: u64) -> String {
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
