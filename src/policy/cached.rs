//! What the caching policies share: where something is kept, and for how long.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{TextValue, evaluation_failed};
use crate::cache::{Cache, Place};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, OrExpression, Period, Text};
use crate::expression::{EvaluationError, Expression};
use crate::pipeline::{Apply, ApplyAsync, Context, Fault, Step};

/// Where something is kept, in Azure API Management's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CachingType {
    /// In the shared store when `[store]` names one, else in memory.
    #[default]
    PreferExternal,
    /// In the shared store, which `[store]` has to name.
    External,
    /// In the memory of this gateway.
    Internal,
}

/// The place that is meant.
pub(super) fn place(kind: Option<&At<CachingType>>, cx: &CompileCx<'_, '_>) -> Result<Place, CompileError> {
    let external = cx.world.cache.external();
    match (kind, kind.map(|kind| kind.value).unwrap_or_default(), external) {
        (_, CachingType::Internal, _) | (_, CachingType::PreferExternal, None) => Ok(Place::Memory),
        (_, CachingType::PreferExternal, Some(external)) => Ok(Place::Store { falls_back: external.falls_back }),
        (_, CachingType::External, Some(_)) => Ok(Place::Store { falls_back: false }),
        // The folder may be right in a mistake of `[store]`, which has been reported.
        (Some(kind), CachingType::External, None) => Err(CompileError::at(kind, "there is no shared store")
            .hint("`[store]` with `kind = \"redis\"`, or `prefer-external`")),
        (None, CachingType::External, None) => Ok(Place::Memory),
    }
}

/// Where a value is, and its key: what policies about single values have in common.
pub(super) struct Named {
    pub(super) cache: Arc<Cache>,
    pub(super) place: Place,
    pub(super) key: TextValue,
}

impl Named {
    pub(super) fn compile(
        key: &Text,
        kind: Option<&At<CachingType>>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Self, CompileError> {
        let key = TextValue::compile(key, cx);
        let key = cx.note(key);
        let place = place(kind, cx)?;
        Ok(Self { cache: cx.world.cache.clone(), place, key: key? })
    }

    /// The step of a policy about it, asynchronous where the shared store has to be asked.
    pub(super) fn step(place: Place, step: impl Apply + ApplyAsync + 'static) -> Step {
        match place {
            Place::Memory => Step::sync(step),
            Place::Store { .. } => Step::asynchronous(step),
        }
    }
}

/// How long something is kept.
#[derive(Debug)]
pub(super) enum Time {
    Constant(Duration),
    Expression(Expression),
}

impl Time {
    pub(super) fn compile(field: &At<OrExpression<Period>>, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        match &field.value {
            OrExpression::Value(period) if period.0.is_zero() => {
                Err(CompileError::at(field, "a time of zero keeps nothing").hint("for example `10m`"))
            }
            OrExpression::Value(period) => Ok(Self::Constant(period.0)),
            OrExpression::Expression(text) => {
                let text = At { value: text.clone(), span: field.span.clone() };
                let expression = cx.expression(&text)?;
                match expression.literal() {
                    None => Ok(Self::Expression(expression)),
                    Some(literal) => Err(CompileError::at(field, format!("`{literal}` is not a duration"))),
                }
            }
        }
    }

    /// The time for an exchange: an expression gives seconds, or text such as `10m`. Zero, and less, keeps nothing.
    pub(super) fn of(&self, cx: &Context<'_>) -> Result<Duration, Fault> {
        match self {
            Self::Constant(time) => Ok(*time),
            Self::Expression(expression) => {
                let text = expression.text(cx).map_err(evaluation_failed)?;
                let seconds = text.trim().parse::<f64>().ok().filter(|seconds| seconds.is_finite());
                let time = match seconds {
                    Some(seconds) => Duration::try_from_secs_f64(seconds.max(0.0)).ok(),
                    None => Period::parse(&text).ok().map(|period| period.0),
                };
                time.ok_or_else(|| {
                    evaluation_failed(EvaluationError::new("the time to keep it is no number of seconds"))
                })
            }
        }
    }
}
