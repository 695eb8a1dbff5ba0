//! Limits how many tokens of a language model each key may use: in a minute, in a period of the calendar, or both.

mod compile;
mod follow;
mod step;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;

use super::rate_limit::{Algorithm, Mode, OnMissingKey, OnOverflow, WindowStart};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::spec::LimitHeaders;
use crate::config::{At, OrExpression, Recurrence, Text};
use crate::pipeline::Step;

/// Limits how many tokens of a language model each key may use: in a minute, in a period of the calendar, or both, as
/// [llm-token-limit](https://learn.microsoft.com/azure/api-management/llm-token-limit-policy) in Azure API Management. Beyond
/// `tokens-per-minute` the answer is 429 and on-error runs with the reason `OpenAITokenLimitExceeded`; beyond `token-quota` it is 403 with
/// `OpenAITokenQuotaExceeded`; both with `Retry-After`.
///
/// **What is counted** is what the answer reports: `usage` of OpenAI (chat completions, completions, responses, embeddings), Azure OpenAI,
/// Azure AI Model Inference and Anthropic, where cached tokens count in full, and `usageMetadata` of Gemini. Of a stream (`text/event-stream`) the last
/// report holds. Where a good answer reports nothing (OpenAI's streams do only with `stream_options.include_usage`), prompt and completion
/// are estimated; an error that reports nothing counts nothing, nor does an answer that no backend gave (a cache's, a mock's). When the client leaves
/// in the middle, what has come until then is counted; when it leaves before, the prompt is. Answers are passed on as they come and read
/// along in a fixed space, unless a header or a variable has to tell their number: then an answer that is no stream is
/// held in memory, up to `[server.limits] buffer-size`. The backend is asked for an answer that is not compressed. One that is all the same is read without
/// its compression (`gzip`, `deflate`, `br`; the first 64 MiB of it) and passed on as it is; in another coding it cannot be read: its prompt is
/// estimated, and its completion counts nothing.
///
/// With `retry` behind it or in front of it all tries of a request count together, and the request is checked once. A try that fails counts as any
/// error. Of a good answer that `condition` or `statuses` of `retry` send again, the prompt counts by estimate, and what has been read of the
/// answer: nothing when the try is repeated in `backend`, where it is given up with its head.
///
/// **An estimate** goes by words, digits, marks and characters of each script, weighted to come near OpenAI's `o200k_base`: within 10 % for most
/// languages and for programs, for some 20 % below. To that come 4 tokens for each message and 3 for the reply; names and descriptions of
/// tools and schemas; 1,200 for each image, sound or file, as Azure API Management counts an image; 1 for each number where a prompt is a list
/// of tokens. What is no JSON counts nothing.
///
/// **How exact it is.** Checking and counting what is known beforehand are one step: the estimate of the prompt with
/// `estimate-prompt-tokens`, and `reserve`. The rest is counted when the answer has ended, whatever is left then, and later requests make up for
/// it. So in any minute, or in any period of the quota, a key uses at most its limit and what the requests in progress when it was reached
/// use beyond what was counted ahead for each of them: nothing with a `reserve` that no request exceeds. A limit that is exactly used up refuses
/// the next request, not this one. What another limit refuses uses up nothing of this one. (Azure API Management counts as late.)
///
/// As there, the counter belongs to the key: policies with the same `counter-key` and the same limit share one count in whatever scope
/// they stand, a quota's all that have the same period, and a request that passes several of them counts once. Counts are kept over a reload, a quota's with
/// `path` in `[store]` over restarts too; with `kind = "redis"` gateways count together.
///
/// Azure API Management's names for the keys are understood too: `retry-after-header-name`, `tokens-consumed-variable-name` and so on.
///
/// ```toml
/// [[inbound]]
/// policy             = "llm-token-limit"
/// counter-key        = "@subscription()"
/// tokens-per-minute  = 5000
/// token-quota        = 1000000
/// token-quota-period = "monthly"
/// estimate-prompt-tokens = true
/// tokens-consumed-header = "x-tokens-consumed"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LlmTokenLimit(Spec);

/// What both policies say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Spec {
    /// Whose requests count together. Evaluated when the step runs; a failure goes to on-error.
    counter_key: Text,
    /// How many tokens of prompts and completions each key may use in a minute: a number from 1, or an expression. An expression is
    /// evaluated when the step runs and bounded to 1000000000; 0 admits nothing, and what is no number, or negative, is a failure that
    /// goes to on-error. One of `tokens-per-minute` and `token-quota` is needed.
    tokens_per_minute: Option<At<OrExpression<NonZeroU32>>>,
    /// How many tokens each key may use in each `token-quota-period`: a number from 1, or an expression, as with `tokens-per-minute`.
    token_quota: Option<At<OrExpression<NonZeroU64>>>,
    /// The period of `token-quota`: `hourly`, `daily`, `weekly` (from Monday), `monthly`, `yearly`, a duration (`30d`), or `infinite`.
    token_quota_period: Option<At<Recurrence>>,
    /// The time zone of the quota's calendar (IANA), with its changes to and from daylight-saving time. Default `UTC`.
    time_zone: Option<At<String>>,
    /// Whether the tokens of the prompt are estimated and counted beforehand, so that a prompt that does not fit is not sent. The
    /// request's body is then held in memory, up to `[server.limits] buffer-size`. Default `false`.
    #[serde(default)]
    estimate_prompt_tokens: bool,
    /// How many tokens are counted ahead beside the prompt's, and put right when the answer has ended: with the largest number that
    /// there is (`max_tokens`, say), simultaneous requests use exactly the limit. Default 0.
    reserve: Option<At<u32>>,
    /// How the tokens of a minute are counted. Default `sliding-window`, as in Azure API Management's classic tiers; `token-bucket` is that of its
    /// v2 tiers. The bounds are those of `rate-limit`, in tokens.
    #[serde(default)]
    algorithm: Algorithm,
    /// How many tokens a full token bucket admits at once. Only with `token-bucket`; default `tokens-per-minute`.
    burst: Option<At<NonZeroU32>>,
    /// Into how many slots a sliding window is divided, 2 to 1000, instead of keeping the time of every request. See `rate-limit`.
    slots: Option<At<NonZeroU32>>,
    /// When a fixed window begins. Only with `fixed-window`; default `clock`.
    start: Option<At<WindowStart>>,
    /// Whether the limit refuses anything. In shadow mode a request beyond it counts none of its tokens, as if it had been refused.
    /// Default `enforce`.
    #[serde(default)]
    mode: Mode,
    /// The limit's name in the `RateLimit` fields, where its unit is `tokens`: printable ASCII. A quota is told under it with `-quota`
    /// behind. Default: the policy's `id`, else its scope with `-tokens` (`api-tokens`).
    name: Option<At<String>>,
    /// Which headers tell of the limit, on both outcomes; `[]` for none. They tell what is left when the head of the answer is sent, which is before
    /// an answer that is passed on as it comes has been counted. Default: what `[limits] headers` of gateway.toml says, which is
    /// `["ratelimit"]` unless it says otherwise.
    headers: Option<Vec<LimitHeaders>>,
    /// What happens to a request whose `counter-key` gives null or empty text. Default `reject`.
    #[serde(default)]
    on_missing_key: OnMissingKey,
    /// How many keys are held at most. A key is let go only when it has its full allowance again. A shared store
    /// holds as many as it has memory for. Default 100000.
    max_keys: Option<NonZeroUsize>,
    /// What happens to a request with a new key when `max-keys` are held and none can be let go. Default `reject`.
    #[serde(default)]
    on_overflow: OnOverflow,
    /// The header that tells a limited caller how many seconds to wait. Default `Retry-After`.
    #[serde(alias = "retry-after-header-name")]
    retry_after_header: Option<At<String>>,
    /// The variable that then holds these seconds.
    #[serde(alias = "retry-after-variable-name")]
    retry_after_variable: Option<String>,
    /// The header that tells how many tokens of the minute are left: after this request, or with a stream after its prompt. On both
    /// outcomes. Default: none.
    #[serde(alias = "remaining-tokens-header-name")]
    remaining_tokens_header: Option<At<String>>,
    /// The variable that holds how many tokens of the minute are left: at first after what was counted ahead, in outbound after all of it, unless it
    /// is a stream.
    #[serde(alias = "remaining-tokens-variable-name")]
    remaining_tokens_variable: Option<String>,
    /// The header that tells how many tokens of the quota are left, as `remaining-tokens-header` does of the minute.
    #[serde(alias = "remaining-quota-tokens-header-name")]
    remaining_quota_tokens_header: Option<At<String>>,
    /// The variable that holds how many tokens of the quota are left, as `remaining-tokens-variable` does of the minute.
    #[serde(alias = "remaining-quota-tokens-variable-name")]
    remaining_quota_tokens_variable: Option<String>,
    /// The header that tells how many tokens prompt and completion have used. Streams do not have it: their head is sent before that is
    /// known. Default: none.
    #[serde(alias = "tokens-consumed-header-name")]
    tokens_consumed_header: Option<At<String>>,
    /// The variable that holds how many tokens have been used: at first the estimate of the prompt with `estimate-prompt-tokens`, else 0; in outbound
    /// what prompt and completion have used, unless it is a stream.
    #[serde(alias = "tokens-consumed-variable-name")]
    tokens_consumed_variable: Option<String>,
}

impl Policy for LlmTokenLimit {
    const NAME: &'static str = "llm-token-limit";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        self.0.compile(cx)
    }
}
