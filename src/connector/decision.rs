//! What was decided where the platform does not say what it does: told at import, in the report, and where it is taken in the API's file.

use super::template::{Instance, Section, calls};

/// Headers on their way to the backend, for every package.
pub const HEADERS: &str = "headers of callers reach the backend unless a policy takes them, those of the platform too; `remove-from-requests = [\"x-ms-workflow-*\"]` in `[api.headers]` keeps some from it";
/// How many requests a connection may make, where a limit is written.
pub const LIMIT: &str = "each connection may make as many requests a minute as was asked for: Microsoft's pages say 500, and 10,000 for some callers";
/// When a script runs, for packages that have one.
pub const SCRIPT: &str = "policies of `Response` get what the backend answered: where the platform runs a script before or after them, none runs here";
/// Operations that a policy names in another case.
pub const OPERATION_CASE: &str =
    "names of operations in policies compare with their case: one in another case names no operation";

/// Functions whose values come from the request or the connection, folded.
const VALUES: [&str; 4] = ["headers", "header", "queryparameters", "connectionparameters"];

impl Instance<'_> {
    /// What was decided for this policy.
    pub fn decisions(&self) -> Vec<&'static str> {
        let mut made = Vec::new();
        let texts = ["urlTemplate", "newPath", "value", "parameterValueUrl"].map(|name| self.text(name));
        if texts.iter().any(|text| calls(text).any(|(name, _)| name == "connectionparameters")) {
            made.push("a connection parameter that is not there and has no default is empty text; a URL that needs it is refused");
        }
        let reads = |name: &str| calls(self.text(name)).any(|(function, _)| VALUES.contains(&function.as_str()));
        match self.id.as_str() {
            "setheader" => {
                if self.text("value").is_empty() {
                    made.push("a header that is set to nothing is sent empty");
                }
                if self.section() != Section::Inbound && reads("value") {
                    made.push("`@headers` and `@queryParameters` read the request, also in policies of `Response`");
                }
            }
            "setqueryparameter" if reads("value") => {
                made.push("values in a query parameter are percent-encoded, so that they stay in it");
            }
            "dynamichosturl" | "dynamicsubdomain" if reads("urlTemplate") => {
                made.push(
                    "values in the URL of a host stand there as they are, since they may be a whole URL; what makes no URL is refused",
                );
            }
            "routerequesttoendpoint" if reads("newPath") => {
                made.push("values in a new path are percent-encoded, so that they stay in their segment or parameter");
            }
            "setvaluefromurl" => made.push(
                "when the other request of `set-value-from-url` gives no value, the call ends with its status, or 502",
            ),
            "convertarraytoobject" => {
                made.push("of items with the same key the last counts, and an item without the key is left out");
                if self.text("retainKey").eq_ignore_ascii_case("false") {
                    made.push("an item that had nothing but its key becomes null");
                }
            }
            "stringtoarray" if self.text("delimiterList").chars().count() > 1 => {
                made.push("each character of `delimiterList` separates");
            }
            "encodepropertyvalue" => {
                made.push("all but letters, digits and `-_.!~*'()` is percent-encoded, as encodeURIComponent does");
            }
            "moveproperties" => made.push("the properties are moved one by one, and what held them is removed"),
            "setproperty" => {
                made.push("where the parent of `set-property` is not there, nothing is set");
                let value = self.text("propertyValuePathTemplate").trim();
                if value.len() > 1 && value.starts_with('\'') && value.ends_with('\'') {
                    made.push("quotes around the whole value of `set-property` are part of it");
                }
            }
            _ => {}
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn what_is_open_is_decided() {
        for (name, id, parameters, want) in [
            ("nothing open", "setheader", r#""value": "x""#, &[][..]),
            ("no parameter", "setheader", r#""value": "@connectionParameters('a')""#, &["a connection parameter"]),
            ("nothing", "setheader", r#""value": """#, &["a header that is set to nothing"]),
            ("a query", "setqueryparameter", r#""value": "@headers('a')""#, &["values in a query parameter"]),
            ("a host", "dynamichosturl", r#""urlTemplate": "https://@headers('a')""#, &["values in the URL of a host"]),
            ("a constant host", "dynamichosturl", r#""urlTemplate": "https://a.example""#, &[]),
            ("a path", "routerequesttoendpoint", r#""newPath": "/@queryParameters('a')""#, &["values in a new path"]),
            ("another request", "setvaluefromurl", "", &["when the other request"]),
            ("keys", "convertarraytoobject", "", &["of items with the same key"]),
            (
                "no keys",
                "convertarraytoobject",
                r#""retainKey": "false""#,
                &["of items with the same key", "an item that had nothing"],
            ),
            ("one character", "stringtoarray", r#""delimiterList": ";""#, &[]),
            ("characters", "stringtoarray", r#""delimiterList": ";,""#, &["each character"]),
            ("escapes", "encodepropertyvalue", "", &["all but letters"]),
            ("moves", "moveproperties", "", &["the properties are moved"]),
            ("a property", "setproperty", r#""propertyValuePathTemplate": "x""#, &["where the parent"]),
            (
                "quotes",
                "setproperty",
                r#""propertyValuePathTemplate": "'{@item()['a']}-{@item()['b']}'""#,
                &["where the parent", "quotes around"],
            ),
        ] {
            let own = parameters.replacen('"', "\"x-ms-apimTemplateParameter.", 1);
            let text = format!(r#"{{ "templateId": "{id}", "parameters": {{ {own} }} }}"#);
            let (node, _) = json::parse(&text).unwrap();
            let made = Instance::read(&node).decisions();
            assert_eq!(made.len(), want.len(), "{name}: {made:?}");
            assert!(made.iter().zip(want).all(|(made, want)| made.starts_with(want)), "{name}: {made:?}");
        }
        let text = r#"{ "templateId": "setheader", "parameters": { "x-ms-apimTemplateParameter.value": "@headers('a')", "x-ms-apimTemplate-policySection": "Response" } }"#;
        let (node, _) = json::parse(text).unwrap();
        assert_eq!(Instance::read(&node).decisions().len(), 1, "the request's headers in an answer");
    }
}
