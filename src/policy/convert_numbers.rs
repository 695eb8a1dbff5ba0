//! Turns the texts of a JSON body that are numbers in the way of a country into numbers.

mod notation;

use std::fmt::Write as _;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use self::notation::Notation;
use super::body_places::{BodyPlaces, OnFailure, not_converted};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::json::{Kind, Node};
use crate::openapi::visit::Sought;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Turns texts of a JSON body that are numbers, such as `"1.234,56"`, into numbers in the invariant form of JSON: `1234.56`.
///
/// Inbound and backend change the request, outbound the response. No digit is lost or rounded: `"1,10"` becomes `1.10`. What already is a number,
/// and what is no text, stays. A text is taken for a number only when its separators stand where they belong, so that `"1.5"` in German is none. A
/// request whose body is not JSON is answered with 400; a response that is not JSON is passed on unchanged.
///
/// ```toml
/// [[outbound]]
/// policy     = "convert-numbers"
/// properties = ["value.amount", "value.lines.price"]
/// locale     = "de-DE"
/// units      = ["€", "EUR"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConvertNumbers {
    /// Where numbers stand, as paths into the body: `amount`, `@body().value.lines.price`. Of an array on the way, or at the end, every item is meant.
    /// Nothing happens where a path leads nowhere.
    #[serde(default)]
    properties: Vec<At<String>>,
    /// Whether the texts are converted too which are numbers or whole numbers by the API's `definition`. Default `false`.
    #[serde(default)]
    from_definition: bool,
    /// The way of writing numbers, by a language, or a language and a country (`de`, `de-CH`, `pt-BR`). Default: `.` before the fraction, and nothing
    /// between thousands.
    locale: Option<At<String>>,
    /// What stands before the fraction: `,` or `.`, in place of what the locale says.
    decimal: Option<At<String>>,
    /// What may stand between groups of digits, in place of what the locale says: one character, or several of which each may; a space stands for every
    /// kind of space.
    group: Option<At<String>>,
    /// Texts before or after the number that are left out: `€`, `EUR`, `%`. A percentage stays what it is: `"5 %"` becomes `5`. Default: none.
    #[serde(default)]
    units: Vec<At<String>>,
    /// What is written. Default `number`.
    #[serde(default)]
    to: Target,
    /// What becomes of a text that is no number. Default `keep`.
    #[serde(default)]
    on_failure: OnFailure,
}

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Target {
    /// A number: `1234.56`.
    #[default]
    Number,
    /// A text with the number in it: `"1234.56"`. Numbers become texts too.
    Text,
}

impl Policy for ConvertNumbers {
    const NAME: &'static str = "convert-numbers";
    const SECTIONS: Sections = Sections::MESSAGES;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let places = BodyPlaces::compile(&self.properties, self.from_definition.then_some(Sought::Numbers), cx);
        let places = cx.note(places);
        let notation = Notation::compile(self.locale.as_ref(), self.decimal.as_ref(), self.group.as_ref());
        let notation = cx.note(notation);
        if let Some(unit) = self.units.iter().find(|unit| unit.trim().is_empty()) {
            return Err(CompileError::at(unit, "there is no unit").hint("for example `EUR`"));
        }
        let units = self.units.iter().map(|unit| unit.trim().to_owned()).collect();
        Ok(Step::sync(Compiled {
            places: places?,
            notation: notation?,
            units,
            target: self.to,
            on_failure: self.on_failure,
        }))
    }
}

// === impl Apply ===

struct Compiled {
    places: BodyPlaces,
    notation: Notation,
    units: Vec<String>,
    target: Target,
    on_failure: OnFailure,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let mut failed = false;
        self.places.edit(cx, |_, node| failed |= self.convert(node))?;
        if failed { Err(not_converted("a number", cx)) } else { Ok(Flow::Next) }
    }
}

impl Compiled {
    /// Converts a value; true when that ends the exchange.
    fn convert(&self, node: &mut Node) -> bool {
        match (node.kind(), self.target) {
            (Kind::Text, _) => {}
            (Kind::Number, Target::Text) => {
                *node = Node::text(&node.to_text());
                return false;
            }
            _ => return false,
        }
        let text = node.to_text();
        let Some(mut number) = self.notation.read(self.bare(&text)) else {
            return !text.trim().is_empty() && self.on_failure.apply(node);
        };
        if self.target == Target::Text {
            let inner = std::mem::take(&mut number);
            let _ = write!(number, "\"{inner}\"");
        }
        *node = Node::Raw(Bytes::from(number));
        false
    }

    /// The text without a unit around it.
    fn bare<'t>(&self, text: &'t str) -> &'t str {
        let text = text.trim();
        let cut = |unit: &String| text.strip_suffix(unit.as_str()).or_else(|| text.strip_prefix(unit.as_str()));
        self.units.iter().find_map(cut).map_or(text, str::trim)
    }
}
