//! Subscriptions as written into rings of keys: those of gateway.toml, and those of the key file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use toml::Spanned;

use super::world::known_apis;
use crate::config::diagnostic::{Severity, suggest};
use crate::config::folder::Document;
use crate::config::key_file;
use crate::config::source::{FileId, Location, Sources};
use crate::config::spec::{KeySpec, SubscriptionSpec, SubscriptionState};
use crate::config::{At, Diagnostic, Diagnostics};
use crate::identity::key_ring::{DuplicateKey, KeyRing, Keys, LastFour, SubscriptionKey};
use crate::identity::subscription::{DigestError, KeyDigest, Scope, State, Subscription};

/// More mistakes of one key file than this are not listed: whoever wrote the first hundred wrote the others too.
const MOST_MISTAKES: usize = 100;

/// The keys of a configuration. Those of the key file are taken from `kept` while it does not change.
pub fn keys(
    document: &Document<'_>,
    file: FileId,
    sources: &Sources,
    kept: &Mutex<Option<Arc<KeyFile>>>,
    diagnostics: &mut Diagnostics,
) -> Keys {
    let mut reader = Reader::new(file);
    let mut written = KeyRing::default();
    for entry in &document.subscriptions {
        let Some((subscription, keys)) = reader.subscription(&entry.name, &entry.spec, entry.clean, diagnostics) else {
            continue;
        };
        if let Err(duplicate) = written.add(subscription, keys) {
            report_duplicate(&duplicate, (file, sources), (file, sources), diagnostics);
        }
    }
    written.shrink();
    reader.names.check(document, file, diagnostics);
    let mut keys = Keys { written: Arc::new(written), filed: Arc::default() };
    let Some(file_of_keys) = document.key_file else { return keys };
    let filed = KeyFile::load(file_of_keys, sources, kept, diagnostics);
    filed.names.check(document, file_of_keys, diagnostics);
    for (digest, second) in keys.written.iter() {
        if let Some(first) = filed.ring.find(digest) {
            let duplicate =
                DuplicateKey { first: first.subscription.id.clone(), second: second.id.clone(), digest: *digest };
            report_duplicate(&duplicate, (file_of_keys, sources), (file, sources), diagnostics);
        }
    }
    let mine: HashMap<&str, Range<usize>> =
        document.subscriptions.iter().map(|entry| (entry.name.get_ref().as_str(), entry.name.span())).collect();
    if !mine.is_empty() {
        let mut told = HashSet::new();
        for (_, subscription) in filed.ring.iter() {
            if let Some(span) = mine.get(&*subscription.id)
                && told.insert(&subscription.id)
            {
                let text = format!("subscription `{}` is in the key file too", subscription.id);
                diagnostics.push(
                    Diagnostic::error("duplicate-subscription", file, span.clone(), text)
                        .hint("counters and logs know a subscription by its name; keep one of them"),
                );
            }
        }
    }
    keys.filed = filed.ring.clone();
    keys
}

/// The keys of a ring and those of guests, whose keys are random and in no other ring.
pub fn with_guests(ring: &KeyRing, guests: &[(Subscription, KeyDigest)]) -> Arc<KeyRing> {
    let mut ring = ring.clone();
    for (guest, digest) in guests {
        // One that is there already is as good.
        let _ = ring.add(guest.clone(), [SubscriptionKey::from(*digest)]);
    }
    Arc::new(ring)
}

/// Names the places of a key that is there twice.
fn report_duplicate(
    duplicate: &DuplicateKey,
    first: (FileId, &Sources),
    second: (FileId, &Sources),
    diagnostics: &mut Diagnostics,
) {
    let digest = duplicate.digest.to_string();
    // A key that a subscription holds twice stands in its table twice.
    let place = |(file, sources): (FileId, &Sources), id: &str, last: bool| {
        let text = &sources.file(file).text;
        let table = key_file::edit::find(text, id).unwrap_or(0..text.len());
        let lower = text[table.clone()].to_ascii_lowercase();
        let at = if last { lower.rfind(&digest) } else { lower.find(&digest) };
        // With its quotes.
        at.map(|at| table.start + at - 1..table.start + at + digest.len() + 1).unwrap_or_default()
    };
    let one = place(first, &duplicate.first, false);
    let other = place(second, &duplicate.second, true);
    diagnostics.push(
        Diagnostic::error("duplicate-key", second.0, other, duplicate.to_string())
            .related(Location { file: first.0, span: one }, "the same key")
            .hint("each key belongs to one subscription"),
    );
}

/// A key file that was read, and what depends on the rest of the configuration.
#[derive(Debug, Default)]
pub struct KeyFile {
    digest: [u8; 32],
    ring: Arc<KeyRing>,
    names: Names,
    /// Repeated as long as the file is the same.
    warnings: Vec<Diagnostic>,
}

impl KeyFile {
    fn load(
        file: FileId,
        sources: &Sources,
        kept: &Mutex<Option<Arc<Self>>>,
        diagnostics: &mut Diagnostics,
    ) -> Arc<Self> {
        let text = &*sources.file(file).text;
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        if let Some(known) = kept.lock().as_ref().filter(|known| known.digest == found) {
            for warning in &known.warnings {
                let mut warning = warning.clone();
                warning.location.iter_mut().for_each(|location| location.file = file);
                diagnostics.push(warning);
            }
            return known.clone();
        }
        let mut own = Diagnostics::default();
        let (ring, names) = read(text, file, sources, &mut own);
        let (errors, warnings) = own.0.into_iter().partition(|one| one.severity == Severity::Error);
        let filed = Arc::new(Self { digest: found, ring: Arc::new(ring), names, warnings });
        let errors: Vec<Diagnostic> = errors;
        if errors.is_empty() {
            *kept.lock() = Some(filed.clone());
        }
        errors.into_iter().chain(filed.warnings.iter().cloned()).for_each(|one| diagnostics.push(one));
        filed
    }
}

/// Reads the pieces of a key file.
fn read(text: &str, file: FileId, sources: &Sources, diagnostics: &mut Diagnostics) -> (KeyRing, Names) {
    let mut reader = Reader::new(file);
    let mut ring = KeyRing::default();
    let mut ids: HashSet<Box<str>> = HashSet::new();
    if let Some(at) = text.find('\u{fffd}') {
        let end = at + '\u{fffd}'.len_utf8();
        diagnostics.push(
            Diagnostic::error("encoding", file, at..end, "this is not UTF-8 text").hint("save the file as UTF-8"),
        );
        return (ring, reader.names);
    }
    // Errors and warnings that are still to be shown.
    let mut left = [MOST_MISTAKES; 2];
    for piece in key_file::pieces(text) {
        let mut own = Diagnostics::default();
        let subscriptions = key_file::subscriptions_of(&text[piece.clone()], file, &mut own);
        reader.offset = piece.start;
        for (name, spec, clean) in subscriptions {
            if !ids.insert(name.get_ref().as_str().into()) {
                let text = format!("subscription `{}` stands twice in the file", name.get_ref());
                own.push(Diagnostic::error("duplicate-subscription", file, name.span(), text));
                continue;
            }
            let Some((subscription, keys)) = reader.subscription(&name, &spec, clean, &mut own) else { continue };
            if let Err(duplicate) = ring.add(subscription, keys) {
                left[0] = left[0].saturating_sub(1);
                report_duplicate(&duplicate, (file, sources), (file, sources), diagnostics);
            }
        }
        for mut one in own.0 {
            let errors = &mut left[usize::from(one.severity == Severity::Warning)];
            if *errors == 0 {
                continue;
            }
            *errors -= 1;
            let places = one.location.iter_mut().chain(one.related.iter_mut().map(|(location, _)| location));
            places.for_each(|at| at.span = at.span.start + piece.start..at.span.end + piece.start);
            diagnostics.push(one);
        }
        // After a warning there is more to read, however many there were.
        if left[0] == 0 {
            break;
        }
    }
    ring.shrink();
    (ring, reader.names)
}

/// Names that subscriptions use: each once in memory, and where it stands first.
#[derive(Debug, Default)]
struct Names {
    products: HashMap<Arc<str>, Range<usize>>,
    apis: HashMap<Arc<str>, Range<usize>>,
    consumers: HashMap<Arc<str>, Range<usize>>,
}

fn shared(names: &mut HashMap<Arc<str>, Range<usize>>, name: &At<String>, offset: usize) -> Arc<str> {
    if let Some((known, _)) = names.get_key_value(name.as_str()) {
        return known.clone();
    }
    let new: Arc<str> = name.as_str().into();
    names.insert(new.clone(), name.span.start + offset..name.span.end + offset);
    new
}

impl Names {
    /// Reports names that mean nothing in this configuration.
    fn check(&self, document: &Document<'_>, file: FileId, diagnostics: &mut Diagnostics) {
        let products = || document.products.iter().map(|known| known.name.get_ref().as_str());
        for (name, span) in self.products.iter().filter(|(name, _)| !products().any(|known| *known == ***name)) {
            let text = format!("unknown product `{name}`");
            diagnostics.push(
                Diagnostic::error("unknown-product", file, span.clone(), text)
                    .hint("define it under `[products]` in gateway.toml")
                    .maybe_hint(suggest(name, products())),
            );
        }
        let consumers = || document.consumers.iter().map(|known| known.name.get_ref().as_str());
        // Without the table, a consumer is only a word for logs.
        if !document.consumers.is_empty() {
            for (name, span) in self.consumers.iter().filter(|(name, _)| !consumers().any(|known| *known == ***name)) {
                let text = format!("unknown consumer `{name}`");
                diagnostics.push(
                    Diagnostic::error("unknown-consumer", file, span.clone(), text)
                        .hint("define it under `[consumers]` in gateway.toml")
                        .maybe_hint(suggest(name, consumers())),
                );
            }
        }
        let apis: Vec<At<String>> =
            self.apis.iter().map(|(name, span)| At { value: name.to_string(), span: span.clone() }).collect();
        known_apis(&apis, document, file, diagnostics);
    }
}

/// Turns the subscriptions of one file into what runs.
struct Reader {
    file: FileId,
    /// Where the piece of the file begins whose places are counted from its own start.
    offset: usize,
    names: Names,
}

impl Reader {
    fn new(file: FileId) -> Self {
        Self { file, offset: 0, names: Names::default() }
    }

    fn subscription(
        &mut self,
        name: &Spanned<String>,
        spec: &SubscriptionSpec,
        clean: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Subscription, Vec<SubscriptionKey>)> {
        let before = diagnostics.errors();
        let file = self.file;
        let mut keys = Vec::new();
        for key in &spec.keys {
            keys.extend(digest_of(key, file, diagnostics).map(SubscriptionKey::from));
        }
        for key in spec.primary.iter().chain(&spec.secondary).chain(&spec.retiring) {
            keys.extend(self.key(key, diagnostics));
        }
        if keys.is_empty() && clean && diagnostics.errors() == before && spec.state == SubscriptionState::Active {
            let text = format!("subscription `{}` has no keys, so nobody can use it", name.get_ref());
            diagnostics.push(Diagnostic::warning("no-keys", file, name.span(), text).hint("keys = [\"sha256:…\"]"));
        }
        if spec.product.is_some() && !spec.apis.is_empty() {
            let text = "a subscription grants a product or a list of APIs";
            diagnostics
                .push(Diagnostic::error("bad-subscription", file, name.span(), text).hint("give `product` or `apis`"));
        }
        let expires = time(spec.expires.as_ref(), file, diagnostics);
        time(spec.created.as_ref(), file, diagnostics);
        let (names, offset) = (&mut self.names, self.offset);
        let scope = match &spec.product {
            Some(product) => Scope::Product(shared(&mut names.products, product, offset)),
            None if spec.apis.is_empty() => Scope::All,
            None => Scope::Apis(spec.apis.iter().map(|name| shared(&mut names.apis, name, offset)).collect()),
        };
        // What it names besides is known to be named, so that it is checked as well.
        if spec.product.is_some() {
            spec.apis.iter().for_each(|name| drop(shared(&mut names.apis, name, offset)));
        }
        let consumer = spec.consumer.as_ref().map(|name| shared(&mut names.consumers, name, offset));
        let metadata = spec.metadata.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        if !clean || diagnostics.errors() > before {
            return None;
        }
        let subscription = Subscription {
            id: name.get_ref().as_str().into(),
            consumer,
            scope,
            state: state(spec.state),
            expires,
            metadata: (!spec.metadata.is_empty()).then(|| Box::new(metadata)),
        };
        Some((subscription, keys))
    }

    fn key(&self, spec: &At<KeySpec>, diagnostics: &mut Diagnostics) -> Option<SubscriptionKey> {
        let digest = digest_of(&spec.digest, self.file, diagnostics);
        let last_four = spec.last_four.as_ref().and_then(|text| {
            let four = LastFour::new(text);
            if four.is_none() {
                diagnostics.push(
                    Diagnostic::error("bad-value", self.file, text.span.clone(), "this is not the end of a key")
                        .secret()
                        .hint("the last four characters of the key, and no more"),
                );
            }
            four
        });
        let expires = time(spec.expires.as_ref(), self.file, diagnostics);
        time(spec.created.as_ref(), self.file, diagnostics);
        time(spec.revoked.as_ref(), self.file, diagnostics);
        Some(SubscriptionKey { digest: digest?, last_four, expires, revoked: spec.revoked.is_some() })
    }
}

fn digest_of(text: &At<String>, file: FileId, diagnostics: &mut Diagnostics) -> Option<KeyDigest> {
    let parsed: Result<KeyDigest, DigestError> = text.parse();
    parsed
        .map_err(|error| {
            diagnostics.push(
                Diagnostic::error("bad-digest", file, text.span.clone(), error.to_string())
                    .secret()
                    .hint("`sluicegate key digest` reads a key from standard input and prints its digest"),
            );
        })
        .ok()
}

fn time(text: Option<&At<String>>, file: FileId, diagnostics: &mut Diagnostics) -> Option<SystemTime> {
    let text = text?;
    let time = text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    if time.is_none() {
        let message = format!("`{}` is not a date and time", text.value);
        diagnostics.push(
            Diagnostic::error("bad-value", file, text.span.clone(), message)
                .hint("RFC 3339 with a time zone: `2027-01-31T00:00:00Z`"),
        );
    }
    time
}

fn state(state: SubscriptionState) -> State {
    match state {
        SubscriptionState::Active => State::Active,
        SubscriptionState::Suspended => State::Suspended,
        SubscriptionState::Submitted => State::Submitted,
        SubscriptionState::Rejected => State::Rejected,
        SubscriptionState::Cancelled => State::Cancelled,
        SubscriptionState::Expired => State::Expired,
    }
}
