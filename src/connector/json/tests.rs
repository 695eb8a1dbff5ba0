//! The lenient reader: what it overlooks, what it does not, and where it says so.

use super::*;

fn json(text: &str) -> (String, Vec<String>) {
    match parse(text) {
        Ok((node, faults)) => {
            let told = faults.iter().map(|fault| {
                let line = text[..fault.span.start].matches('\n').count() + 1;
                format!("{line}: {}", fault.message)
            });
            (node.to_json().to_string(), told.collect())
        }
        Err(fault) => (String::new(), vec![format!("failed: {}", fault.message)]),
    }
}

#[test]
fn what_makers_write_is_read() {
    for (name, text, want, faults) in [
        ("strict", r#"{"a":[1,-2.5e3,true,null,"x"],"b":{}}"#, r#"{"a":[1,-2500.0,true,null,"x"],"b":{}}"#, &[][..]),
        ("escapes", r#""a\"\\\/\n\u00e9\ud83d\ude00""#, "\"a\\\"\\\\/\\né😀\"", &[]),
        (
            "a comma before the end",
            "{\"a\":[1,2,],\n}",
            r#"{"a":[1,2]}"#,
            &["1: a comma before the end", "1: a comma before the end"],
        ),
        ("a comma too many", "[1,,2]", "[1,2]", &["1: a comma too many"]),
        ("a comma missing", "{\"a\":1\n\"b\":2}", r#"{"a":1,"b":2}"#, &["2: a comma is missing before this"]),
        (
            "comments",
            "// one\n{\"a\":1 /* two */}",
            r#"{"a":1}"#,
            &["1: a comment, which JSON does not have", "2: a comment, which JSON does not have"],
        ),
        ("single quotes", "{'a':'b'}", r#"{"a":"b"}"#, &["1: text in single quotes", "1: text in single quotes"]),
        (
            "no quotes",
            "{a: yes}",
            r#"{"a":"yes"}"#,
            &["1: the name `a` has no quotes", "1: `yes` has no quotes and is read as text"],
        ),
        ("a name twice", r#"{"a":1,"a":2}"#, r#"{"a":2}"#, &["1: `a` stands twice in one object; the last one counts"]),
        (
            "a line break in text",
            "\"a\nb\"",
            "\"a\\nb\"",
            &["1: a line break or control character stands in text without an escape"],
        ),
        ("an unknown escape", r#""\d""#, "\"d\"", &["1: `\\d` is not an escape of JSON"]),
        (
            "Python",
            "[True, None]",
            "[true,null]",
            &["1: `True` is not how JSON writes it", "1: `None` is not how JSON writes it"],
        ),
        ("text after the end", "{} x", "{}", &["1: text after the end of the document, which is left out"]),
        (
            "a brace too many",
            "{\n  \"a\": {\n    \"b\": 1\n    }\n  },\n  \"c\": 2\n}\n",
            r#"{"a":{"b":1},"c":2}"#,
            &["4: `}` closes nothing"],
        ),
        ("no end", "{\"a\":", "", &["failed: the file ends where a value is expected"]),
        ("no end of text", "\"a", "", &["failed: text without its closing quote"]),
        ("the wrong end", "[1}", "", &["failed: expected `]`"]),
        ("nothing", "", "", &["failed: the file ends where a value is expected"]),
        ("half a pair", r#""\ud83d""#, "\"\u{fffd}\"", &["1: not a character of Unicode"]),
    ] {
        let (found, told) = json(text);
        assert_eq!(found, want, "{name}");
        assert_eq!(told, faults, "{name}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = "[".repeat(MAX_DEPTH + 2);
    assert_eq!(parse(&deep).unwrap_err().message, format!("nested more than {MAX_DEPTH} deep"));
}

proptest::proptest! {
    #[test]
    fn what_is_json_is_read_without_a_fault(text in "[ -~]{0,20}", number in proptest::num::i64::ANY) {
        let json = serde_json::json!({ "text": text, "list": [number, { "x": null }] });
        let (node, faults) = parse(&json.to_string()).unwrap();
        proptest::prop_assert_eq!(node.to_json(), json);
        proptest::prop_assert!(faults.is_empty());
    }

    #[test]
    fn anything_ends(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }
}
