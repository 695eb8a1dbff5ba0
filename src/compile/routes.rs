//! Methods and templates into the router, and the mistakes that only show when all of them are put together.

use http::Method;

use super::Route;
use crate::config::diagnostic::suggest;
use crate::config::folder::{ApiDocument, Document};
use crate::config::source::{FileId, Location, Sources};
use crate::config::spec::{VersionScheme, VersionSpec};
use crate::config::{At, Diagnostic, Diagnostics};
use crate::routing::{
    self, ApiHandle, BasePath, Build, Builder, Conflict, HostPattern, Overlap, Router, Template, TemplateError, Version,
};

/// The methods that `*` stands for.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Reads `GET /orders/{id}`: the method, none for `*`, and the template.
pub fn matches(
    text: &At<String>,
    file: FileId,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Option<(Option<Method>, Template)> {
    let Some((method, template)) = text.trim_end().split_once(' ') else {
        diagnostics.push(
            Diagnostic::error(
                "bad-match",
                file,
                text.span.clone(),
                format!("`{}` is not a method and a path", text.value),
            )
            .hint("`match = \"GET /{id}\"`"),
        );
        return None;
    };
    let known = METHODS.iter().map(Method::as_str);
    let parsed = match method {
        "*" => Some(None),
        name => METHODS
            .iter()
            .chain([&Method::TRACE])
            .find(|method| method.as_str() == name)
            .map(|method| Some(method.clone())),
    };
    let Some(method) = parsed else {
        diagnostics.push(
            Diagnostic::error(
                "bad-match",
                file,
                sources.inside(file, &text.span, text, &(0..method.len())),
                format!("unknown method `{method}`"),
            )
            .hint("an HTTP method in capitals, or `*` for any")
            .maybe_hint(suggest(method, known)),
        );
        return None;
    };
    let offset = text.len() - template.trim_start().len() - (text.len() - text.trim_end().len());
    match Template::parse(template.trim_start()) {
        Ok(template) => Some((method, template)),
        Err(mut error) => {
            error.span = error.span.start + offset..error.span.end + offset;
            diagnostics.push(template_error(error, file, text, sources));
            None
        }
    }
}

/// A mistake inside a template, at its place in the file.
fn template_error(error: TemplateError, file: FileId, text: &At<String>, sources: &Sources) -> Diagnostic {
    let span = sources.inside(file, &text.span, text, &error.span);
    Diagnostic::error("bad-template", file, span, error.message).maybe_hint(error.hint)
}

/// Builds the router; conflicts are mistakes of the configuration.
pub(super) fn build(
    routes: &[Route],
    document: &Document<'_>,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Router<u32, u32> {
    let mut builder = Router::builder();
    let handles: Vec<Option<ApiHandle>> = (0u32..)
        .zip(&document.apis)
        .map(|(number, api)| add_api(&mut builder, number, api, sources, diagnostics))
        .collect();
    for route in routes {
        let Some(handle) = handles.get(route.api).copied().flatten() else { continue };
        let id = u32::try_from(route.operation).unwrap_or(u32::MAX);
        match &route.method {
            Some(method) => builder.operation(handle, method.clone(), &route.template, id),
            None => METHODS.iter().for_each(|method| builder.operation(handle, method.clone(), &route.template, id)),
        }
    }
    let Build { router, conflicts } = builder.build();
    let mut report = Report { routes, document, diagnostics };
    for conflict in conflicts {
        report.conflict(&conflict);
    }
    router
}

fn add_api(
    builder: &mut Builder<u32, u32>,
    number: u32,
    api: &ApiDocument<'_>,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Option<ApiHandle> {
    let file = api.file;
    let mut fail = |text: &At<String>, error: TemplateError| {
        diagnostics.push(template_error(error, file, text, sources));
    };
    let base = BasePath::parse(&api.spec.path).map_err(|error| fail(&api.spec.path, error)).ok();
    let mut hosts = Vec::new();
    for host in &api.spec.hosts {
        match HostPattern::parse(host) {
            Ok(pattern) => hosts.push(pattern),
            Err(error) => fail(host, error),
        }
    }
    let version = api.spec.version.as_ref().map(|version| self::version(version, &mut fail));
    let version = match version {
        Some(Err(())) => return None,
        Some(Ok(version)) => version,
        None => None,
    };
    Some(builder.api(number, &hosts, &base?, version.as_ref()))
}

fn version(spec: &VersionSpec, fail: &mut impl FnMut(&At<String>, TemplateError)) -> Result<Option<Version>, ()> {
    let Some(value) = &spec.value else { return Ok(None) };
    let name = spec.name.as_ref().map_or("api-version", |name| name.as_str());
    let scheme = match spec.scheme {
        VersionScheme::Path => routing::VersionScheme::PathAfter,
        VersionScheme::Query => routing::VersionScheme::Query(name.into()),
        VersionScheme::Header => match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => routing::VersionScheme::Header(name),
            Err(_) => {
                let field = spec.name.as_ref().unwrap_or(value);
                let hint = Some("letters, digits and `-` (RFC 9110 §5.1)".to_owned());
                fail(
                    field,
                    TemplateError {
                        span: 0..name.len(),
                        message: format!("`{name}` cannot be the name of a header"),
                        hint,
                    },
                );
                return Err(());
            }
        },
    };
    Version::new(scheme, value).map(Some).map_err(|error| fail(value, error))
}

struct Report<'a, 'd> {
    routes: &'a [Route],
    document: &'a Document<'d>,
    diagnostics: &'a mut Diagnostics,
}

impl Report<'_, '_> {
    fn operation(&self, number: u32) -> Option<(&At<String>, &At<String>, FileId)> {
        let route = self.routes.get(number as usize)?;
        let api = self.document.apis.get(route.api)?;
        let operation = api.operations.get(route.place)?;
        Some((&operation.spec.name, &operation.spec.matches, api.file))
    }

    fn api(&self, number: u32) -> Option<(&At<String>, &At<String>, FileId)> {
        let api = self.document.apis.get(number as usize)?;
        Some((&api.spec.name, &api.spec.path, api.file))
    }

    fn conflict(&mut self, conflict: &Conflict<u32, u32>) {
        let diagnostic = match conflict {
            Conflict::Duplicate { first, second, .. } => {
                let (Some((first, at, file)), Some((second, place, _))) =
                    (self.operation(*first), self.operation(*second))
                else {
                    return;
                };
                // `*` beside a method of its own repeats itself once for each method.
                let text =
                    format!("operation `{}` has the same method and template as `{}`", second.value, first.value);
                Diagnostic::error("duplicate-match", file, place.span.clone(), text)
                    .related(Location { file, span: at.span.clone() }, "this one answers")
                    .hint("give them different paths, or make them one operation")
            }
            Conflict::Ambiguous { first, second, overlap, .. } => {
                let (Some((first, at, file)), Some((second, place, _))) =
                    (self.operation(*first), self.operation(*second))
                else {
                    return;
                };
                let why = match overlap {
                    Overlap::VariableNames => "they differ only in the names of their variables",
                    Overlap::Patterns => "their patterns match the same text",
                    Overlap::Query => "one request can have the query parameters of both",
                };
                let text =
                    format!("operations `{}` and `{}` match the same requests: {why}", first.value, second.value);
                Diagnostic::error("ambiguous-match", file, place.span.clone(), text)
                    .related(Location { file, span: at.span.clone() }, "the other one")
                    .hint("make their literal text differ")
            }
            Conflict::ShadowedApi { first, second, host } => {
                let (Some((first, at, first_file)), Some((second, place, file))) =
                    (self.api(*first), self.api(*second))
                else {
                    return;
                };
                let host = match host {
                    HostPattern::Any => "every host".to_owned(),
                    host => format!("host `{host}`"),
                };
                let text = format!(
                    "API `{}` is never reached: `{}` has the same path and version on {host}",
                    second.value, first.value
                );
                Diagnostic::error("shadowed-api", file, place.span.clone(), text)
                    .related(Location { file: first_file, span: at.span.clone() }, "this one answers")
                    .hint("give it a path, a host or a version of its own")
            }
            Conflict::VersionSchemes { first, second, .. } => {
                let (Some((first, at, first_file)), Some((second, place, file))) =
                    (self.api(*first), self.api(*second))
                else {
                    return;
                };
                let text = format!(
                    "APIs `{}` and `{}` share a path and tell their versions apart in different ways",
                    first.value, second.value
                );
                Diagnostic::error("version-schemes", file, place.span.clone(), text)
                    .related(Location { file: first_file, span: at.span.clone() }, "the other one")
                    .hint("use the same `scheme` and `name` for both")
            }
        };
        self.diagnostics.push(diagnostic);
    }
}
