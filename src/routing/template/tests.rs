//! Templates that are read and templates that are refused.

use super::*;

#[test]
fn accepted() {
    for (template, names) in [
        ("/", &[][..]),
        ("/orders", &[]),
        ("/orders/", &[]),
        ("/orders/{id}", &["id"]),
        ("/People('{id}')", &["id"]),
        ("/a/{x}-{y}.json", &["x", "y"]),
        ("/files/{*rest}", &["rest"]),
        ("/*", &[]),
        ("/get?a={b}&flag=1", &["b"]),
        ("/{Base ID}/{listName-dynamic}", &["Base ID", "listName-dynamic"]),
        ("/caf\u{e9}/%2f", &[]),
        ("/?wsdl", &[]),
        ("/x?", &[]),
        ("/.well-known/{id}", &["id"]),
    ] {
        let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(parsed.names().iter().map(|name| &**name).collect::<Vec<_>>(), names, "{template}");
        assert_eq!(parsed.as_str(), template);
    }
}

#[test]
fn mistakes() {
    for (template, span, message) in [
        ("", 0..0, "a template begins with `/`"),
        ("orders", 0..6, "a template begins with `/`"),
        ("/a/{id", 3..4, "`{` without `}` after it"),
        ("/a/{id/b}", 3..4, "`{` without `}` after it"),
        ("/a/{{id}}", 3..4, "`{` without `}` after it"),
        ("/a/id}", 5..6, "`}` without `{` before it"),
        ("/a/{}", 3..5, "a variable has no name"),
        ("/a/{*}", 3..6, "a variable has no name"),
        ("/a/{ id}", 3..8, "` id` cannot be the name of a variable"),
        ("/a/{i?d}", 3..4, "`{` without `}` after it"),
        ("/a/{i,d}", 3..8, "`i,d` cannot be the name of a variable"),
        ("/{id}/{id}", 6..10, "the variable `id` is named twice"),
        ("/{id}?a={id}", 8..12, "the variable `id` is named twice"),
        ("/{*rest}/b", 1..8, "a catch-all is not the last segment"),
        ("/{*rest}/", 1..8, "a catch-all is not the last segment"),
        ("/*/b", 1..2, "a catch-all is not the last segment"),
        ("/a{*rest}", 2..9, "`{*rest}` shares its segment with other text"),
        ("/a*", 2..3, "'*' cannot stand here"),
        ("/{a}{b}", 1..7, "two variables with nothing between them"),
        ("/a b", 2..3, "' ' cannot stand here"),
        ("/a#b", 2..3, "'#' cannot stand here"),
        ("/a\tb", 2..3, "'\\t' cannot stand here"),
        ("/a%2", 2..4, "invalid percent-escape"),
        ("/a%\u{e9}x", 2..5, "invalid percent-escape"),
        ("/a%0A", 2..5, "an escaped control character never matches"),
        ("/a/../b", 3..5, "the dot segment `..` never matches"),
        ("/a/%2e", 3..6, "the dot segment `%2e` never matches"),
        ("/a?={b}", 3..7, "a query parameter has no name"),
        ("/a?x=1&", 7..7, "a query parameter has no name"),
        ("/a?{b}=1", 3..6, "a variable as the name of a query parameter"),
        ("/a?b=x{c}", 5..9, "a query value mixes text and variables"),
        ("/a?b={*c}", 5..9, "a query value mixes text and variables"),
        ("/a?b={c", 5..6, "`{` without `}` after it"),
        ("/a?b=1&%62=2", 7..10, "the query parameter `b` is listed twice"),
        ("/a?b=c?d", 6..7, "\"?\" cannot stand in a query parameter"),
    ] {
        let error = Template::parse(template).expect_err(template);
        assert_eq!((error.span.clone(), &*error.message), (span, message), "{template}");
        assert!(template.get(error.span).is_some(), "{template}: the span is on character boundaries");
        assert!(error.hint.is_some(), "{template}");
    }
}

#[test]
fn segments_are_bounded() {
    assert!(Template::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
    let error = Template::parse(&"/a".repeat(MAX_SEGMENTS + 1)).expect_err("too many");
    assert_eq!(error.message, "a template has at most 100 segments");
}

#[track_caller]
fn pattern(text: &str) -> SegmentPattern {
    match &Template::parse(&format!("/{text}")).expect(text).segments()[0] {
        Segment::Pattern(pattern) => pattern.clone(),
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn patterns_capture() {
    for (template, segment, want) in [
        ("People('{id}')", "people('42')", Some(&["42"][..])),
        ("People('{id}')", "People('')", None),
        ("{name}.{ext}", "a.b.c", Some(&["a.b", "c"])),
        ("{name}.{ext}", ".c", None),
        ("{name}.{ext}", "a.", None),
        ("{x}-{y}.json", "a-b.json", Some(&["a", "b"])),
        ("{x}-{y}.json", "a-.json", None),
        ("{x}-{y}.json", "a--b.JSON", Some(&["a-", "b"])),
        ("v{x}", "v", None),
        ("ab{x}ba", "aba", None),
        ("ab{x}ba", "abXba", Some(&["X"])),
        ("{a}2{b}", "x%2Fy", None),
        ("{a}2{b}", "x2%2Fy", Some(&["x", "%2Fy"])),
        ("{a}F", "x%2F", None),
        ("{a}aa{b}aa{c}", "xaaaay", None),
        ("{a}aa{b}aa{c}", "xaaaaay", Some(&["x", "a", "y"])),
    ] {
        let mut captures = Vec::new();
        let matched = pattern(template).captures(segment, |span| captures.push(&segment[span]));
        assert_eq!(matched.then_some(&captures[..]), want, "{template} on {segment}");
        assert!(matched || captures.is_empty(), "{template} on {segment} pushes nothing when it does not match");
    }
}

#[test]
fn patterns_overlap() {
    for (one, two, want) in [
        ("{a}-{b}", "{a}.{b}", true),
        ("a{x}", "{x}b", true),
        ("a{x}", "b{x}", false),
        ("a{x}", "AB{x}", true),
        ("{x}.json", "{x}.xml", false),
        ("{x}.json", "{x}.{y}", true),
    ] {
        assert_eq!(pattern(one).overlaps(&pattern(two)), want, "{one} and {two}");
        assert_eq!(pattern(two).overlaps(&pattern(one)), want, "{two} and {one}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Every way to place the variables, by brute force.
    fn matches(literals: &[&str], text: &str) -> bool {
        let Some(rest) = text.strip_prefix(literals[0]) else { return false };
        match &literals[1..] {
            [] => rest.is_empty(),
            tail => (1..=rest.len()).any(|at| matches(tail, &rest[at..])),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_brute_force_matches(
            prefix in "[ab]{0,2}", middle in proptest::collection::vec("[ab]{1,2}", 0..3), suffix in "[ab]{0,2}",
            text in "[ab]{0,10}",
        ) {
            let pattern = SegmentPattern {
                prefix: prefix.clone().into(),
                literals: middle.iter().map(|literal| literal.clone().into()).collect(),
                suffix: suffix.clone().into(),
            };
            let mut literals = vec![&*prefix];
            literals.extend(middle.iter().map(String::as_str));
            literals.push(&suffix);
            let mut captures = Vec::new();
            let got = pattern.captures(&text, |span| captures.push(&text[span]));
            prop_assert_eq!(got, matches(&literals, &text));
            if got {
                let rebuilt = literals.iter().enumerate().map(|(index, literal)| {
                    format!("{literal}{}", captures.get(index).copied().unwrap_or_default())
                });
                prop_assert_eq!(rebuilt.collect::<String>(), text.as_str());
                prop_assert!(captures.iter().all(|capture| !capture.is_empty()));
            }
        }

        #[test]
        fn parsing_never_panics(text in "[/{}*?&=a-c.%2e \u{e9}-]{0,24}") {
            for text in [text.clone(), format!("/{text}")] {
                if let Err(error) = Template::parse(&text) {
                    prop_assert!(text.get(error.span).is_some());
                }
                if let Err(error) = super::super::super::Rewrite::parse(&text) {
                    prop_assert!(text.get(error.span).is_some());
                }
            }
        }
    }
}
