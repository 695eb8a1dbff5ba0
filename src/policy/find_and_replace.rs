//! Replaces text in the body of the request or the response.

use bytes::Bytes;
use memchr::memmem;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::TextValue;
use super::{Policy, Sections};
use crate::body::coding;
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::Needs;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Replaces every occurrence of a text in the body. Inbound and backend change the request, outbound and on-error the response; see
/// [find-and-replace](https://learn.microsoft.com/azure/api-management/find-and-replace-policy) in Azure API Management.
///
/// The body is held in memory, up to `[server.limits] buffer-size`, and so is the result. A compressed body is read, and passed on,
/// without its compression (`gzip`, `deflate`, `br`); one in another coding is left alone. The gateway asks the backend for a plain one when outbound reads
/// or changes the body.
///
/// ```toml
/// [[outbound]]
/// policy = "find-and-replace"
/// from   = "http://erp.contoso.internal"
/// to     = "https://api.contoso.com"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FindAndReplace {
    /// The text to look for, compared byte for byte. Evaluated when the step runs; a failure goes to on-error. Nothing is replaced
    /// when an expression gives no text.
    from: Text,
    /// The text in its place; `""` removes it. Evaluated when the step runs; a failure goes to on-error.
    to: Text,
}

impl Policy for FindAndReplace {
    const NAME: &'static str = "find-and-replace";
    const SECTIONS: Sections = Sections::ALL;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.from.is_empty() {
            return Err(CompileError::at(&self.from, "there is nothing to look for"));
        }
        let from = TextValue::compile(&self.from, cx)?;
        let to = TextValue::compile(&self.to, cx)?;
        cx.needs |= Needs::BODY;
        Ok(Step::sync(Compiled { from, to }))
    }
}

// === impl Apply ===

struct Compiled {
    from: TextValue,
    to: TextValue,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        if coding::is_coded(cx.message.headers()) {
            tracing::warn!(
                "find-and-replace leaves a body alone that is compressed in a way that the gateway does not read"
            );
            return Ok(Flow::Next);
        }
        let changed = {
            let Some(body) = cx.message.body().bytes() else { return Ok(Flow::Next) };
            let (from, to) = (self.from.text(cx)?, self.to.text(cx)?);
            replace(body, from.as_bytes(), to.as_bytes(), cx.exchange.gateway.settings.buffer_size)?
        };
        if let Some(bytes) = changed {
            cx.set_body(bytes);
        }
        Ok(Flow::Next)
    }
}

/// The body with every `from` replaced; none when there is no `from` in it. No more than `limit` bytes are made.
fn replace(body: &[u8], from: &[u8], to: &[u8], limit: u64) -> Result<Option<Bytes>, Fault> {
    if from.is_empty() {
        return Ok(None);
    }
    let finder = memmem::Finder::new(from);
    let count = finder.find_iter(body).count();
    if count == 0 {
        return Ok(None);
    }
    let length = body.len() - count * from.len() + count.saturating_mul(to.len());
    if length as u64 > limit {
        return Err(Fault::internal("BodyTooLarge", format!("the replaced body is longer than {limit} bytes")));
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = 0;
    for at in finder.find_iter(body) {
        out.extend_from_slice(&body[rest..at]);
        out.extend_from_slice(to);
        rest = at + from.len();
    }
    out.extend_from_slice(&body[rest..]);
    Ok(Some(Bytes::from(out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_every_occurrence_within_the_limit() {
        for (body, from, to, limit, want) in [
            ("a-b-c", "-", "", 10, Some(Some("abc"))),
            ("aaa", "aa", "b", 10, Some(Some("ba"))),
            ("abc", "x", "y", 0, Some(None)),
            ("abc", "", "y", 10, Some(None)),
            ("aa", "a", "bbb", 6, Some(Some("bbbbbb"))),
            ("aa", "a", "bbb", 5, None),
        ] {
            let got = replace(body.as_bytes(), from.as_bytes(), to.as_bytes(), limit).ok();
            assert_eq!(got, want.map(|text| text.map(Bytes::from)), "{body} {from} {to} {limit}");
        }
    }
}
