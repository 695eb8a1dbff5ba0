//! Templates of makers as expressions and paths.

use super::*;

#[test]
fn templates_become_expressions() {
    for (template, want, notes) in [
        ("plain", "plain", 0),
        ("https://@connectionParameters('host')/api", "https://@connectionParameters('host')/api", 0),
        ("@ConnectionParameters('a', 'd')", "@ConnectionParameters('a', 'd')", 0),
        ("@{connectionParameters('a')}.json", "@{connectionParameters('a')}.json", 0),
        ("mail@contoso.com", "mail@contoso.com", 0),
        ("@queryParamters('x')", "@@queryParamters('x')", 1),
        ("a@@b", "a@@@b", 0),
        ("@{nothing}", "@@{nothing}", 0),
        ("{{host}}", "{@{'{'}host}}", 1),
        ("@concat('a', 'b')", "@@concat('a', 'b')", 1),
        ("@{method()}", "@@{method()}", 1),
        ("@item().x", "@@item().x", 1),
        ("@headers('x'", "@@headers('x'", 0),
        ("https://@environmentVariables(\"h\")/", "https://@@environmentVariables(\"h\")/", 1),
        ("@{headers('a'))}", "@@{headers('a'))}", 0),
    ] {
        let mut told = Vec::new();
        assert_eq!(expression(template, &mut told), want, "{template}");
        assert_eq!(told.len(), notes, "{template}: {told:?}");
        assert!(Expression::parse(want, Dialect::Gateway).is_ok(), "{template}");
    }
}

#[test]
fn texts_with_paths_keep_what_is_none() {
    for (template, want, notes) in [
        ("{@body().a} @{item()['b']} @body.c", "{@body().a} @{item()['b']} @body.c", 0),
        ("@{triggerBody().value[0].id}", "@{triggerBody().value[0].id}", 0),
        ("@headers('x')@connectionParameters('y')", "@headers('x')@connectionParameters('y')", 0),
        ("a@@b @odata.type", "a@@@b @odata.type", 0),
        ("@concat('a','b')", "@@concat('a','b')", 1),
        ("@{foo('x')}", "@@{foo('x')}", 1),
        ("{@body().a", "{@body().a", 0),
    ] {
        let mut told = Vec::new();
        assert_eq!(escaped(template, Holes::Paths, &mut told), want, "{template}");
        assert_eq!(told.len(), notes, "{template}: {told:?}");
    }
}

#[test]
fn paths_of_values() {
    for (path, want) in [
        ("@body().x", "@body().x"),
        ("{@body()['a}']}", "@body()['a}']"),
        ("@{body().x}", "@body().x"),
        ("body().x", "@body().x"),
        ("@body.x", "@body().x"),
    ] {
        assert_eq!(value_path(path), want, "{path}");
    }
}

#[test]
fn calls_are_found() {
    let found: Vec<_> =
        calls("https://@connectionParameters('a b','d').x/@{headers('y')}?@odata.id&me@contoso.com").collect();
    let want =
        [("connectionparameters", "a b"), ("headers", "y")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(found, want);
}

#[test]
fn paths_into_the_body() {
    for (path, want) in [
        ("@body()", "@body()"),
        ("body()", "@body()"),
        ("@body.people.age", "@body().people.age"),
        ("@item().id", "@item().id"),
        ("item().id", "@item().id"),
        ("peopleObject", "peopleObject"),
        ("", "@body()"),
    ] {
        assert_eq!(body_path(path), want, "{path}");
    }
}
