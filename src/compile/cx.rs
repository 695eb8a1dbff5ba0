//! What a policy has at hand while it is compiled: its scope, the named things of the configuration, and a way to report mistakes.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use serde::de::DeserializeOwned;

use super::cache::CacheEnd;
use super::world::World;
use crate::config::diagnostic::{one_of, suggest};
use crate::config::folder::Entry;
use crate::config::source::{FileId, Location, Sources};
use crate::config::{At, Diagnostic, Diagnostics, Nested, RawPolicy, Text, read};
use crate::expression::{Dialect, Expression, Needs};
use crate::gateway::Backend;
use crate::pipeline::{CacheRole, Origin, Placed, Step, TokenCheck, TokenDemand, forward};
use crate::policy::{KINDS, Kind, Section};
use crate::routing::TemplateError;
use crate::trace;

mod error;

pub use error::CompileError;

/// A rate limit, as others beside it see it.
#[derive(Clone, Debug)]
pub struct RateSeen {
    /// The path of the list that it stands in: only limits of one list always apply together.
    pub list: String,
    /// The key as written.
    pub key: Option<String>,
    /// How many requests it admits.
    pub calls: NonZeroU32,
    /// In which time.
    pub period: Duration,
}

/// A broad or narrow scope, and its name in paths and ids.
#[derive(Clone, Debug)]
pub struct ScopeId {
    /// `global`, `product`, `api` or `operation`.
    pub kind: &'static str,
    /// A name that stays the same over reloads: `api:orders`, `operation:orders/GetOrder`.
    pub id: String,
    /// The variables of the operation's template, in the scope of an operation.
    pub variables: Option<Vec<String>>,
}

impl ScopeId {
    /// A scope without a template.
    pub fn new(kind: &'static str, id: &str) -> Self {
        Self { kind, id: id.to_owned(), variables: None }
    }
}

/// An item of a compiled section.
#[derive(Clone, Debug)]
pub enum Item {
    /// A step.
    Step(Placed),
    /// A step for these operations of the API only.
    StepOf(Placed, Arc<[Box<str>]>),
    /// The place of the broader scope's steps.
    Base,
}

/// What a policy has at hand while it is compiled.
pub struct CompileCx<'a, 'i> {
    /// The named things of the configuration.
    pub world: &'a World,
    /// The files, for places.
    pub sources: &'a Sources,
    /// Where mistakes go.
    pub diagnostics: &'a mut Diagnostics,
    /// The fragments as written; each inclusion compiles its own copy.
    pub fragments: &'a HashMap<&'a str, &'a Entry<Vec<RawPolicy<'i>>>>,
    /// The section being compiled.
    pub section: Section,
    /// The scope being compiled.
    pub scope: ScopeId,
    /// The origin of the policy being compiled.
    pub origin: Arc<Origin>,
    /// What the policy's expressions read so far.
    pub needs: Needs,
    /// Whether the policy being compiled may verify the caller's token.
    pub gives_token: bool,
    /// Whether the policy being compiled asks for a token that a policy before it verified.
    pub needs_token: bool,
    /// Where a policy inside it stands that does.
    token_place: Option<Location>,
    /// What the policy being compiled, and those inside it, ask of the caller's token.
    token_checks: Vec<TokenCheck>,
    /// The ends of caches of answers that the policy being compiled, and those inside it, are.
    caches: Vec<(CacheRole, Arc<Origin>)>,
    /// Whether the innermost list is a fragment: its counters are those of the fragment, whoever includes it.
    pub fragment: Option<String>,
    /// The rate limits of the section so far, to find those that contradict each other.
    pub rates: Vec<RateSeen>,
    file: FileId,
    nested: Vec<Vec<RawPolicy<'i>>>,
    prefix: String,
}

impl<'a, 'i> CompileCx<'a, 'i> {
    /// A context for one section of one scope.
    pub fn new(
        world: &'a World,
        sources: &'a Sources,
        diagnostics: &'a mut Diagnostics,
        fragments: &'a HashMap<&'a str, &'a Entry<Vec<RawPolicy<'i>>>>,
        section: Section,
        scope: ScopeId,
        file: FileId,
    ) -> Self {
        Self {
            world,
            sources,
            diagnostics,
            fragments,
            section,
            scope,
            origin: Arc::default(),
            needs: Needs::default(),
            gives_token: false,
            needs_token: false,
            token_place: None,
            token_checks: Vec::new(),
            caches: Vec::new(),
            fragment: None,
            rates: Vec::new(),
            file,
            nested: Vec::new(),
            prefix: String::new(),
        }
    }

    /// Compiles a list of policies; mistakes are reported and left out.
    pub fn section(&mut self, policies: &[RawPolicy<'i>]) -> Vec<Item> {
        let mut items = Vec::with_capacity(policies.len());
        let mut seen: HashMap<&'static str, usize> = HashMap::new();
        for (at, raw) in policies.iter().enumerate() {
            self.file = raw.file;
            if at > 0 {
                self.check_reached(&policies[at - 1], raw);
            }
            if raw.name.get_ref() == "base" {
                items.extend(self.base(raw));
                continue;
            }
            let Some(kind) = Kind::find(raw.name.get_ref()) else {
                let known = || KINDS.iter().map(|kind| kind.name).chain(["base"]);
                self.diagnostics.push(
                    Diagnostic::error(
                        "unknown-policy",
                        raw.file,
                        raw.name.span(),
                        format!("unknown policy `{}`", raw.name.get_ref()),
                    )
                    .hint(format!("one of {}", one_of(known())))
                    .maybe_hint(suggest(raw.name.get_ref(), known())),
                );
                continue;
            };
            if !kind.sections.contains(self.section) {
                let allowed = one_of(kind.sections.iter().map(Section::as_str));
                let text = format!("`{}` cannot stand in `{}`", kind.name, self.section.as_str());
                self.diagnostics.push(
                    Diagnostic::error("wrong-section", raw.file, raw.name.span(), text)
                        .hint(format!("it belongs in {allowed}")),
                );
                continue;
            }
            let count = seen.entry(kind.name).or_default();
            *count += 1;
            if kind.once && *count > 1 {
                let text = format!("`{}` stands in this list already", kind.name);
                let first = policies[..at].iter().find(|other| other.name.get_ref() == kind.name);
                let place = first.map(|first| Location { file: first.file, span: first.name.span() });
                let mistake = Diagnostic::error("duplicate-policy", raw.file, raw.name.span(), text)
                    .hint("once in a list, as in Azure API Management; `choose` tells cases apart");
                self.diagnostics.push(match place {
                    Some(place) => mistake.related(place, "the first one"),
                    None => mistake,
                });
            }
            let path = format!("{}{}[{count}]", self.prefix, kind.name);
            let step = self.policy(kind, raw, path);
            items.extend(step.map(|step| match &raw.operations {
                None => Item::Step(step),
                Some(names) => {
                    self.check_operations(raw);
                    Item::StepOf(step, names.iter().map(|name| name.get_ref().as_str().into()).collect())
                }
            }));
        }
        items
    }

    /// Reports a list of operations where there is nothing to choose from.
    fn check_operations(&mut self, raw: &RawPolicy<'i>) {
        let (Some(names), false) = (&raw.operations, self.scope.kind == "api" && self.prefix.is_empty()) else {
            return;
        };
        let span = names.first().map_or_else(|| raw.name.span(), |name| name.span());
        self.diagnostics.push(
            Diagnostic::error("misplaced-operations", raw.file, span, "`operations` cannot stand here")
                .hint("it belongs to a policy at the top of a section of an API"),
        );
    }

    /// Reports a policy behind the one that stands for the call of the backend.
    fn check_reached(&mut self, before: &RawPolicy<'i>, raw: &RawPolicy<'i>) {
        if before.name.get_ref() == forward::POLICY {
            let text = format!(
                "`{}` stands after `forward-request`, which is the last policy of its list",
                raw.name.get_ref()
            );
            let place = Location { file: before.file, span: before.name.span() };
            self.diagnostics.push(
                Diagnostic::error("after-forward-request", raw.file, raw.name.span(), text)
                    .related(place, "the backend is called here")
                    .hint("put it before `forward-request`, or into `outbound` when it works on the answer"),
            );
        }
    }

    fn base(&mut self, raw: &RawPolicy<'i>) -> Option<Item> {
        for key in raw.table.keys() {
            self.diagnostics.push(Diagnostic::error("unknown-key", raw.file, key.span(), "`base` takes no other key"));
        }
        if !self.prefix.is_empty() || self.scope.kind == "global" {
            let why = if self.prefix.is_empty() {
                "there is no broader scope than the global one"
            } else {
                "`base` stands only at the top of a section"
            };
            self.diagnostics.push(Diagnostic::error("misplaced-base", raw.file, raw.name.span(), why));
            return None;
        }
        Some(Item::Base)
    }

    fn policy(&mut self, kind: &Kind, raw: &RawPolicy<'i>, path: String) -> Option<Placed> {
        let place = self.sources.place(&Location { file: raw.file, span: raw.name.span() });
        let origin = Arc::new(Origin {
            policy: kind.name,
            section: self.section.as_str(),
            scope: self.scope.kind,
            path,
            id: raw.id.clone(),
            place,
        });
        let outer = (
            std::mem::replace(&mut self.origin, origin.clone()),
            std::mem::take(&mut self.needs),
            std::mem::replace(&mut self.nested, raw.nested.clone()),
            (std::mem::take(&mut self.gives_token), std::mem::take(&mut self.needs_token), self.token_place.take()),
            (std::mem::take(&mut self.token_checks), std::mem::take(&mut self.caches)),
        );
        let step = (kind.compile)(raw, self);
        if step.is_none() {
            // The policies inside are looked at all the same, so that all mistakes show at once.
            for list in std::mem::take(&mut self.nested) {
                let prefix = format!("{}/", self.origin.path);
                drop(self.inner(&list, prefix));
            }
        }
        let needs = std::mem::replace(&mut self.needs, outer.1);
        let token_checks = std::mem::replace(&mut self.token_checks, outer.4.0).into_boxed_slice();
        let caches = std::mem::replace(&mut self.caches, outer.4.1).into_boxed_slice();
        let gives_token = std::mem::replace(&mut self.gives_token, outer.3.0);
        let own = std::mem::replace(&mut self.needs_token, outer.3.1);
        let own = own.then(|| Location { file: raw.file, span: raw.name.span() });
        let token_place = own.or(std::mem::replace(&mut self.token_place, outer.3.2));
        self.origin = outer.0;
        self.nested = outer.2;
        let needs_token = token_place.is_some();
        let step = step?;
        let step = if self.world.traced { trace::wrap(step, &origin) } else { step };
        let placed = Placed { step, origin, needs, gives_token, needs_token, token_checks, caches };
        for (role, cache) in placed.caches.iter().filter(|(_, cache)| Arc::ptr_eq(cache, &placed.origin)) {
            let location = Location { file: raw.file, span: raw.name.span() };
            self.world.caches.lock().push(CacheEnd::new(*role, cache.clone(), location));
        }
        if let Some(place) = token_place {
            self.world.token_needs.lock().push((placed.origin.clone(), place));
        }
        Some(placed)
    }

    /// Reads the policy's own type.
    pub fn read<P: DeserializeOwned>(&mut self, raw: &RawPolicy<'i>) -> Option<P> {
        let before = self.diagnostics.0.len();
        let spec = read::read(&raw.table, raw.file, &raw.name.span(), self.diagnostics);
        for one in self.diagnostics.0[before..].iter_mut().filter(|one| one.code == "unknown-key" && one.hint.is_none())
        {
            let Some(at) = &one.location else { continue };
            let key = self.sources.file(at.file).text.get(at.span.clone()).unwrap_or_default();
            one.hint = owners(key);
        }
        spec
    }

    /// Reports a mistake of the policy being compiled.
    pub fn report(&mut self, error: CompileError, raw: &RawPolicy<'i>) {
        // What failed because of mistakes that were reported already says nothing new.
        if error.is_reported() {
            return;
        }
        let span = error.span.unwrap_or_else(|| raw.name.span());
        self.diagnostics.push(Diagnostic::error(error.code, raw.file, span, error.message).maybe_hint(error.hint));
    }

    /// Notes a query parameter in which callers send credentials, so that the access log masks its value.
    pub fn secret_parameter(&self, name: &str) {
        self.world.secret_parameters.lock().insert(name.to_owned());
    }

    /// Notes a header in which callers send credentials, so that traces mask its value.
    pub fn secret_header(&self, name: &HeaderName) {
        self.world.secret_headers.lock().insert(name.to_string());
    }

    /// Reports a mistake that has a place, so that compiling can go on and find more; ends with [`CompileError::reported`].
    pub fn note<T>(&mut self, result: Result<T, CompileError>) -> Result<T, CompileError> {
        let error = match result {
            Err(CompileError { span: Some(span), code, message, hint }) if code != CompileError::REPORTED => {
                self.diagnostics.push(Diagnostic::error(code, self.file, span, message).maybe_hint(hint));
                CompileError::reported()
            }
            other => return other,
        };
        Err(error)
    }

    /// Warns about a field of the policy being compiled.
    pub fn warn<T>(&mut self, field: &At<T>, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(code, self.file, field.span.clone(), message).hint(hint));
    }

    /// Compiles the policies of a list inside the policy. `label` is their part of the path (`when[2]`).
    pub fn steps(&mut self, nested: &Nested, label: &str) -> Vec<Placed> {
        let Some(list) = nested.0.and_then(|number| self.nested.get_mut(number)).map(std::mem::take) else {
            return Vec::new();
        };
        let prefix = format!("{}/{label}/", self.origin.path);
        self.inner(&list, prefix)
    }

    /// Compiles a fragment's policies in place of the policy that includes it.
    pub fn fragment_steps(&mut self, name: &At<String>) -> Result<Vec<Placed>, CompileError> {
        let Some(entry) = self.fragments.get(name.as_str()).copied() else {
            return Err(CompileError::at(name, format!("unknown fragment `{}`", name.value))
                .code("unknown-fragment")
                .hint(unknown_hint(
                    &name.value,
                    self.fragments.keys().copied(),
                    "define it under `[fragments]` in gateway.toml",
                )));
        };
        if let Some(outer) = &self.fragment {
            return Err(CompileError::at(name, format!("fragment `{outer}` includes a fragment"))
                .code("nested-fragment")
                .hint("a fragment cannot include another one, as in Azure API Management"));
        }
        self.fragment = Some(name.value.clone());
        let steps = self.inner(&entry.spec, format!("{}/{}/", self.origin.path, name.value));
        self.fragment = None;
        Ok(steps)
    }

    fn inner(&mut self, list: &[RawPolicy<'i>], prefix: String) -> Vec<Placed> {
        let file = self.file;
        let prefix = std::mem::replace(&mut self.prefix, prefix);
        let items = self.section(list);
        self.prefix = prefix;
        self.file = file;
        let steps = items.into_iter().filter_map(|item| match item {
            Item::Step(placed) | Item::StepOf(placed, _) => Some(placed),
            Item::Base => None,
        });
        let steps: Vec<Placed> = steps.collect();
        // The pipeline keeps the request's head for whoever reads it later, however deep it stands. A body is
        // buffered by the segment that holds the step.
        for kept in [Needs::TARGET, Needs::REQUEST_HEAD, Needs::HEAD_LATER] {
            if steps.iter().any(|placed| placed.needs.contains(kept)) {
                self.needs |= kept;
            }
        }
        if steps.iter().any(|placed| placed.needs.reads_body()) {
            self.needs |= Needs::INNER_BODY;
        }
        if let Some(origin) = without_token(&steps).next() {
            let needs = self.world.token_needs.lock();
            let place = needs.iter().find(|(known, _)| Arc::ptr_eq(known, origin)).map(|(_, place)| place.clone());
            self.token_place = self.token_place.take().or(place);
        }
        self.gives_token |= steps.iter().any(|placed| placed.gives_token);
        self.token_checks.extend(steps.iter().flat_map(|placed| placed.token_checks.iter().cloned()));
        self.caches.extend(steps.iter().flat_map(|placed| placed.caches.iter().cloned()));
        for later in [Needs::HEAD_LATER, Needs::ANSWER] {
            if steps.iter().any(|placed| placed.needs.contains(later)) {
                self.needs |= later;
            }
        }
        steps
    }

    /// Notes what the policy being compiled asks of the caller's token.
    pub fn asks_of_token(&mut self, demand: TokenDemand) {
        self.token_checks.push(TokenCheck { origin: self.origin.clone(), demand });
    }

    /// Notes that the policy being compiled is one end of a cache of answers.
    pub fn is_end_of_cache(&mut self, role: CacheRole) {
        self.caches.push((role, self.origin.clone()));
    }

    /// Compiles an expression and notes what it reads.
    pub fn expression(&mut self, text: &Text) -> Result<Expression, CompileError> {
        self.expression_in(text, 0..text.len())
    }

    /// Compiles the expression that stands in a stretch of a text, and notes what it reads.
    pub fn expression_in(&mut self, text: &Text, stretch: Range<usize>) -> Result<Expression, CompileError> {
        match Expression::parse(&text[stretch.clone()], Dialect::Gateway) {
            Ok(expression) => {
                self.needs |= expression.needs();
                Ok(expression)
            }
            Err(error) => Err(CompileError {
                span: Some(self.inside(text, &(stretch.start + error.range.start..stretch.start + error.range.end))),
                code: "bad-expression",
                message: error.message,
                hint: error.hint,
            }),
        }
    }

    /// The place in the file of a stretch of a text value: exact where the text stands as written, the whole value
    /// where escapes or named values stand between.
    pub fn inside<T: std::ops::Deref<Target = str>>(&self, text: &At<T>, range: &Range<usize>) -> Range<usize> {
        self.sources.inside(self.file, &text.span, &text.value, range)
    }

    /// Reports variables that the operation's template does not have. At broader scopes there is no one template.
    pub fn check_variables<'n>(&mut self, template: &Text, used: impl Iterator<Item = (&'n str, Range<usize>)>) {
        let Some(known) = &self.scope.variables else { return };
        for (name, span) in used.filter(|(name, _)| !known.iter().any(|one| one == name)) {
            let names = known.iter().map(String::as_str);
            let none = known.is_empty().then(|| "the template in `match` has no variables".to_owned());
            let label = if known.is_empty() { String::new() } else { format!("expected {}", one_of(names.clone())) };
            let message = format!("the operation's template has no variable `{name}`");
            self.diagnostics.push(
                Diagnostic::error("unknown-variable", self.file, self.inside(template, &span), message)
                    .label(label)
                    .maybe_hint(none)
                    .maybe_hint(suggest(name, names)),
            );
        }
    }

    /// A mistake inside a template, at its place in the file.
    pub fn template_error<T: std::ops::Deref<Target = str>>(&self, text: &At<T>, error: TemplateError) -> CompileError {
        let span = Some(self.inside(text, &error.span));
        CompileError { span, code: "bad-template", message: error.message, hint: error.hint }
    }

    /// A header's name.
    pub fn header_name(&self, text: &At<String>) -> Result<HeaderName, CompileError> {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            CompileError::at(text, format!("`{}` cannot be the name of a header", text.value))
                .hint("letters, digits and `-` (RFC 9110 §5.1)")
        })
    }

    /// A status code.
    pub fn status(&self, code: &At<u16>) -> Result<StatusCode, CompileError> {
        StatusCode::from_u16(code.value).ok().filter(|status| (200..=599).contains(&status.as_u16())).ok_or_else(|| {
            CompileError::at(code, format!("`{}` is not a status that can be answered", code.value)).hint("200 to 599")
        })
    }

    /// Asks for the definition of the API that the policy stands in. At broader scopes there may be APIs without one.
    pub fn asks_definition(&self) -> Result<(), CompileError> {
        let id = self.scope.id.split_once(':').map_or("", |(_, name)| name);
        let api = match self.scope.kind {
            "api" => id,
            "operation" => id.split_once('/').map_or(id, |(api, _)| api),
            _ => return Ok(()),
        };
        if self.world.defined.contains(api) {
            return Ok(());
        }
        Err(CompileError::whole("the API has no `definition` to work with")
            .code("no-definition")
            .hint("`definition = \"openapi.json\"` in its `[api]` table"))
    }

    /// A backend, by name.
    pub fn backend(&self, name: &At<String>) -> Result<Arc<Backend>, CompileError> {
        self.world.backends.get(name.as_str()).cloned().ok_or_else(|| {
            CompileError::at(name, format!("unknown backend `{}`", name.value)).code("unknown-backend").hint(
                unknown_hint(
                    &name.value,
                    self.world.backends.keys().map(String::as_str),
                    "define it under `[backends]` in gateway.toml",
                ),
            )
        })
    }

    /// A stable name for the state of the policy being compiled: the same after a reload, one for each scope it is
    /// written at, and the fragment's own inside a fragment.
    pub fn state_id(&self) -> String {
        if let Some(id) = &self.origin.id {
            return format!("{}#{id}", self.scope.id);
        }
        match &self.fragment {
            Some(fragment) => {
                let path = self.origin.path.as_str();
                let inside = path.split_once(&format!("/{fragment}/")).map_or(path, |(_, inside)| inside);
                format!("fragment:{fragment}/{inside}")
            }
            None => format!("{}/{}/{}", self.scope.id, self.section.as_str(), self.origin.path),
        }
    }
}

/// The hint for a key that belongs to other policies.
fn owners(key: &str) -> Option<String> {
    let mut generator = schemars::SchemaGenerator::default();
    let mut has = |kind: &&Kind| {
        (kind.schema)(&mut generator).get("properties").is_some_and(|properties| properties.get(key).is_some())
    };
    let owners: Vec<&str> = KINDS.iter().filter(&mut has).map(|kind| kind.name).collect();
    (!owners.is_empty() && owners.len() <= 4).then(|| format!("`{key}` is a key of {}", one_of(owners)))
}

/// The hint for a name that is not known: the closest one, else where such names are defined.
pub fn unknown_hint<'n>(found: &str, known: impl IntoIterator<Item = &'n str>, otherwise: &str) -> String {
    suggest(found, known).unwrap_or_else(|| otherwise.to_owned())
}

/// The steps that ask for a verified token which no step before them gives.
pub fn without_token(steps: &[Placed]) -> impl Iterator<Item = &Arc<Origin>> {
    // A list of policies inside one may do both, and is judged by what comes first in it.
    let end = steps.iter().position(|placed| placed.gives_token).map_or(steps.len(), |at| at + 1);
    steps[..end].iter().filter(|placed| placed.needs_token).map(|placed| &placed.origin)
}

/// Whether any of the steps is a layer.
pub fn has_layer(steps: &[Placed]) -> bool {
    steps.iter().any(|placed| matches!(placed.step, Step::Layer(_)))
}
