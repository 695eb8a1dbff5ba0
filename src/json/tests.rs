//! What the JSON documents of bodies keep, change and refuse.

use bytes::Bytes;

use super::{Document, Key, Node, Path, Root};

fn document(text: &str) -> Document {
    Document::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_is_json_agrees_with_serde() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for text in [
        "",
        " ",
        "{}",
        " { } ",
        "[]",
        "[1,2]",
        "[1,]",
        "[,1]",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{'a':1}",
        "nul",
        "null",
        "true",
        "false",
        "truefalse",
        "1",
        "-1",
        "+1",
        "01",
        "-0",
        "1.",
        ".1",
        "1.5e+10",
        "1e",
        "1e999",
        "-",
        "\"a",
        "\"a\"",
        "\"\\u12\"",
        "\"\\u0041\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\x\"",
        "\"\n\"",
        "\"\u{7f}\"",
        "\u{feff}{}",
        "[1] x",
        "{\"a\":{\"b\":[{\"c\":null}]}}",
        "[[[]]",
        "]",
        "{\"a\":1 \"b\":2}",
        &deep(127),
        &deep(129),
    ] {
        let ours = Document::parse(&Bytes::copy_from_slice(text.as_bytes())).is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(text.trim_start_matches('\u{feff}')).is_ok()
            && serde_json::from_str::<serde_json::Value>(text.trim_start_matches('\u{feff}'))
                .err()
                .is_none_or(|error| error.to_string().contains("out of range"));
        assert_eq!(ours, theirs, "{text}");
    }
    assert!(Document::parse(&Bytes::from_static(b"\"\xff\"")).is_err());
}

proptest::proptest! {
    #[test]
    fn opening_everything_changes_nothing(text in "[\\[\\]{}:,\"a1 \\\\ue.-]{0,40}") {
        fn open(node: &mut Node) {
            for item in node.items().into_iter().flatten() {
                open(item);
            }
            for member in node.members().into_iter().flatten() {
                open(&mut member.value);
            }
        }
        let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let ours = Document::parse(&Bytes::copy_from_slice(text.as_bytes()));
        if let (Ok(value), Ok(mut ours)) = (value, ours) {
            open(&mut ours.root);
            let again: serde_json::Value = serde_json::from_slice(&ours.write()).unwrap();
            proptest::prop_assert_eq!(value, again);
        }
    }
}

#[test]
fn what_nobody_opened_keeps_its_bytes() {
    let mut document =
        document("\u{feff} { \"b\": 12345678901234567890.10 , \"a\": [ 1.0,  2 ], \"\\u0063\": \"\\u00e9\" } ");
    assert_eq!(document.write(), "{ \"b\": 12345678901234567890.10 , \"a\": [ 1.0,  2 ], \"\\u0063\": \"\\u00e9\" }");
    assert!(document.root.put(&Path::parse("d").unwrap().keys, Node::text("x\"y")));
    assert_eq!(document.write(), r#"{"b":12345678901234567890.10,"a":[ 1.0,  2 ],"\u0063":"\u00e9","d":"x\"y"}"#);
    let value = document.root.get(&Key::Name("c".into())).unwrap();
    assert_eq!(value.as_text().unwrap(), "é", "a key with an escape is found by its name");
}

#[test]
fn puts_and_takes() {
    for (name, text, path, put, taken) in [
        ("a new member comes last", r#"{"a":1}"#, "b", r#"{"a":1,"b":0}"#, None),
        ("a member keeps its place", r#"{"a":1,"b":2}"#, "a", r#"{"a":0,"b":2}"#, Some("1")),
        ("the last of two counts", r#"{"a":1,"a":2}"#, "a", r#"{"a":0}"#, Some("2")),
        ("nested", r#"{"a":{"b":[1,{"c":2}]}}"#, "a.b[1].c", r#"{"a":{"b":[1,{"c":0}]}}"#, Some("2")),
        ("an item", "[1,2]", "[1]", "[1,0]", Some("2")),
        ("no such item", "[1,2]", "[2]", "[1,2]", None),
        ("no such object", r#"{"a":1}"#, "x.y", r#"{"a":1}"#, None),
        ("no object", r#"{"a":1}"#, "a.y", r#"{"a":1}"#, None),
        ("no name in an array", "[1]", "a", "[1]", None),
    ] {
        let keys = Path::parse(path).unwrap().keys;
        let mut changed = document(text);
        changed.root.put(&keys, Node::parse(&Bytes::from_static(b"0")).unwrap());
        assert_eq!(changed.write(), put, "{name}");
        let mut changed = document(text);
        assert_eq!(changed.root.take(&keys).map(|node| node.to_text().into_owned()).as_deref(), taken, "{name}");
    }
}

#[test]
fn paths_are_read_as_templates_write_them() {
    let name = |name: &str| Key::Name(name.into());
    for (text, root, keys) in [
        ("", Root::Here, vec![]),
        ("@body()", Root::Body, vec![]),
        ("body()", Root::Body, vec![]),
        ("@Body()", Root::Body, vec![]),
        ("@body().a.b", Root::Body, vec![name("a"), name("b")]),
        ("@body.a.b", Root::Body, vec![name("a"), name("b")]),
        ("@body()['@odata.id']", Root::Body, vec![name("@odata.id")]),
        ("@body()?['a']?.b", Root::Body, vec![name("a"), name("b")]),
        ("@body()[0].x", Root::Body, vec![Key::Index(0), name("x")]),
        ("@triggerBody().value", Root::Body, vec![name("value")]),
        ("@item()._assignments", Root::Item, vec![name("_assignments")]),
        ("['@odata.type']", Root::Here, vec![name("@odata.type")]),
        ("@odata.nextLink", Root::Here, vec![name("@odata.nextLink")]),
        ("people.XYZ.Age", Root::Here, vec![name("people"), name("XYZ"), name("Age")]),
        ("body", Root::Here, vec![name("body")]),
        ("@bodyParts", Root::Here, vec![name("@bodyParts")]),
    ] {
        assert_eq!(Path::parse(text), Ok(Path { root, keys: keys.into() }), "{text}");
    }
    for text in ["@body()x", "@body().", "a..b", "a['b", "a[x]", "a['b'", "[0]x"] {
        assert!(Path::parse(text).is_err(), "{text}");
    }
}
