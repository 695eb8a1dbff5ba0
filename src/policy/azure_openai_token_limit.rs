//! Limits how many tokens of Azure OpenAI each key may use: another name of `llm-token-limit`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::llm_token_limit::Spec;
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::pipeline::Step;

/// Limits how many tokens of Azure OpenAI each key may use, as
/// [azure-openai-token-limit](https://learn.microsoft.com/azure/api-management/azure-openai-token-limit-policy) in Azure API Management: another
/// name of `llm-token-limit`, for policies that come from there. What is said at that holds here, and both share their counts.
///
/// ```toml
/// [[inbound]]
/// policy            = "azure-openai-token-limit"
/// counter-key       = "@clientIp()"
/// tokens-per-minute = 5000
/// estimate-prompt-tokens    = false
/// remaining-tokens-variable = "remainingTokens"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AzureOpenaiTokenLimit(Spec);

impl Policy for AzureOpenaiTokenLimit {
    const NAME: &'static str = "azure-openai-token-limit";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        self.0.compile(cx)
    }
}
