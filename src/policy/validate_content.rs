//! Checks the body of a request or an answer against the API's definition.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::validation::{Action, Found, INTERNAL, Reporter};
use super::value::Condition;
use super::{Policy, Sections};
use crate::body::{Body, BodyError, coding};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Size, Text};
use crate::expression::Needs;
use crate::openapi::media::{self, MediaRange};
use crate::openapi::{Content, Direction, Operation, Strictness, content_for};
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Message, Step};

mod judge;

/// Checks the body of a request or an answer against what the API's `definition` says of its content type (and of its status), as
/// [validate-content](https://learn.microsoft.com/azure/api-management/validate-content-policy) in Azure API Management does: size, content
/// type, and for JSON and forms the schema. Inbound checks the request, outbound and on-error the answer.
///
/// A request that is refused gets 400 and is told why and where; an answer that is refused becomes 502 with a text that says
/// nothing. Whatever is found stands in the access log (`validation`), in the metric `sluicegate_validation_failures_total` and in the
/// variable of `errors-variable-name`; values are never told. Properties that are `readOnly` are not asked of requests, those that are `writeOnly`
/// not of answers. Of properties that stand twice in an object, all must be right. The body is held in memory, up to
/// `max-size` and `[server.limits] buffer-size`; one without an announced length that is longer is refused with 413 when `size-exceeded-action` is
/// not `prevent`. Where a policy before it has changed the body, the changed one is checked. A compressed body is
/// checked, and passed on, without its compression (`gzip`, `deflate`, `br`); one in another coding cannot be checked, which
/// is a failure (`ValidationException`). The backend is asked for a plain one. Several `Content-Type` lines are one unspecified type.
///
/// Other than in API Management: XML and SOAP are not checked; there are no schemas beside the definition (`schema-id`,
/// `schema-ref`); `max-size` may be any size, a body need not say how long it is, and forms are checked, too. What the definition
/// refers to and does not have is no failure of each message (`MissingDefinition`): `sluicegate check` tells it.
///
/// ```toml
/// [[inbound]]
/// policy   = "validate-content"
/// max-size = "100KiB"
/// unspecified-content-type-action = "prevent"
/// errors-variable-name = "problems"
///
/// [inbound.content-type-map]
/// missing-content-type-value = "application/json"
///
/// [[inbound.content]]
/// type        = "application/json"
/// validate-as = "json"
/// action      = "detect"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidateContent {
    /// What happens when the definition does not name the content type. Default `prevent`.
    unspecified_content_type_action: Option<Action>,
    /// The length beyond which a body is not checked. Default: `[server.limits] buffer-size`.
    max_size: Option<At<Size>>,
    /// What happens when a body is longer. With `ignore` and `detect` it is passed on, and not checked. Default `prevent`.
    size_exceeded_action: Option<Action>,
    /// The variable that gets a list of what was found: objects with `Name`, `Type`, `ValidationRule`, `Details` and `Action`, added to those
    /// that are there. Default: none.
    errors_variable_name: Option<At<String>>,
    /// Content types that stand for others. Default: none.
    content_type_map: Option<ContentTypeMap>,
    /// Which content types are checked, and how; the first one counts that is for the message's. Default: JSON and forms, with the
    /// action `prevent`. `[]` checks size and content type only.
    content: Option<Vec<ContentSpec>>,
}

/// Content types that stand for others.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ContentTypeMap {
    /// What every body is taken for that is none of `types`, whatever it says.
    any_content_type_value: Option<At<String>>,
    /// What a body without a content type is taken for, unless it is one of `types`.
    missing_content_type_value: Option<At<String>>,
    /// What bodies of certain content types are taken for; the first one counts that is for the message.
    types: Vec<MappedType>,
}

/// A content type that stands for another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MappedType {
    /// The content type of the message. Either this or `when`.
    from: Option<At<String>>,
    /// An expression that says whether the message is one. Evaluated when the step runs; a failure goes to on-error.
    when: Option<Text>,
    /// What it is taken for.
    to: At<String>,
}

/// How bodies of a content type are checked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContentSpec {
    /// The content type, or a range such as `application/*`. Default: every one that `validate-as` can be used for.
    #[serde(rename = "type")]
    media_type: Option<At<String>>,
    /// As what it is read.
    validate_as: ValidateAs,
    /// What happens when the body is not as the schema says. Default `prevent`.
    action: Option<Action>,
    /// Whether objects may have properties that their schema does not name, whatever the schema says of it. Default: as it says.
    allow_additional_properties: Option<bool>,
    /// Whether names of properties compare without regard to case. Default `false`.
    case_insensitive_property_names: Option<bool>,
}

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValidateAs {
    /// As JSON, by its schema.
    Json,
    /// As `application/x-www-form-urlencoded`, field by field. Fields of `multipart/form-data` are not looked at.
    Form,
}

impl Policy for ValidateContent {
    const NAME: &'static str = "validate-content";
    const SECTIONS: Sections = Sections::INBOUND.or(Sections::RESPONSE);

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let reporter = Reporter::compile(Self::NAME, self.errors_variable_name.as_ref(), cx)?;
        let range = |text: &At<String>| {
            MediaRange::parse(text).ok_or_else(|| {
                CompileError::at(text, format!("`{}` is not a content type", text.value))
                    .hint("for example `application/json`")
            })
        };
        let name = |text: &At<String>| range(text).map(|range| Box::from(range.as_str()));
        let map = self.content_type_map.unwrap_or_default();
        let mut types = Vec::with_capacity(map.types.len());
        for one in &map.types {
            let which = match (&one.from, &one.when) {
                (Some(from), None) => Which::Type(name(from)?),
                (None, Some(when)) => Which::When(Condition::compile(when, cx)?),
                _ => {
                    return Err(CompileError::at(
                        &one.to,
                        "a content type that stands for another needs `from` or `when`",
                    )
                    .hint("one of them: the content type that comes, or an expression"));
                }
            };
            types.push((which, name(&one.to)?));
        }
        let map = Map {
            any: map.any_content_type_value.as_ref().map(name).transpose()?,
            missing: map.missing_content_type_value.as_ref().map(name).transpose()?,
            types: types.into(),
        };
        let checks = match self.content {
            None => [ValidateAs::Json, ValidateAs::Form].map(Check::usual).into(),
            Some(written) => written
                .into_iter()
                .map(|one| {
                    Ok(Check {
                        range: one.media_type.as_ref().map(range).transpose()?,
                        validate_as: one.validate_as,
                        action: one.action.unwrap_or(Action::Prevent),
                        strictness: Strictness {
                            additional_properties: one.allow_additional_properties,
                            ignore_case: one.case_insensitive_property_names.unwrap_or(false),
                        },
                    })
                })
                .collect::<Result<Box<[_]>, CompileError>>()?,
        };
        // Buffered by the step itself, and only when there is something to check.
        cx.needs |= Needs::INNER_BODY;
        Ok(Step::asynchronous(Compiled {
            reporter,
            unspecified: self.unspecified_content_type_action.unwrap_or(Action::Prevent),
            max_size: self.max_size.map(|size| size.value.0),
            size_exceeded: self.size_exceeded_action.unwrap_or(Action::Prevent),
            map,
            checks,
        }))
    }
}

// === impl ApplyAsync ===

struct Compiled {
    reporter: Reporter,
    unspecified: Action,
    max_size: Option<u64>,
    size_exceeded: Action,
    map: Map,
    checks: Box<[Check]>,
}

struct Map {
    any: Option<Box<str>>,
    missing: Option<Box<str>>,
    types: Box<[(Which, Box<str>)]>,
}

/// Which messages are taken for another content type.
enum Which {
    Type(Box<str>),
    When(Condition),
}

struct Check {
    range: Option<MediaRange>,
    validate_as: ValidateAs,
    action: Action,
    strictness: Strictness,
}

impl Check {
    fn usual(validate_as: ValidateAs) -> Self {
        Self { range: None, validate_as, action: Action::Prevent, strictness: Strictness::default() }
    }

    fn is_for(&self, media_type: &str) -> bool {
        match (&self.range, self.validate_as) {
            (Some(range), _) => range.takes(media_type),
            (None, ValidateAs::Json) => media::is_json(media_type),
            (None, ValidateAs::Form) => media_type == FORM,
        }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// What is to be done with a body.
enum Plan<'e> {
    /// Nothing more than to tell.
    Tell(Vec<Found>),
    /// It is read and checked.
    Read { operation: &'e Operation, content: &'e Content, check: usize, media_type: String },
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let exchange = call.exchange;
            let operation = exchange.operation.as_ref().and_then(|own| own.contract.as_deref());
            let media_type = call.with(|cx| self.media_type(cx))?;
            let plan = self.plan(operation, exchange.method == Method::HEAD, media_type, &call.message);
            let (operation, content, check, media_type) = match plan {
                Plan::Tell(found) if found.is_empty() => return Ok(Flow::Next),
                Plan::Tell(found) => return call.with(|cx| self.reporter.report(cx, found)),
                Plan::Read { operation, content, check, media_type } => (operation, content, check, media_type),
            };
            if let Some(found) = self.buffer(&mut call).await? {
                return call.with(|cx| self.reporter.report(cx, vec![found]));
            }
            let is_request = matches!(call.message, Message::Request(_));
            let bytes = call.message.body().bytes().cloned().unwrap_or_default();
            let check = &self.checks[check];
            let found = judge::body(check, operation, content, &media_type, &bytes, is_request);
            if found.is_empty() { Ok(Flow::Next) } else { call.with(|cx| self.reporter.report(cx, found)) }
        })
    }
}

impl Compiled {
    /// What is known before a byte of the body is read.
    fn plan<'e>(
        &self,
        operation: Option<&'e Operation>,
        is_head: bool,
        media_type: Option<String>,
        message: &Message<'_>,
    ) -> Plan<'e> {
        let is_request = matches!(message, Message::Request(_));
        let contents = match (operation, message) {
            (None, _) => return Plan::Tell(vec![Found::no_schema(self.unspecified)]),
            (Some(operation), Message::Request(_)) => operation.body.as_ref().map(|body| &*body.contents),
            (Some(operation), Message::Response(response)) => {
                let status = response.status();
                if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                    return Plan::Tell(Vec::new());
                }
                operation.answer(status).map(|answer| &*answer.contents)
            }
        };
        let contents = contents.unwrap_or_default();
        let length = known_length(message.headers(), message.body());
        if let (Some(length), Some(max)) = (length, self.max_size)
            && length > max
        {
            return Plan::Tell(vec![self.too_large(Some(length), max, is_request)]);
        }
        if length == Some(0) {
            return Plan::Tell(self.without_body(operation, contents, media_type.as_deref(), is_request));
        }
        let media_type = media_type.unwrap_or_default();
        let Some(content) = content_for(contents, &media_type) else {
            return Plan::Tell(vec![unspecified(&media_type, self.unspecified, is_request)]);
        };
        let check = self.checks.iter().position(|check| check.is_for(&media_type));
        let (Some(check), Some(operation)) = (check, operation) else { return Plan::Tell(Vec::new()) };
        let has_fields = self.checks[check].validate_as == ValidateAs::Form;
        if self.checks[check].action == Action::Ignore || content.schema.is_none() && !has_fields {
            return Plan::Tell(Vec::new());
        }
        if coding::is_coded(message.headers()) && !coding::is_readable(message.headers()) {
            let why = "The body is compressed in a way that is not read.";
            let found = judge::cannot(&media_type, why, self.checks[check].action, is_request);
            return Plan::Tell(vec![found]);
        }
        Plan::Read { operation, content, check, media_type }
    }

    /// What the body is taken for.
    fn media_type(&self, cx: &Context<'_>) -> Result<Option<String>, Fault> {
        let found = content_type(cx.message.headers());
        for (which, to) in &self.map.types {
            let is_one = match which {
                Which::Type(from) => found.as_deref() == Some(from),
                Which::When(condition) => condition.holds(cx)?,
            };
            if is_one {
                return Ok(Some(to.to_string()));
            }
        }
        let missing = self.map.missing.as_ref().filter(|_| found.is_none());
        let other = missing.or(self.map.any.as_ref());
        Ok(other.map(|other| other.to_string()).or(found))
    }

    /// A message that has no body.
    fn without_body(
        &self,
        operation: Option<&Operation>,
        contents: &[Content],
        media_type: Option<&str>,
        is_request: bool,
    ) -> Vec<Found> {
        let needed = if is_request {
            operation.and_then(|operation| operation.body.as_ref()).is_some_and(|body| body.required)
        } else {
            contents.iter().any(|content| content.schema.is_some())
        };
        let content = media_type.and_then(|name| content_for(contents, name)).or(contents.first());
        let (true, Some(content)) = (needed, content) else { return Vec::new() };
        let media_type = content.media.as_str();
        let Some(check) = self.checks.iter().find(|check| check.is_for(media_type)) else { return Vec::new() };
        vec![judge::incorrect(content, media_type, "The body is missing.", check.action, is_request)]
    }

    fn too_large(&self, length: Option<u64>, max: u64, is_request: bool) -> Found {
        let (message, kind) = if is_request { ("Request", "RequestBody") } else { ("Response", "ResponseBody") };
        let length = match length {
            Some(length) => format!("{length} bytes long"),
            None => format!("more than {max} bytes long"),
        };
        let public = format!("{message}'s body is {length} and it exceeds the limit of {max} bytes.");
        Found {
            name: String::new(),
            kind,
            rule: "SizeLimit",
            details: format!("{message}'s body is {length} and it exceeds the configured limit of {max} bytes."),
            public: if is_request { public.into() } else { INTERNAL.into() },
            action: self.size_exceeded,
        }
    }

    /// Reads the body into memory.
    async fn buffer(&self, call: &mut Call<'_>) -> Result<Option<Found>, Fault> {
        let exchange = call.exchange;
        let is_request = matches!(call.message, Message::Request(_));
        let limit = exchange.gateway.settings.buffer_size;
        let max = self.max_size.filter(|max| *max < limit);
        let Some(max) = max.filter(|_| self.size_exceeded == Action::Prevent) else {
            exchange.read(&mut call.message).await?;
            let length = call.message.body().bytes().map_or(0, Bytes::len) as u64;
            return Ok(max.filter(|max| length > *max).map(|max| self.too_large(Some(length), max, is_request)));
        };
        if call.message.body().bytes().is_none() {
            let body = std::mem::take(call.message.body_mut());
            let read = body.buffer(max).await;
            let held = read.map(|bytes| *call.message.body_mut() = Body::from(bytes));
            if let Some(found) = self.held(held, max, is_request)? {
                return Ok(Some(found));
            }
        }
        self.held(call.message.decode(max), max, is_request)
    }

    /// What a body that was read is, when it is not in memory.
    fn held(&self, held: Result<(), BodyError>, max: u64, is_request: bool) -> Result<Option<Found>, Fault> {
        match held {
            Ok(()) => Ok(None),
            Err(BodyError::TooLarge { .. }) => Ok(Some(self.too_large(None, max, is_request))),
            Err(error) if is_request => Err(crate::pipeline::exchange::client_body(error)),
            Err(error) => Err(crate::pipeline::exchange::upstream_body(error)),
        }
    }
}

/// What a message says that its body is.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut text = lines.next()?;
    let mut is_quoted = false;
    let mut is_list = text.chars().any(|character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    });
    // Several lines are one list (RFC 9110 §5.3), which is no content type: nobody may be told another one than is checked.
    for line in lines {
        text = format!("{text}, {line}").into();
        is_list = true;
    }
    Some(if is_list { text.into_owned() } else { media::essence(&text) }).filter(|text| !text.is_empty())
}

/// How long the body is, when that is known.
fn known_length(headers: &HeaderMap, body: &Body) -> Option<u64> {
    let announced = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.bytes().map(|bytes| bytes.len() as u64).or_else(|| body.size_hint().exact()).or_else(announced)
}

fn unspecified(media_type: &str, action: Action, is_request: bool) -> Found {
    let shown: String = media_type.chars().take(200).collect();
    let details = format!("Unspecified content type {shown} is not allowed.");
    Found {
        name: shown,
        kind: if is_request { "RequestBody" } else { "ResponseBody" },
        rule: "Unspecified",
        public: if is_request { Cow::Owned(details.clone()) } else { INTERNAL.into() },
        details,
        action,
    }
}
