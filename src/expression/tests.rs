//! What expressions mean, from their text to their values.

mod formats;
mod properties;

use serde_json::json;

use super::testing::MapFacts;
use super::*;

#[track_caller]
fn parse(text: &str) -> Expression {
    match Expression::parse(text, Dialect::Gateway) {
        Ok(expression) => expression,
        Err(error) => panic!("{text}: {error} at {:?}", error.range),
    }
}

/// A value as the reference writes it: text in single quotes, the rest as JSON.
fn shown(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => format!("'{text}'"),
        other => other.into_json().to_string(),
    }
}

#[track_caller]
fn evaluated(text: &str, facts: &dyn Facts) -> String {
    match parse(text).evaluate(facts) {
        Ok(value) => shown(value),
        Err(error) => format!("error: {error}"),
    }
}

fn facts() -> MapFacts {
    let mut facts = MapFacts::sample();
    facts.headers.insert("test", http::HeaderValue::from_static("foo"));
    facts.headers.append("accept", http::HeaderValue::from_static("a/b"));
    facts.headers.append("accept", http::HeaderValue::from_static("c/d"));
    facts.query.insert("domain".into(), "pqr".into());
    facts.connection.insert("cat".into(), "bar".into());
    facts.connection.insert("token:TenantId".into(), "t1".into());
    facts.body = Some(json!({
        "a": { "b": "deep", "none": null }, "items": [{ "id": 1 }, { "id": 2 }], "@odata.id": "42",
        "big": 12_345_678_901_i64, "half": 0.5, "yes": true, "name": "Contoso", "straße": "ß",
    }));
    facts
}

#[test]
fn text_forms() {
    let facts = facts();
    for (text, want) in [
        ("plain", "'plain'"),
        ("", "''"),
        ("@headers('test')", "'foo'"),
        ("@HEADERS('Test')", "'foo'"),
        ("@header('test')", "'foo'"),
        ("@headers('accept')", "'a/b,c/d'"),
        ("@headers('missing')", "null"),
        ("@headers('missing','d')", "'d'"),
        ("@headers( 'missing' , 'd' )", "'d'"),
        ("@headers(concat('te', 'st'))", "'foo'"),
        ("[@headers('missing')]", "'[]'"),
        // The forms that Power Platform documents.
        ("@headers('test')moo", "'foomoo'"),
        ("moo@headers('test')", "'moofoo'"),
        ("@connectionParameters('CAT', '')", "'bar'"),
        ("@connectionParameters('name', '')", "''"),
        ("@connectionParameters('token:tenantId')", "'t1'"),
        ("@queryParameters('domain')@connectionParameters('cat')", "'pqrbar'"),
        (
            "https://@header('test').abc.@queryParameters('domain')/@connectionParameters('cat')",
            "'https://foo.abc.pqr/bar'",
        ),
        ("/%40@connectionParameters('cat')", "'/%40bar'"),
        ("@{connectionParameters('cat')}", "'bar'"),
        // Literal `@`.
        ("maker@contoso.com", "'maker@contoso.com'"),
        ("@", "'@'"),
        ("a@", "'a@'"),
        ("@odata.nextLink", "'@odata.nextLink'"),
        ("@@headers('test')", "'@headers('test')'"),
        ("@@{x}", "'@{x}'"),
        ("a@@b", "'a@b'"),
        // Types survive only where the call is all there is.
        ("@body().big", "12345678901"),
        ("@{body().big}", "'12345678901'"),
        ("@body().yes", "true"),
        ("@{body().yes}", "'True'"),
        ("@{ body().a }", r#"'{"b":"deep","none":null}'"#),
        ("{\"id\": \"@{body().name}\"}", "'{\"id\": \"Contoso\"}'"),
        // Paths, and where they end.
        ("@body().a.b", "'deep'"),
        ("@body()['a']['b']", "'deep'"),
        ("@body()['@odata.id']", "'42'"),
        ("@body().items[1].id", "2"),
        ("@body().items[sub(2, 1)].id", "2"),
        ("@body()[concat('na', 'me')]", "'Contoso'"),
        ("@body()[headers('none', 'name')]", "'Contoso'"),
        ("@body().straße", "'ß'"),
        ("Dear @body().name.", "'Dear Contoso.'"),
        ("Dear @body().name, hi", "'Dear Contoso, hi'"),
        ("@body().name/x", "'Contoso/x'"),
        ("@{body().name}.json", "'Contoso.json'"),
        ("@body()?.gone", "null"),
        ("@body()?['gone']?['more']", "null"),
        ("@body().items?[9]", "null"),
        ("(@headers('test'))", "'(foo)'"),
        // What is surely text has no properties.
        ("https://@if(equals(method(), 'GET'), 'r', 'w').contoso.com", "'https://r.contoso.com'"),
        ("@coalesce(headers('none'), headers('test')).com", "'foo.com'"),
        ("@if(true, body(), null).name", "'Contoso'"),
        ("@take('abc', 2).x", "'ab.x'"),
        // Constants.
        ("@{'it''s'}", "'it's'"),
        ("@coalesce(null, -5)", "-5"),
        ("@coalesce(1.5e3)", "1500.0"),
        ("@equals(TRUE, true)", "true"),
    ] {
        assert_eq!(evaluated(text, &facts), want, "{text}");
    }
}

#[test]
fn evaluation_errors() {
    let mut facts = facts();
    facts.variables.insert("long".into(), json!("y".repeat(70_000)));
    for (text, want) in [
        ("@body().gone", "there is no property `gone`; write `?['gone']` where it may be missing"),
        ("@body()?.gone.x", "cannot read property `x` of null"),
        ("@body().a.none.x", "cannot read property `x` of null"),
        ("@body().name.x", "cannot read property `x` of text"),
        ("@body()[path()]", "there is no such property; write `?[…]` where it may be missing"),
        ("@body().name[path()]", "cannot read a property of text"),
        ("@body().items.x", "cannot read property `x` of an array"),
        ("@body().items[2]", "there is no item `2` in an array of 2"),
        ("@body().a[0]", "cannot read item `0` of an object"),
        ("@body().items[sub(0, 1)]", "items count from `0`"),
        ("@toLower(headers('missing'))", "`toLower`: expected text as argument 1, found null"),
        ("@int('x')", "`int`: the text is not a whole number"),
        ("@add(9223372036854775807, 1)", "`add`: the result is too large"),
        ("@div(1, 0)", "`div`: cannot divide by zero"),
        ("@mod(1, 0.0)", "`mod`: cannot divide by zero"),
        ("@div(sub(-9223372036854775807, 1), -1)", "`div`: the result is too large"),
        ("@if('maybe', 1, 2)", "`if`: expected `true` or `false` as argument 1, found text"),
        ("@greater(1, 'a')", "`greater`: expected two numbers or two texts, found a whole number and text"),
        ("@substring('abc', 2, 2)", "`substring`: the text ends before the part does"),
        ("@substring('abc', -1)", "`substring`: argument 2 must not be negative"),
        ("@range(1, 100001)", "`range`: the array has more than 100000 items"),
        ("@json('{')", "`json`: the text is not JSON at line 1, column 1"),
        ("@sort(createArray(1, 'a'))", "`sort`: the items cannot be compared with each other"),
        ("@headers(body().big)", "`headers`: expected text as argument 1, found a whole number"),
        ("@headers(body().straße)", "`headers`: this cannot be the name of a header"),
        ("@addDays('yesterday', 1)", "`addDays`: argument 1 is not a timestamp such as `2018-03-15T13:00:00Z`"),
        ("@addDays('9999-12-31', 1)", "`addDays`: the time is outside the years 1 to 9999"),
        ("@formatNumber(1, 'Q')", "`formatNumber`: there is no numeric format `Q`"),
        ("@formatNumber(1, variables('long'))", "`formatNumber`: the format is longer than 256 bytes"),
        ("@formatDateTime('2018-03-15', variables('long'))", "`formatDateTime`: the format is longer than 256 bytes"),
        ("@formatDateTime('2018-03-15', 'd', 'fr-FR')", "`formatDateTime`: only the locale `en-US` is supported"),
    ] {
        if let Ok(expression) = Expression::parse(text, Dialect::Gateway) {
            assert_eq!(expression.evaluate(&facts).map(shown), Err(EvaluationError::new(want)), "{text}");
        } else {
            assert_eq!(Expression::parse(text, Dialect::Gateway).unwrap_err().message, want, "{text}");
        }
    }
}

#[test]
fn bounds() {
    let nested = |depth: usize| format!("@{}1{}", "coalesce(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(MAX_DEPTH), Dialect::Gateway).is_ok(), "as deep as allowed");
    let error = Expression::parse(&nested(MAX_DEPTH + 1), Dialect::Gateway).expect_err("one deeper");
    assert_eq!(error.message, "calls are nested deeper than 64");

    assert!(Expression::parse(&"x".repeat(MAX_LENGTH), Dialect::Gateway).is_ok(), "as long as allowed");
    let error = Expression::parse(&"x".repeat(MAX_LENGTH + 1), Dialect::Gateway).expect_err("one longer");
    assert_eq!(error.message, "the expression is longer than 16 KiB");

    // A long path does not recurse.
    assert_eq!(
        evaluated(&format!("@body(){}", ".a".repeat(8000)), &facts()),
        "error: there is no property `a`; write `?['a']` where it may be missing"
    );

    let mut facts = MapFacts::empty();
    facts.variables.insert("half".into(), json!("x".repeat(MAX_TEXT / 2)));
    facts.variables.insert("commas".into(), json!(",".repeat(MAX_ITEMS)));
    for (text, ok) in [
        ("@length(concat(variables('half'), variables('half')))", true),
        ("@concat(variables('half'), variables('half'), 'x')", false),
        ("@{variables('half')}@{variables('half')}x", false),
        ("@length(replace(variables('half'), 'x', 'yy'))", true),
        ("@replace(variables('half'), 'x', 'yyy')", false),
        ("@uriComponent(variables('half'))", false),
        ("@length(base64(variables('half')))", true),
        ("@base64(concat(variables('half'), variables('half')))", false),
        ("@join(createArray(variables('half'), variables('half')), ',')", false),
        ("@split(variables('commas'), ',')", false),
        ("@length(split(skip(variables('commas'), 1), ','))", true),
        ("@chunk(variables('half'), 1)", false),
    ] {
        assert_eq!(parse(text).evaluate(&facts).is_ok(), ok, "{text}");
    }
}

#[test]
fn every_function_is_documented_and_does_what_its_example_says() {
    let facts = MapFacts::sample();
    let mut names = std::collections::HashSet::new();
    for doc in catalogue() {
        assert!(names.insert(doc.name.to_ascii_lowercase()), "`{}` stands there twice", doc.name);
        assert!(doc.summary.ends_with('.'), "`{}` has no sentence", doc.name);
        assert!(doc.example.contains(doc.name), "`{}` is not in its example", doc.name);
        assert!(doc.signature.starts_with(doc.name) && doc.signature.ends_with(')'), "{}", doc.signature);
        assert_eq!(evaluated(&format!("@{}", doc.example), &facts), doc.result, "{}", doc.example);
    }
    for (group, functions) in functions_by_group() {
        assert!(functions.is_sorted_by_key(|name| name.to_ascii_lowercase()), "{group} is not in order");
    }
}

fn functions_by_group() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for doc in catalogue() {
        match groups.last_mut() {
            Some((group, names)) if *group == doc.group => names.push(doc.name),
            _ => groups.push((doc.group, vec![doc.name])),
        }
    }
    groups
}

#[test]
fn functions() {
    let facts = facts();
    for (text, want) in [
        // Logic: lazy, and numbers by value.
        ("@if(true, 1, int('x'))", "1"),
        ("@or(true, int('x'))", "true"),
        ("@and(false, int('x'))", "false"),
        ("@equals(1, 1.0)", "true"),
        ("@equals(true, 1)", "true"),
        ("@equals('1', 1)", "false"),
        ("@equals(null, '')", "false"),
        ("@equals(json('[1,{\"a\":2.0}]'), json('[1.0,{\"a\":2}]'))", "true"),
        ("@greater(9007199254740993, 9007199254740992.0)", "true"),
        ("@not('false')", "true"),
        ("@coalesce(headers('none'), body()?.gone, 'c')", "'c'"),
        // Text.
        ("@indexOf('abc', '')", "0"),
        ("@indexOf('äBc', 'b')", "1"),
        ("@indexOf('abc', 'x')", "-1"),
        ("@lastIndexOf('', 'x')", "-1"),
        ("@lastIndexOf('', '')", "0"),
        ("@lastIndexOf('hello world hello world', '')", "22"),
        ("@nthIndexOf('123456789123465789', '1', -1)", "9"),
        ("@nthIndexOf('123456789123465789', '12', 4)", "-1"),
        ("@slice('Hello World', -5)", "'World'"),
        ("@slice('Hello World', 3, -1)", "'lo Worl'"),
        ("@slice('Hello', 3, 3)", "''"),
        ("@substring('grün', 2)", "'ün'"),
        ("@replace('AaA', 'a', 'b')", "'AbA'"),
        ("@isInt(' 10 ')", "true"),
        ("@isFloat('nan')", "false"),
        ("@isFloat('1,234.5')", "true"),
        ("@concat('x', true, null, 1, 1.5, createArray(1))", "'xTrue11.5[1]'"),
        ("@guid('N')", "'00000000000040078000000000000007'"),
        // Collections.
        ("@contains('Hello', 'h')", "false"),
        ("@contains(createArray(1, 2), 2.0)", "true"),
        ("@contains(body(), 'name')", "true"),
        ("@empty(null)", "true"),
        ("@empty(createArray(0))", "false"),
        ("@empty(json('{}'))", "true"),
        ("@length('grün')", "4"),
        ("@length(body().items)", "2"),
        ("@first(json('[]'))", "null"),
        ("@last('')", "''"),
        ("@last(body().items).id", "2"),
        ("@take('abc', 9)", "'abc'"),
        ("@skip('grün', 3)", "'n'"),
        ("@chunk('abcde', 2)", r#"["ab","cd","e"]"#),
        ("@sort(reverse(body().items), 'id')", r#"[{"id":1},{"id":2}]"#),
        ("@sort(json('[3, 1.5, null, 2]'))", "[null,1.5,2,3]"),
        ("@union(json('{\"a\":1}'), json('{\"a\":2,\"b\":3}'))", r#"{"a":2,"b":3}"#),
        ("@intersection(json('{\"a\":1,\"b\":2}'), json('{\"a\":1,\"b\":3}'))", r#"{"a":1}"#),
        ("@join(createArray(1, true), ';')", "'1;True'"),
        // Conversion.
        ("@int('-7')", "-7"),
        ("@int(5.0)", "5"),
        ("@bool('TRUE')", "true"),
        ("@bool(0)", "false"),
        ("@string(1e15)", "'1E+15'"),
        ("@string(0.00001)", "'1E-05'"),
        ("@string(0.0001)", "'0.0001'"),
        ("@string(body().half)", "'0.5'"),
        ("@string(null)", "''"),
        ("@json('\"a\"')", "'a'"),
        ("@dataUriToString('data:,a%20b')", "'a b'"),
        ("@add(1, 2)", "3"),
        ("@div(11, 5.0)", "2.2"),
        ("@mod(-5, 2)", "-1"),
        ("@max(1, 2.5, createArray(2))", "2.5"),
        ("@range(5, 0)", "[]"),
        // URIs.
        ("@uriHost('https://user:pass@[::1]:8080/a')", "'[::1]'"),
        ("@uriPort('http://[::1]/a')", "80"),
        ("@uriPath('https://contoso.com?x=1')", "'/'"),
        ("@uriPathAndQuery('https://contoso.com?x=1')", "'/?x=1'"),
        ("@uriQuery('https://contoso.com/a')", "''"),
        // Objects.
        ("@setProperty(body().a, 'none', 1)", r#"{"b":"deep","none":1}"#),
        ("@removeProperty(body().a, 'gone')", r#"{"b":"deep","none":null}"#),
        ("@claims().roles[0]", "'reader'"),
        ("@contains(claims('roles'), 'writer')", "true"),
        ("@claims('gone', 'd')", "'d'"),
        ("@lastError()?.message", "null"),
        ("@variables('gone')", "null"),
    ] {
        assert_eq!(evaluated(text, &facts), want, "{text}");
    }
}

#[test]
fn needs_are_collected_while_reading() {
    for (text, want) in [
        ("plain", Needs::NONE),
        ("@utcNow()", Needs::NONE),
        ("@headers('x')/@path()", Needs::REQUEST_HEAD),
        ("@if(equals(status(), 200), body().a, claims('sub'))", Needs::RESPONSE_HEAD | Needs::BODY | Needs::CLAIMS),
        ("@body()[variables('x')]", Needs::BODY | Needs::VARIABLES),
        ("@connectionParameters('x', subscription())", Needs::CONNECTION | Needs::CALLER),
        ("@{lastError('reason')}", Needs::LAST_ERROR),
    ] {
        assert_eq!(parse(text).needs(), want, "{text}");
    }
    assert_eq!(format!("{:?}", Needs::BODY | Needs::CLAIMS), r#"{"body", "claims"}"#);
}

#[test]
fn literals_and_constant_calls_are_folded() {
    assert_eq!(parse("@mul(60, 5)").constant(), Some(&Value::Int(300)));
    assert_eq!(parse("@rand(1, 2)").constant(), None, "chance is not folded");
    assert_eq!(parse("@div(1, 0)").constant(), None, "a failing call fails when it runs");
    for (text, want) in [
        ("plain", Some("plain")),
        ("a@@b", Some("a@b")),
        ("@concat('a', toUpper('b'))", Some("aB")),
        ("@path()", None),
        ("@utcNow()", None),
    ] {
        assert_eq!(parse(text).literal(), want, "{text}");
    }
}

#[test]
fn facts_and_literals_are_borrowed() {
    let facts = facts();
    for text in [
        "plain",
        "@headers('test')",
        "@{headers('test')}",
        "@body().name",
        "@headers('none', 'd')",
        "@trim(path())",
        "@if(equals(method(), 'GET'), path(), host())",
    ] {
        let expression = parse(text);
        assert!(matches!(expression.text(&facts), Ok(Cow::Borrowed(_))), "{text} was copied");
    }
    assert!(matches!(parse("@body().a").evaluate(&facts), Ok(Value::Json(Cow::Borrowed(_)))));
}

#[test]
fn expressions_can_be_shared_between_workers() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Expression>();
}

#[test]
fn conversions() {
    let facts = facts();
    for (text, boolean, integer) in [
        ("true", Some(true), None),
        (" False ", Some(false), None),
        ("@equals(1, 2)", Some(false), None),
        ("12", None, Some(12)),
        ("@status()", None, Some(429)),
        ("@body().half", None, None),
        ("@headers('none')", None, None),
        ("@body()", None, None),
        ("@add(1.5, 0.5)", None, Some(2)),
    ] {
        assert_eq!(parse(text).boolean(&facts).ok(), boolean, "{text} as a boolean");
        assert_eq!(parse(text).integer(&facts).ok(), integer, "{text} as a number");
    }
}
