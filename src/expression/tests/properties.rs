//! What holds for any text and any value: nothing panics, errors point into the text, quoting round-trips.

use proptest::prelude::*;
use serde_json::json;

use super::{facts, parse};
use crate::expression::testing::MapFacts;
use crate::expression::{Dialect, Expression, Value, catalogue};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written, reading it ends, its errors point into the text, and evaluating it ends.
    #[test]
    fn any_text_is_read_or_refused(text in any_text()) {
        let facts = facts();
        match Expression::parse(&text, Dialect::Gateway) {
            Ok(expression) => drop(expression.evaluate(&facts)),
            Err(error) => prop_assert!(text.get(error.range.clone()).is_some(), "{error} at {:?}", error.range),
        }
    }

    /// A text in which every `@` is doubled is itself.
    #[test]
    fn doubled_at_signs_are_literal(text in ".*") {
        let expression = parse(&text.replace('@', "@@"));
        prop_assert_eq!(expression.literal(), Some(text.as_str()));
    }

    /// Quoting text makes it a literal again.
    #[test]
    fn quoted_text_is_itself(text in ".*") {
        let expression = parse(&format!("@string('{}')", text.replace('\'', "''")));
        prop_assert_eq!(expression.literal(), Some(text.as_str()));
    }

    /// No function panics, whatever it is given.
    #[test]
    fn any_argument_is_taken_or_refused(arguments in proptest::collection::vec(any_argument(), 4)) {
        let mut facts = MapFacts::sample();
        for (index, argument) in arguments.into_iter().enumerate() {
            facts.variables.insert(index.to_string(), argument);
        }
        for doc in catalogue() {
            for count in 0..=4 {
                let arguments: Vec<String> = (0..count).map(|index| format!("variables('{index}')")).collect();
                let text = format!("@{}({})", doc.name, arguments.join(", "));
                if let Ok(expression) = Expression::parse(&text, Dialect::Gateway) {
                    drop(expression.evaluate(&facts).and_then(Value::into_text));
                }
            }
        }
    }

    #[test]
    fn sorting_never_panics(items in proptest::collection::vec(any_json(), 0..60)) {
        let mut facts = MapFacts::empty();
        facts.variables.insert("items".into(), items.into());
        drop(parse("@sort(variables('items'))").evaluate(&facts));
    }
}

/// Scalars, texts that functions read, and small collections.
fn any_argument() -> impl Strategy<Value = serde_json::Value> {
    let texts = [
        "",
        "a",
        "ä",
        "day",
        "month",
        "2018-03-15T13:00:00Z",
        "9999-12-31",
        "0001-01-01",
        "-1",
        "0",
        "#,##0.0;x",
        "E5",
        "yyyy 'x' zzz",
        "o",
        "UTC",
        "Europe/Berlin",
        "https://a:b@c:80/d?e#f",
        "data:,x",
        "aGk=",
        "%41",
        "en-US",
    ];
    let text = proptest::sample::select(texts.to_vec()).prop_map(|text| json!(text));
    let scalar = prop_oneof![any_json(), text, (-3_i64..5).prop_map(|number| json!(number))];
    let items = proptest::collection::vec(any_json(), 0..4).prop_map(serde_json::Value::from);
    let object = proptest::collection::hash_map("[ab]", any_json(), 0..3).prop_map(|object| json!(object));
    prop_oneof![6 => scalar, 1 => items, 1 => object]
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,3}".prop_map(|value| json!(value)),
    ]
}

/// Pieces of the language in any order, and now and then anything at all.
fn any_text() -> impl Strategy<Value = String> {
    let names: Vec<String> = catalogue().map(|doc| format!("{}(", doc.name)).collect();
    let examples: Vec<String> = catalogue().map(|doc| doc.example.to_owned()).collect();
    let signs = [
        "@", "@{", "}", "(", ")", ",", "'", "''", "[", "]", ".", "?.", "?[", "-1", "1.5", "true", "null", " ", "'x'",
        "é", "0", "99999",
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(signs.to_vec()).prop_map(str::to_owned),
        2 => proptest::sample::select(names),
        2 => proptest::sample::select(examples),
        1 => ".{0,4}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
