//! Triggers: the URL that a webhook calls, what it sends there, and how it ends.

use std::collections::HashSet;

use super::super::definition::Operation;
use super::super::tree::{Member, Node};
use super::{Hint as _, Linter, head};

/// How deep schemas are looked through.
const DEEP: usize = 12;

/// What the platform does at the end of a flow.
const ENDS: &str = "the platform calls DELETE on it when a flow ends; without it webhooks stay for ever";

impl<'n> Linter<'_, 'n> {
    pub(super) fn trigger(&mut self, operation: &Operation<'n>) {
        let is_webhook = operation
            .parameters
            .iter()
            .any(|one| is_callback(one.node) || self.has_callback(one.schema, &mut HashSet::new()));
        if let Some(kind) = operation.node.get("x-ms-trigger")
            && !matches!(kind.text(), Some("single" | "batch"))
        {
            self.error("bad-trigger", &kind.span, "`x-ms-trigger` is `single` or `batch`");
        }
        self.notification(operation, is_webhook);
        if !is_webhook {
            return;
        }
        for parameter in operation.parameters.iter().filter(|one| is_callback(one.node)) {
            self.error("notification-url", &head(parameter.node), "`x-ms-notification-url` stands in the body");
        }
        let mut found = 0;
        for body in operation.parameters.iter().filter(|one| one.place == "body" && !is_callback(one.node)) {
            let (name, is_internal) = (body.name, body.visibility() == Some("internal"));
            found += self.callback(name, body.schema, body.required, is_internal, &mut Vec::new());
        }
        if found > 1 {
            let text = format!("{found} properties of the body of `{}` take the URL of the webhook", operation.id);
            self.warning("notification-url", &operation.at, text).with("mark one of them with `x-ms-notification-url`");
        }
        self.deletable(operation);
    }

    /// Whether there is such a URL in what is not looked at yet.
    fn has_callback(&self, node: &'n Node, visited: &mut HashSet<usize>) -> bool {
        let node = self.definition.follow(node);
        visited.insert(node.span.start)
            && (is_callback(node)
                || node.members().iter().any(|member| self.has_callback(&member.value, visited))
                || node.items().iter().any(|item| self.has_callback(item, visited)))
    }

    fn deletable(&mut self, operation: &Operation<'n>) {
        let created = operation.node.get("responses").and_then(|responses| responses.get("201"));
        let location = |node: &'n Node| {
            let headers = self.definition.follow(node).get("headers");
            headers.and_then(|headers| headers.get_any_case("Location")).is_some()
        };
        let by_policy = self.properties.policies.iter().any(|policy| {
            let is_location =
                policy.parameter("name").and_then(Node::text).is_some_and(|name| name.eq_ignore_ascii_case("location"));
            policy.id == "setheader" && is_location
        });
        match created {
            _ if by_policy => {}
            Some(created) if location(created) => {}
            Some(created) => {
                let text = format!("201 of the webhook `{}` has no `Location`", operation.id);
                self.warning("webhook-location", &head(created), text).with(ENDS);
            }
            None => {
                let text = format!("the webhook `{}` has no response 201 with `Location`", operation.id);
                self.warning("webhook-location", &operation.at, text).with(ENDS);
            }
        }
        if !self.definition.operations.iter().any(|other| other.method == "DELETE") {
            let text = format!("no operation deletes the webhook of `{}`", operation.id);
            self.warning("webhook-location", &operation.at, text);
        }
    }

    /// What a webhook sends: `OperationMustHaveNotificationContentExtension`, `WebhookOperationsMissingNotificationUrlProperty`.
    fn notification(&mut self, operation: &Operation<'n>, is_webhook: bool) {
        let item = self.definition.root.get("paths").and_then(|paths| paths.get(operation.path));
        let shared = item.and_then(|item| item.get("x-ms-notification-content"));
        let own = operation.node.get("x-ms-notification-content");
        let (content, is_own) = (own.or(shared), own.is_some());
        let is_trigger = operation.node.get("x-ms-trigger").is_some();
        match content {
            None if is_webhook && is_trigger => {
                let text = format!("the webhook `{}` does not say what it sends", operation.id);
                self.warning("notification-content", &operation.at, text).with(
                    "`x-ms-notification-content` beside the method, with a `schema`: flows see nothing without it",
                );
            }
            None => {}
            Some(content) if content.get("schema").is_none() && (is_webhook || is_own) => {
                self.error("notification-content", &head(content), "`x-ms-notification-content` has no `schema`")
                    .with("`{ \"description\": …, \"schema\": … }`");
            }
            Some(content) if is_trigger && !is_webhook && operation.method == "POST" => {
                let text =
                    format!("no property of the body of `{}` takes the URL that the webhook calls", operation.id);
                self.warning("notification-url", &head(content), text)
                    .with("`\"x-ms-notification-url\": true` marks it; the platform fills it in");
            }
            Some(_) => {}
        }
    }

    /// The URL that a webhook calls: `NotificationUrlNotInternal`, `NotificationUrlNotRequired`, `NotificationUrlNotString`. How many
    /// there are.
    fn callback(
        &mut self,
        name: &str,
        node: &'n Node,
        is_required: bool,
        is_internal: bool,
        above: &mut Vec<usize>,
    ) -> usize {
        let node = self.definition.follow(node);
        let is_internal = is_internal || node.text_of("x-ms-visibility") == Some("internal");
        if is_callback(node) {
            let span = head(node);
            if !is_internal {
                let text = format!("`{name}` takes the URL of a webhook and is not internal");
                self.error("notification-url", &span, text)
                    .with("`\"x-ms-visibility\": \"internal\"`: the platform fills it in");
            }
            if node.text_of("type").is_some_and(|kind| kind != "string") {
                let text = format!("`{name}` takes the URL of a webhook and is no `string`");
                self.error("notification-url", &span, text);
            }
            if !is_required {
                let text = format!("`{name}` takes the URL of a webhook and is not required");
                self.warning("notification-url", &span, text)
                    .with("it has to be `required`, and so has all that holds it, for the platform to fill it in");
            }
            return 1;
        }
        if above.len() == DEEP || above.contains(&node.span.start) {
            return 0;
        }
        above.push(node.span.start);
        let required = node.get("required").map(Node::items).unwrap_or_default();
        let mut found = 0;
        for Member { name, value, .. } in node.get("properties").map(Node::members).unwrap_or_default() {
            let is_required = is_required && required.iter().any(|one| one.text() == Some(name));
            found += self.callback(name, value, is_required, is_internal, above);
        }
        above.pop();
        found
    }
}

/// Whether a parameter takes the URL that a webhook calls.
pub(super) fn is_callback(node: &Node) -> bool {
    node.get("x-ms-notification-url").is_some_and(Node::is_true)
}
