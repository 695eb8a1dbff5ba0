//! Versions of an operation: `x-ms-api-annotation`, by the
//! [rules](https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules) of the platform's validator.

use std::collections::BTreeMap;

use super::super::definition::Operation;
use super::super::tree::Node;
use super::{Hint as _, Linter, head};

const STATUSES: [&str; 3] = ["Experimental", "Preview", "Production"];

/// An operation of a family.
struct Member<'a, 'n> {
    operation: &'a Operation<'n>,
    annotation: &'n Node,
    revision: Option<&'n Node>,
}

impl Member<'_, '_> {
    fn is_active(&self) -> bool {
        !self.operation.node.get("deprecated").is_some_and(Node::is_true)
    }
}

impl<'n> Linter<'_, 'n> {
    pub(super) fn families(&mut self) {
        let definition = self.definition;
        let mut families: BTreeMap<&str, Vec<Member<'_, 'n>>> = BTreeMap::new();
        for operation in &definition.operations {
            let Some(annotation) = operation.node.get("x-ms-api-annotation") else { continue };
            self.replacement(operation, annotation);
            if let Some(status) = annotation.get("status")
                && !status.text().is_some_and(|text| STATUSES.contains(&text))
            {
                self.warning("bad-annotation", &status.span, "`status` is `Experimental`, `Preview` or `Production`");
            }
            if let Some(family) = annotation.text_of("family") {
                let revision = annotation.get("revision");
                self.suffix(operation, revision);
                families.entry(family).or_default().push(Member { operation, annotation, revision });
            }
        }
        for (name, members) in &families {
            self.family(name, members);
        }
    }

    /// `ApiAnnotationExtensionReplacementInfo…`
    fn replacement(&mut self, operation: &Operation<'n>, annotation: &'n Node) {
        let Some(replacement) = annotation.get("replacement") else { return };
        if !operation.node.get("deprecated").is_some_and(Node::is_true) {
            let text = format!("`{}` is replaced, and not deprecated", operation.id);
            self.error("bad-annotation", &head(replacement), text).with("`\"deprecated\": true`, or no `replacement`");
        }
        for name in ["api", "operationId"] {
            if replacement.text_of(name).is_none() {
                let text = format!("the replacement of `{}` has no `{name}`", operation.id);
                self.error("bad-annotation", &head(replacement), text);
            }
        }
        // Another API may have the operation; ours is named by nothing that the definition says, so this is a warning.
        if let Some(id) = replacement.get("operationId") {
            let file = self.package.definition.id;
            self.check_operation(file, &id.span, id.text().unwrap_or_default());
        }
    }

    /// `OperationIdShouldEndWithRevision`
    fn suffix(&mut self, operation: &Operation<'n>, revision: Option<&'n Node>) {
        let number = |node: &Node| node.scalar().and_then(|text| text.parse::<u32>().ok());
        let Some((node, number)) = revision.and_then(|node| Some((node, number(node)?))) else { return };
        let end = format!("V{number}");
        if number > 1 && !operation.id.to_ascii_uppercase().ends_with(&end) {
            let text = format!("`{}` is revision {number}, and does not end with it", operation.id);
            self.warning("bad-annotation", &node.span, text).with(format!("`_{end}` at the end of the `operationId`"));
        }
    }

    /// `OperationFamilyHasDuplicateRevisions`, `OperationFamilyHasManyEmptyRevisions`, `OperationFamilyHasManyActiveOperations`
    fn family(&mut self, name: &str, members: &[Member<'_, 'n>]) {
        for (at, one) in members.iter().enumerate() {
            let same = members[..at].iter().find(|other| other.revision == one.revision);
            if let Some(other) = same {
                let span = one.revision.map_or(head(one.annotation), |node| node.span.clone());
                let text = match one.revision.and_then(Node::scalar) {
                    Some(revision) => format!(
                        "`{}` and `{}` are both revision {revision} of `{name}`",
                        other.operation.id, one.operation.id
                    ),
                    None => format!(
                        "`{}` and `{}` of the family `{name}` have no `revision`",
                        other.operation.id, one.operation.id
                    ),
                };
                self.error("bad-annotation", &span, text).with("each operation of a family has its own `revision`");
            }
        }
        let active: Vec<_> = members.iter().filter(|one| one.is_active()).collect();
        let in_production = |one: &&&Member<'_, '_>| one.annotation.text_of("status") == Some("Production");
        let produced: Vec<_> = active.iter().filter(in_production).collect();
        let (many, what) = if active.len() > 2 {
            (active[active.len() - 1], "more than two operations are in use")
        } else if let [_, .., last] = &produced[..] {
            (**last, "several operations are in production")
        } else {
            return;
        };
        self.warning("bad-annotation", &head(many.annotation), format!("of the family `{name}` {what}"))
            .with("mark the earlier ones with `\"deprecated\": true`");
    }
}
