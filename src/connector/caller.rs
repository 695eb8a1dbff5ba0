//! What an imported API does toward its callers, as the connector runtime does: one deadline, a limit when asked, errors and links.

use std::num::NonZeroU32;

use super::template::{Converted, Section};
use super::written::{Block, text};
use crate::policy::redirect_content_urls::HEADERS;

/// The limit that the platform has for each connection, in requests a minute; see [the limits of
/// connectors](https://learn.microsoft.com/power-automate/limits-and-config#throughput-limits).
pub const PLATFORM_LIMIT: &str = "500";

/// When policies of the section `Failure` run: on-error is also for callers' mistakes and for limits, of which the section knows nothing.
pub const FAILURE: &str = "@equals(lastError('blame'), 'backend')";

/// The form of errors.
pub fn errors() -> Block {
    Block::default()
        .text("format", "connector")
        .text("backend", "wrap-unstructured")
        .comment("Errors as the connector runtime writes them; those of the backend that are no JSON object with a message stand in its envelope.")
}

/// Headers of messages.
pub fn headers() -> Block {
    Block::default().raw("correlation", "true").comment("The ids by which the platform tells calls apart.")
}

/// What comes before everything else: one deadline.
pub fn deadline() -> Block {
    Block::policy("timeout")
        .text("duration", "120s")
        .text("until", "end")
        .comment("As long as the platform waits: for all tries together, to the last byte of the answer.")
}

/// How many requests a minute each connection may make.
pub fn limit(calls: NonZeroU32) -> Block {
    Block::policy("rate-limit")
        .text("id", "connection-limit")
        .text("key", "@coalesce(connection(), subscription(), clientIp())")
        .raw("calls", calls.to_string())
        .text("period", "1m")
        .comment("The platform's limit for each connection; for each subscription or address where calls use none.")
}

/// What comes behind the policies of the package, on the way back.
pub fn answers() -> Block {
    Block::policy("redirect-content-urls")
        .raw("body", "false")
        .comment("`Location` and its kin lead through the gateway: callers poll there, and delete webhooks.")
}

/// What comes behind a policy of one operation that sets a link, and which is the last such policy: those of the API ran before, and its link too
/// has to lead through the gateway. None where none does.
pub fn own_answers(policies: &[&Converted]) -> Option<(usize, Block)> {
    let (mut names, mut last) = (Vec::new(), None);
    for (number, Converted { section, block, .. }) in policies.iter().enumerate() {
        let key = |key| block.pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
        if *section != Section::Outbound || block.off || key("policy") != Some(&text("set-header")) {
            continue;
        }
        let set = HEADERS.iter().find(|known| key("name").is_some_and(|name| name.eq_ignore_ascii_case(&text(known))));
        last = set.map(|_| number).or(last);
        names.extend(set.filter(|name| !names.contains(name)));
    }
    let list: Vec<String> = names.into_iter().map(|name| text(name)).collect();
    let block = Block::policy("redirect-content-urls").raw("headers", format!("[{}]", list.join(", ")));
    Some((last?, block.raw("body", "false").comment("That leads through the gateway too.")))
}
