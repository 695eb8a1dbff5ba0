//! Writes the dates of a JSON body as ISO 8601.

mod form;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use self::form::{Form, Target};
use super::body_places::{BodyPlaces, OnFailure, not_converted};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::dates;
use crate::json::{Kind, Node};
use crate::openapi::Format;
use crate::openapi::visit::Sought;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Writes dates of a JSON body as ISO 8601, which is what flows and apps calculate with: `2026-11-26T08:30:00Z`.
///
/// Inbound and backend change the request, outbound the response. Texts and numbers are converted, all else is left alone, and digits of a second
/// stay. A request whose body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
///
/// ```toml
/// [[outbound]]
/// policy     = "convert-dates"
/// properties = ["value.created", "value.lines.due"]
/// from       = ["epoch-milliseconds", "dd.MM.yyyy HH:mm"]
/// time-zone  = "Europe/Berlin"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConvertDates {
    /// Where dates stand, as paths into the body: `created`, `@body().value.lines.due`, `['@odata.created']`. Of an array on the way, or at
    /// the end, every item is meant. Nothing happens where a path leads nowhere.
    #[serde(default)]
    properties: Vec<At<String>>,
    /// Whether the values are converted too to which the API's `definition` gives the format `date-time`, `date-no-tz` or `date`; each becomes what
    /// its format says. Default `false`.
    #[serde(default)]
    from_definition: bool,
    /// The forms that dates may have, tried in this order: `iso-8601`, also with a space for the `T` and without an offset; `rfc-1123`, the dates of
    /// HTTP and mail; `json-date`, ASP.NET's `/Date(1795682400000)/`; `epoch-seconds` and `epoch-milliseconds`, as a number or as text; or a
    /// [format of .NET](https://learn.microsoft.com/dotnet/standard/base-types/custom-date-and-time-format-strings) with English names, such as
    /// `dd.MM.yyyy HH:mm`. Default `["iso-8601", "rfc-1123", "json-date"]`, which cannot be taken for each other.
    from: Option<Vec<At<String>>>,
    /// The zone of dates that do not say theirs, by its IANA or Windows name, and the one that dates without an offset are written in. Default UTC.
    time_zone: Option<At<String>>,
    /// What is written at `properties`. Default `date-time`.
    #[serde(default)]
    to: Target,
    /// What becomes of a value in none of the forms. Default `keep`.
    #[serde(default)]
    on_failure: OnFailure,
}

impl Policy for ConvertDates {
    const NAME: &'static str = "convert-dates";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let places = BodyPlaces::compile(&self.properties, self.from_definition.then_some(Sought::Dates), cx);
        let places = cx.note(places);
        let zone = match &self.time_zone {
            None => Ok(TimeZone::UTC),
            Some(name) => dates::zone(name).ok_or_else(|| {
                CompileError::at(name, format!("`{}` is no time zone", name.value))
                    .hint("for example `Europe/Berlin` or `W. Europe Standard Time`")
            }),
        };
        let zone = cx.note(zone);
        let forms = match &self.from {
            None => Ok(vec![Form::Iso, Form::Rfc, Form::JsonDate]),
            Some(written) => {
                let forms: Vec<_> = written.iter().map(Form::parse).collect();
                // All mistakes at once.
                let forms: Vec<_> = forms.into_iter().map(|form| cx.note(form)).collect();
                forms.into_iter().collect()
            }
        };
        Ok(Step::sync(Compiled {
            places: places?,
            zone: zone?,
            forms: forms?,
            target: self.to,
            on_failure: self.on_failure,
        }))
    }
}

// === impl Apply ===

struct Compiled {
    places: BodyPlaces,
    zone: TimeZone,
    forms: Vec<Form>,
    target: Target,
    on_failure: OnFailure,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut failed = false;
        self.places.edit(cx, |format, node| failed |= self.convert(format, node))?;
        if failed { Err(not_converted("a date", cx)) } else { Ok(Flow::Next) }
    }
}

impl Compiled {
    /// Converts a value; true when that ends the exchange.
    fn convert(&self, format: Format, node: &mut Node) -> bool {
        if !matches!(node.kind(), Kind::Text | Kind::Number) {
            return false;
        }
        let is_number = node.kind() == Kind::Number;
        let text = node.to_text();
        let written = self.forms.iter().find_map(|form| form.read(text.trim(), is_number, &self.zone));
        let Some(moment) = written else { return !text.is_empty() && self.on_failure.apply(node) };
        let target = match format {
            Format::Date => Target::Date,
            Format::DateTimeWithoutOffset => Target::DateNoTz,
            Format::DateTime => Target::DateTime,
            _ => self.target,
        };
        let written = target.write(moment, &self.zone);
        if is_number || written != text {
            *node = Node::text(&written);
        }
        false
    }
}
