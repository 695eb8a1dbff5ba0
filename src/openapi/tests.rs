//! Schemas against the official test suite of JSON Schema, and definitions with their faults.
//!
//! tests/fixtures/json-schema holds the files of <https://github.com/json-schema-org/JSON-Schema-Test-Suite> (MIT) whose words OpenAPI
//! has: those of draft 4, which 2.0 and 3.0 build on, and of 2020-12 for 3.1. Suites that need other documents, and words that are told
//! as unchecked, are not among them.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::check::{Direction, Mistake, Strictness, TooMuch, check};
use super::read::{Dialect, Fault, Reader};
use super::sample::sample;
use super::schema::{SchemaId, Schemas};
use crate::connector::json;
use crate::json::Index;

/// Groups of the suite in which something stands that OpenAPI does not have, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("definitions: validate definition against metaschema", "another document"),
    (
        "not: collect annotations inside a 'not', even if collection is disabled",
        "`unevaluatedProperties` is told as unchecked",
    ),
    ("ref: $ref prevents a sibling id from changing the base uri", "`id`"),
    ("ref: remote ref, containing refs itself", "another document"),
    ("ref: Recursive references between schemas", "`id`"),
    ("ref: Location-independent identifier", "`id`"),
    ("ref: Location-independent identifier with base URI change in subschema", "`id`"),
    ("ref: id must be resolved against nearest parent, not just immediate parent", "`id`"),
];

/// A group of cases of the suite. Values stay the text they are: the suite has numbers that a double does not hold.
#[derive(serde::Deserialize)]
struct Group {
    description: String,
    schema: Box<RawValue>,
    tests: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    description: String,
    data: Box<RawValue>,
    valid: bool,
}

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/json-schema").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Compiles a schema that stands alone.
fn compile(text: &str, dialect: Dialect) -> (Schemas, SchemaId, Vec<Fault>) {
    let (root, _) = json::parse(text).unwrap();
    let mut reader = Reader::new(&root, dialect);
    let id = reader.schema(&root);
    let (schemas, faults) = reader.finish();
    (schemas, id, faults)
}

fn mistakes(schemas: &Schemas, id: SchemaId, text: &str) -> Result<Vec<Mistake>, TooMuch> {
    check(schemas, id, &Index::parse(text.as_bytes()).unwrap(), Direction::Request, Strictness::default())
}

fn run_suite(name: &str, dialect: Dialect) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for file in folder(name) {
        let text = std::fs::read_to_string(&file).unwrap();
        let groups: Vec<Group> = serde_json::from_str(&text).unwrap();
        let file = file.file_stem().unwrap().to_string_lossy().into_owned();
        for group in groups {
            let title = format!("{file}: {}", group.description);
            if LEFT_OUT.iter().any(|(left, _)| *left == title) {
                continue;
            }
            let (schemas, id, _) = compile(group.schema.get(), dialect);
            for case in group.tests {
                count += 1;
                let found = mistakes(&schemas, id, case.data.get()).map(|list| list.is_empty());
                if found != Ok(case.valid) {
                    wrong.push(format!("{title}: {}: {found:?}", case.description));
                }
            }
        }
    }
    assert!(count > 20, "{count}");
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn schemas_of_openapi_2_and_3_are_those_of_draft_4() {
    run_suite("draft4", Dialect::Two);
}

#[test]
fn schemas_of_openapi_3_1_are_those_of_2020_12() {
    run_suite("2020-12", Dialect::ThreeOne);
}

#[test]
fn formats_are_those_of_the_suite() {
    run_suite("format", Dialect::Three);
}

#[test]
fn words_of_openapi() {
    let schema = r##"{"type":"object","required":["id","secret"],"properties":{
        "id":{"type":"integer","format":"int64","readOnly":true},
        "secret":{"type":"string","writeOnly":true},
        "name":{"type":"string","nullable":true,"minLength":2},
        "price":{"type":"number","minimum":0,"exclusiveMinimum":true},
        "children":{"type":"array","items":{"$ref":"#"}}}}"##;
    let (schemas, id, faults) = compile(schema, Dialect::Three);
    assert_eq!(faults, []);
    for (text, direction, want) in [
        (r#"{"secret":"s"}"#, Direction::Request, ""),
        (r#"{"id":1}"#, Direction::Response, ""),
        (r#"{}"#, Direction::Request, "Required properties are missing from object: secret. Line: 1, Position: 1"),
        (r#"{}"#, Direction::Response, "Required properties are missing from object: id. Line: 1, Position: 1"),
        (r#"{"secret":"s","name":null}"#, Direction::Request, ""),
        (
            "{\"secret\":\"s\",\n \"name\":\"a\"}",
            Direction::Request,
            "String is less than minimum length of 2. Path 'name'. Line: 2, Position: 9",
        ),
        (
            r#"{"secret":"s","price":0}"#,
            Direction::Request,
            "Number equals minimum value of 0 and exclusive minimum is true. Path 'price'. Line: 1, Position: 23",
        ),
        (
            r#"{"secret":"s","children":[{"secret":"s","name":3}]}"#,
            Direction::Request,
            "Invalid type. Expected String, Null but got Integer. Path 'children[0].name'. Line: 1, Position: 48",
        ),
    ] {
        let index = Index::parse(text.as_bytes()).unwrap();
        let found = check(&schemas, id, &index, direction, Strictness::default()).unwrap();
        let found: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(found.join("|"), want, "{text}");
    }
}

#[test]
fn properties_that_are_not_named_are_told_when_asked_for() {
    let schema = r##"{"allOf":[{"$ref":"#/base"},{"type":"object","properties":{"b":{"type":"object","properties":{"c":{}}}}}],
        "base":{"type":"object","properties":{"a":{"type":"integer"}}}}"##;
    let (schemas, id, _) = compile(schema, Dialect::Three);
    let strict = Strictness { additional_properties: Some(false), ignore_case: false };
    let loose = Strictness { additional_properties: None, ignore_case: true };
    for (text, strictness, want) in [
        (r#"{"a":1,"b":{"c":2}}"#, strict, 0),
        (r#"{"a":1,"x":2}"#, strict, 1),
        (r#"{"b":{"x":2}}"#, strict, 1),
        (r#"{"x":2}"#, loose, 0),
        (r#"{"A":"text"}"#, loose, 1),
        (r#"{"A":"text"}"#, Strictness::default(), 0),
    ] {
        let index = Index::parse(text.as_bytes()).unwrap();
        let found = check(&schemas, id, &index, Direction::Request, strictness).unwrap();
        assert_eq!(found.len(), want, "{text}: {found:?}");
    }
    let (schemas, id, _) = compile(r#"{"properties":{"a":{}},"additionalProperties":false}"#, Dialect::Two);
    let index = Index::parse(br#"{"b":1}"#).unwrap();
    for (allowed, want) in [(None, 1), (Some(true), 0), (Some(false), 1)] {
        let strictness = Strictness { additional_properties: allowed, ignore_case: false };
        assert_eq!(check(&schemas, id, &index, Direction::Request, strictness).unwrap().len(), want, "{allowed:?}");
    }
}

#[test]
fn faults_are_told_and_the_rest_is_checked() {
    let schema = r##"{"type":"object","required":true,"properties":{
        "a":{"type":"text"},"b":{"$ref":"#/nowhere"},"c":{"$ref":"other.json#/x"},"d":{"type":"string","pattern":"(?=a)"},
        "e":{"type":"integer","enum":["1"]},"f":{"type":"integer","minimum":"low"},"g":{"$ref":"#/properties/g"},
        "h":{"type":"string","maxLength":1}}}"##;
    let (schemas, id, faults) = compile(schema, Dialect::Two);
    let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let told = told.join("\n");
    for part in [
        "`required` is a list of names of properties",
        "there is no type `text`",
        "`#/nowhere` leads nowhere",
        "`other.json#/x` is outside of this file, where nothing is read",
        "the pattern `(?=a)` cannot be checked: look-around",
        "no value of `enum` has the type of the schema",
        "`minimum` is no number",
        "references lead in a circle",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let found = mistakes(&schemas, id, r#"{"a":1,"b":2,"c":3,"d":"x","e":4,"f":5,"g":6,"h":"too long"}"#).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn the_work_for_one_value_is_bounded() {
    // Each level tries both alternatives, each of which tries both again.
    let schema = r##"{"oneOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"},"b":{"type":"string"}},"required":["b"]}]}"##;
    let (schemas, id, _) = compile(schema, Dialect::Two);
    let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    assert_eq!(mistakes(&schemas, id, &deep), Err(TooMuch));
    let (schemas, id, _) = compile(r##"{"allOf":[{"$ref":"#"}]}"##, Dialect::Two);
    assert_eq!(mistakes(&schemas, id, "1"), Err(TooMuch));
    let long = format!("[{}]", vec!["\"x\""; 1000].join(","));
    let (schemas, id, _) = compile(r#"{"items":{"type":"integer"}}"#, Dialect::Two);
    assert_eq!(mistakes(&schemas, id, &long).unwrap().len(), super::check::MAX_MISTAKES);
}

#[test]
fn samples_are_what_their_schemas_take() {
    for (schema, want) in [
        (r#"{"type":"string"}"#, r#""string""#),
        (r#"{"type":"string","format":"date-time"}"#, r#""2026-01-31T12:30:00Z""#),
        (r#"{"type":"string","minLength":8,"maxLength":9}"#, r#""stringst""#),
        (r#"{"type":"string","enum":["b","a"]}"#, r#""b""#),
        (r#"{"type":"integer","minimum":3,"multipleOf":4}"#, "4"),
        (r#"{"type":"integer","maximum":-3,"exclusiveMaximum":true}"#, "-4"),
        (r#"{"type":"number","minimum":0.25}"#, "1"),
        (r#"{"type":"number","minimum":0.25,"maximum":0.5}"#, "0.375"),
        (r#"{"type":"boolean"}"#, "true"),
        (r#"{"type":"array","items":{"type":"integer"},"minItems":2}"#, "[0,0]"),
        (
            r##"{"type":"object","required":["next"],"properties":{"id":{"type":"integer","example":7},"next":{"$ref":"#"},"all":{"type":"array","items":{"$ref":"#"}}}}"##,
            r#"{"id":7,"next":{},"all":[]}"#,
        ),
        (
            r#"{"allOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"object","properties":{"b":{"type":"boolean"}}}]}"#,
            r#"{"a":"string","b":true}"#,
        ),
        (r#"{"oneOf":[{"type":"integer"},{"type":"string"}]}"#, "0"),
        // Examples of another type: an object as text is read, all else is no example.
        (r#"{"type":"object","example":"{\"a\":1}"}"#, r#"{"a":1}"#),
        (r#"{"type":"array","items":{"type":"integer"},"example":"none"}"#, "[0]"),
        (r#"{"type":"string","example":null,"default":"d"}"#, r#""d""#),
        (r#"{"type":"string","nullable":true,"example":null}"#, "null"),
        (r#"{"type":"integer","example":"7"}"#, "7"),
        // Examples that the schema itself refuses, and patterns.
        (r#"{"type":"string","format":"date","example":"2026-01-02T00:00:00.000Z"}"#, r#""2026-01-31""#),
        (r#"{"type":"string","enum":["a"],"example":"b"}"#, r#""a""#),
        (r#"{"type":"string","pattern":"^[A-Z]{2}\\d{3}$","example":"none"}"#, r#""AA000""#),
        (r#"{"type":"string","pattern":"^[A-Z]{2}\\d{3}$","example":"NO123"}"#, r#""NO123""#),
        (r#"{"type":"string","pattern":"i","maxLength":4}"#, r#""stri""#),
        (
            r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}},"example":{"a":"x"}}"#,
            r#"{"a":0}"#,
        ),
        (r#"{"properties":{"secret":{"type":"string","writeOnly":true},"x":{"default":[1]}}}"#, r#"{"x":[1]}"#),
    ] {
        let (schemas, id, faults) = compile(schema, Dialect::Three);
        assert_eq!(faults, [], "{schema}");
        assert_eq!(sample(&schemas, id).to_string(), want, "{schema}");
    }
}

/// What is nested too deep to be made up is there all the same where it is required, and of its type.
#[test]
fn a_sample_ends_with_values_of_their_types() {
    let leaf = r#"{"type":"object","required":["t","n","e","b"],"properties":{"t":{"type":"string"},"n":{"type":"integer","minimum":2},
        "e":{"type":"string","enum":["x"]},"b":{"type":"boolean"}}}"#;
    let deep = (0..11).fold(leaf.to_owned(), |inner, _| {
        format!(r#"{{"type":"object","required":["a"],"properties":{{"a":{inner}}}}}"#)
    });
    let (schemas, id, _) = compile(&deep, Dialect::Three);
    let made = sample(&schemas, id).to_string();
    assert!(made.contains(r#"{"t":"string","n":2,"e":"x","b":true}"#), "{made}");
    assert_eq!(mistakes(&schemas, id, &made).unwrap().len(), 0, "{made}");
}

fn strict(schemas: &Schemas, id: SchemaId, text: &str) -> Result<usize, TooMuch> {
    let strictness = Strictness { additional_properties: Some(false), ignore_case: true };
    let index = Index::parse(text.as_bytes()).unwrap();
    check(schemas, id, &index, Direction::Request, strictness).map(|found| found.len())
}

/// What costs more than the value is long is charged for, so that it ends early: none of these takes noticeable time.
#[test]
fn hostile_bodies_cost_little() {
    let names = |count: usize| {
        let list: Vec<String> = (0..count).map(|number| format!("\"n{number}\":0")).collect();
        format!("{{{}}}", list.join(","))
    };
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let alternatives = format!("{{\"anyOf\":[{}]}}", many(2_000, r#"{"required":["z"]}"#));
    let closed =
        format!("{{\"allOf\":[{},{{\"properties\":{{\"a\":{{}}}}}}]}}", many(500, r#"{"properties":{"b":{}}}"#));
    let patterns = format!("{{\"anyOf\":[{}]}}", many(5_000, r#"{"type":"string","pattern":"^a+b$"}"#));
    let constants = format!("{{\"anyOf\":[{}]}}", many(20_000, r#"{"enum":["x","y","z"]}"#));
    let unique = format!("{{\"anyOf\":[{}]}}", many(200, r#"{"uniqueItems":true,"maxItems":1}"#));
    let escaped = format!("\"{}\"", "\\u0061".repeat(200_000));
    let numbers: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    for (name, schema, body) in [
        ("alternatives that look at each name", &alternatives, &names(100_000)),
        ("names that only the last part knows", &closed, &format!("{{{}}}", many(50_000, "\"a\":0"))),
        ("a long text and many patterns", &patterns, &escaped),
        ("a long text and many constants", &constants, &escaped),
        ("items that are compared again and again", &unique, &format!("[{}]", numbers.join(","))),
    ] {
        let (schemas, id, _) = compile(schema, Dialect::Two);
        let result = if schema == &closed {
            strict(&schemas, id, body)
        } else {
            mistakes(&schemas, id, body).map(|found| found.len())
        };
        assert_eq!(result, Err(TooMuch), "{name}");
    }
}

/// Callers choose what is compared: neither the same nor similar values make it quadratic.
#[test]
fn items_are_unique_or_not_in_linear_time() {
    let (schemas, id, _) = compile(r#"{"uniqueItems":true}"#, Dialect::Two);
    let list = |one: &dyn Fn(usize) -> String| {
        let items: Vec<String> = (0..30_000).map(one).collect();
        format!("[{}]", items.join(","))
    };
    let long = |number: usize| format!("{number}.{}1", "0".repeat(40));
    let close = |number: usize| format!("1.0000000000000000000000000{number:08}");
    let nested =
        |number: usize| format!("{}{}{}", "[".repeat(number % 90 + 1), number / 90, "]".repeat(number % 90 + 1));
    let objects = |number: usize| format!("{{\"a\":{number},\"b\":[]}}");
    for (name, one) in [
        ("numbers with more digits than are kept", &long as &dyn Fn(usize) -> String),
        ("numbers that are the same as doubles", &close),
        ("lists in lists", &nested),
        ("objects", &objects),
    ] {
        assert_eq!(mistakes(&schemas, id, &list(one)).unwrap().len(), 0, "{name}");
        let twice = list(&|number| one(if number == 29_999 { 7 } else { number }));
        assert_eq!(mistakes(&schemas, id, &twice).unwrap().len(), 1, "{name}");
    }
}

#[test]
fn patterns_take_linear_time() {
    for (pattern, text) in [
        ("^(a+)+$", "a".repeat(100_000) + "!"),
        ("^(a|a)*b$", "a".repeat(100_000)),
        (r"^([a-z0-9]+[-.]?)+@contoso\.com$", "a".repeat(100_000)),
        ("(.*)*x", "y".repeat(100_000)),
    ] {
        let schema = serde_json::json!({ "type": "string", "pattern": pattern }).to_string();
        let (schemas, id, faults) = compile(&schema, Dialect::Three);
        assert_eq!(faults, [], "{pattern}");
        let body = serde_json::Value::from(text).to_string();
        assert_eq!(mistakes(&schemas, id, &body).unwrap().len(), 1, "{pattern}");
    }
    // One whose program alone would be large is told, and not checked.
    let (_, _, faults) = compile(r#"{"pattern":"((a{1,100}){1,100}){1,100}"}"#, Dialect::Three);
    assert!(faults[0].message.ends_with("it is too large"), "{faults:?}");
}

/// As deep as bodies and schemas go, on the stack that a worker has.
#[test]
fn deep_bodies_and_deep_schemas_fit_the_stack() {
    let schema = r##"{"allOf":[{"allOf":[{"type":"object","properties":{"a":{"$ref":"#"}}}]}]}"##;
    let (schemas, id, _) = compile(schema, Dialect::Three);
    let body = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert_eq!(mistakes(&schemas, id, &body(126)).unwrap().len(), 1, "the number inside is no object");
    let nested = (0..120).fold("{\"type\":\"integer\"}".to_owned(), |inner, _| format!("{{\"items\":{inner}}}"));
    let (schemas, id, faults) = compile(&nested, Dialect::Three);
    assert_eq!(faults, []);
    assert_eq!(mistakes(&schemas, id, &format!("{}1{}", "[".repeat(120), "]".repeat(120))).unwrap().len(), 0);
    assert!(json::parse(&"[".repeat(100_000)).is_err(), "a definition nests so deep only");
}

/// Schemas that lead back to themselves, twice at each step: what looks through them ends.
#[test]
fn schemas_in_circles_end() {
    let twice = r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}],"anyOf":[{"$ref":"#"},{"$ref":"#"}],
        "properties":{"h":{"default":1,"x-ms-visibility":"internal"},"n":{"$ref":"#"}},"required":["n"]}"##;
    let (mut schemas, id, _) = compile(twice, Dialect::Three);
    super::contract::mark_fills(&mut schemas);
    assert!(schemas.get(id).fills);
    assert_eq!(mistakes(&schemas, id, "{\"n\":1}"), Err(TooMuch));
    assert_eq!(strict(&schemas, id, "{\"n\":1}"), Err(TooMuch));
    assert!(sample(&schemas, id).is_object());
    assert!(super::fill::made(&schemas, id).is_some());
}

#[test]
fn a_discriminator_tells_which_alternative_is_meant() {
    let schema = r##"{"oneOf":[{"$ref":"#/components/schemas/Book"},{"$ref":"#/components/schemas/Game"}],
        "discriminator":{"propertyName":"kind","mapping":{"novel":"Book","play":"#/components/schemas/Game","gone":"#/nowhere"}},
        "components":{"schemas":{
            "Book":{"type":"object","properties":{"pages":{"type":"integer"}}},
            "Game":{"type":"object","properties":{"players":{"type":"integer"}}}}}}"##;
    let (schemas, id, faults) = compile(schema, Dialect::Three);
    let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(told, ["`#/nowhere` leads nowhere"]);
    for (name, text, want) in [
        ("both take it, and one is meant", r#"{"kind":"novel"}"#, ""),
        ("by the name of its schema", r#"{"kind":"Game","players":2}"#, ""),
        (
            "its own mistakes are told",
            r#"{"kind":"play","players":"two"}"#,
            "Invalid type. Expected Integer but got String. Path 'players'. Line: 1, Position: 26",
        ),
        (
            "not told",
            r#"{"players":2}"#,
            "JSON is valid against more than one schema from 'oneOf'. Line: 1, Position: 1",
        ),
        (
            "told twice",
            r#"{"kind":"novel","kind":"play"}"#,
            "JSON is valid against more than one schema from 'oneOf'. Line: 1, Position: 1",
        ),
    ] {
        let found: Vec<String> = mistakes(&schemas, id, text).unwrap().into_iter().map(|one| one.message).collect();
        assert_eq!(found.join("|"), want, "{name}");
    }
}

#[test]
fn a_discriminator_of_a_parent_tells_which_of_its_children_is_meant() {
    const CHILDREN: &str = r##"
        "Animal":{"type":"object","discriminator":DISCRIMINATOR,"required":["kind"],"properties":{"kind":{"type":"string"},"young":{"type":"array","items":{"$ref":"#ROOT/Animal"}}}},
        "Cat":{"allOf":[{"$ref":"#ROOT/Animal"},{"type":"object","required":["lives"],"properties":{"lives":{"type":"integer"}}}]},
        "Lion":{"allOf":[{"$ref":"#ROOT/Cat"},{"type":"object","required":["mane"],"properties":{"mane":{"type":"boolean"}}}]}"##;
    let two = CHILDREN.replace("DISCRIMINATOR", "\"kind\"").replace("ROOT", "/definitions");
    let two = format!(r##"{{"$ref":"#/definitions/Animal","definitions":{{{two}}}}}"##);
    let mapped =
        r##"{"propertyName":"kind","mapping":{"felis":"Cat","leo":"#/components/schemas/Lion","gone":"#/nowhere"}}"##;
    let three = CHILDREN.replace("DISCRIMINATOR", mapped).replace("ROOT", "/components/schemas");
    let three = format!(r##"{{"$ref":"#/components/schemas/Animal","components":{{"schemas":{{{three}}}}}}}"##);
    let lives = "Required properties are missing from object: lives.";
    let mane = "Required properties are missing from object: mane.";
    for (name, schema, dialect, text, want) in [
        ("a child", &two, Dialect::Two, r#"{"kind":"Cat","lives":9}"#, ""),
        ("a child without what it needs", &two, Dialect::Two, r#"{"kind":"Cat"}"#, lives),
        ("a child of a child", &two, Dialect::Two, r#"{"kind":"Lion","lives":9}"#, mane),
        ("the parent itself", &two, Dialect::Two, r#"{"kind":"Animal"}"#, ""),
        ("none of them", &two, Dialect::Two, r#"{"kind":"Dog"}"#, ""),
        (
            "what the parent needs",
            &two,
            Dialect::Two,
            r#"{"lives":9}"#,
            "Required properties are missing from object: kind.",
        ),
        ("one inside another", &two, Dialect::Two, r#"{"kind":"Cat","lives":9,"young":[{"kind":"Cat"}]}"#, lives),
        ("by its name", &three, Dialect::Three, r#"{"kind":"Cat"}"#, lives),
        ("by a name of the mapping", &three, Dialect::Three, r#"{"kind":"felis"}"#, lives),
        ("by a reference of the mapping", &three, Dialect::Three, r#"{"kind":"leo","lives":1}"#, mane),
        ("good by the mapping", &three, Dialect::Three, r#"{"kind":"leo","lives":1,"mane":true}"#, ""),
    ] {
        let (schemas, id, _) = compile(schema, dialect);
        let found = mistakes(&schemas, id, text).unwrap();
        let found: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(found.is_empty(), want.is_empty(), "{name}: {found:?}");
        assert!(found.iter().all(|one| one.starts_with(want)), "{name}: {found:?}");
    }
}
