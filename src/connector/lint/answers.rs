//! What operations answer, and in which media types they are asked.

use super::super::definition::Operation;
use super::super::tree::{Member, Node};
use super::{Hint as _, Linter, head};
use crate::config::diagnostic::one_of;

/// What the platform sends: `MimeTypeNotSupported`.
const MEDIA: [&str; 4] = ["application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"];
/// What forms are sent in.
const FORMS: &[&str] = &["multipart/form-data", "application/x-www-form-urlencoded"];

impl<'n> Linter<'_, 'n> {
    /// `OperationShouldHaveSuccessfulResponse`, `SchemaDefinitionSetIncorrectly`
    pub(super) fn responses(&mut self, operation: &Operation<'n>) {
        let responses = operation.node.get("responses");
        let span = responses.map_or(operation.at.clone(), head);
        let all = responses.map(Node::members).unwrap_or_default();
        let mut good = all.iter().filter(|one| one.name.starts_with('2')).peekable();
        let default = all.iter().find(|one| one.name.eq_ignore_ascii_case("default"));
        if good.peek().is_none() {
            match default {
                None => self
                    .error("no-success-response", &span, format!("`{}` has no response for success", operation.id))
                    .with("`200` with a schema, or `default`"),
                Some(default) => self
                    .warning(
                        "no-success-response",
                        &default.at,
                        format!("`{}` describes `default` alone, and no success", operation.id),
                    )
                    .with("describe it as `200` or `201`: certification looks for its schema there"),
            }
            return;
        }
        let is_shown = operation.node.text_of("x-ms-visibility") != Some("internal");
        let has_body = good.clone().any(|one| matches!(&*one.name, "200" | "201"));
        let says = |one: &Member| {
            let response = self.definition.follow(&one.value);
            response.get("schema").or_else(|| response.get("content")).is_some()
        };
        let is_read = operation.method == "GET" && is_shown && has_body;
        if let (true, false, Some(first)) = (is_read, good.clone().any(says), good.next()) {
            let text = format!("`{}` does not say what it answers", operation.id);
            self.warning("no-response-schema", &first.at, text)
                .with("a `schema`: the designer offers nothing of the answer without it");
        }
    }

    /// `ConsumesMissing`, `MimeTypeNotCompatibleWithRequestContentSchemaType`
    pub(super) fn media(&mut self, operation: &Operation<'n>) {
        let list = |name: &str| operation.node.get(name).or_else(|| self.definition.root.get(name));
        for name in ["consumes", "produces"] {
            for one in list(name).map(Node::items).unwrap_or_default() {
                let text = one.text().unwrap_or_default();
                if !is_media_type(text) && self.seen.insert(one.span.start) {
                    self.error("media-type", &one.span, format!("`{text}` is no media type"))
                        .with("a type and a subtype: `application/json`");
                }
            }
        }
        let has = |place: &str| operation.parameters.iter().any(|one| one.place == place);
        let wanted: &[&str] = match (has("formData"), has("body")) {
            (true, _) => FORMS,
            (_, true) => &MEDIA,
            _ => return,
        };
        let Some(consumes) = list("consumes").filter(|list| !list.items().is_empty()) else { return };
        let plain = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut types = consumes.items().iter().filter_map(Node::text).filter(|text| is_media_type(text)).peekable();
        if types.peek().is_some() && !types.any(|one| wanted.contains(&plain(one).as_str())) {
            let what = if wanted.len() == MEDIA.len() { "the body" } else { "the form" };
            let text = format!("{what} of `{}` is sent in none of these media types", operation.id);
            self.warning("media-type", &head(consumes), text).with(one_of(wanted.iter().copied()));
        }
    }
}

/// Whether a text is a type and a subtype (RFC 9110 §8.3.1), or a range of them.
fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let plain = text.split(';').next().unwrap_or_default().trim();
    plain.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}
