//! Limits how many requests may be made in a time, by a key of one's choice that scopes share.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::rate_limit::Spec;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::pipeline::Step;

/// Limits how many requests may be made in a time, by a key of one's choice, as
/// [rate-limit-by-key](https://learn.microsoft.com/azure/api-management/rate-limit-by-key-policy) in Azure API Management. It is
/// `rate-limit` with another counter:
///
/// The counter belongs to the key and not to the place. Policies with the same `counter-key`, `calls`, `period` and algorithm share
/// one counter for each value of the key, in whatever scope, API or fragment they stand, and a request that passes several of them
/// counts once. Policies that differ in one of these count apart.
///
/// What a key takes in memory depends on the algorithm; [`rate-limit`](#rate-limit) has a table.
///
/// ```toml
/// [[inbound]]
/// policy      = "rate-limit-by-key"
/// counter-key = "@claims('sub')"
/// calls       = "@if(equals(product(), 'premium'), 1000, 100)"
/// period      = "1m"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = with_its_own_names)]
pub struct RateLimitByKey(Spec);

/// The key has Azure API Management's name here, and there has to be one. The limits inside are those of `rate-limit`.
fn with_its_own_names(schema: &mut Schema) {
    let object = schema.ensure_object();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        let own = std::mem::take(properties);
        let kept = own.into_iter().filter(|(name, _)| !matches!(name.as_str(), "apis" | "operations"));
        let mut renamed: Vec<(String, Value)> = kept.collect();
        if let Some(at) = renamed.iter().position(|(name, _)| name == "key") {
            let (_, mut key) = renamed.remove(at);
            key["description"] =
                "Whose requests count together. Evaluated when the step runs; a failure goes to on-error.".into();
            renamed.insert(0, ("counter-key".to_owned(), key));
        }
        properties.extend(renamed);
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.push("counter-key".into());
    }
}

impl Policy for RateLimitByKey {
    const NAME: &'static str = "rate-limit-by-key";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let id = self.0.shared_id(Self::NAME)?;
        self.0.compile(cx, &id, true)
    }
}
