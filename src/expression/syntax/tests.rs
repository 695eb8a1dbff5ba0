//! What is said about a mistake, and where the caret stands.

use crate::expression::{Dialect, Expression};

#[test]
fn syntax_errors() {
    for (text, range, message, hint) in [
        ("@haeders('x')", 1..8, "there is no function `haeders`", "did you mean `headers`?"),
        ("@queryParamters('x')", 1..15, "there is no function `queryParamters`", "did you mean `queryParameters`?"),
        ("@triggerBody()", 1..12, "there is no function `triggerBody`", "did you mean `body`?"),
        (
            "@(context.Request.IpAddress)",
            0..2,
            "C# policy expressions are not supported yet",
            "write a call such as `@headers('x-tenant')`, or `@@(` for a literal `@(`",
        ),
        (
            "@{ return context.RequestId; }",
            3..9,
            "C# policy expressions are not supported yet",
            "write a call such as `headers('x-tenant')`",
        ),
        ("a@zzzzzz(1)", 2..8, "there is no function `zzzzzz`", "write `@@` for a literal `@`"),
        ("@{zzzzzz(1)}", 2..8, "there is no function `zzzzzz`", ""),
        ("@concat()", 0..9, "`concat` takes at least 1 argument, found 0", "it is called as `concat(value…)`"),
        ("@not(1, 2)", 0..10, "`not` takes 1 argument, found 2", "it is called as `not(condition)`"),
        ("@not(if(1))", 5..10, "`if` takes 3 arguments, found 1", "it is called as `if(condition, then, otherwise)`"),
        (
            "@headers()",
            0..10,
            "`headers` takes 1 to 2 arguments, found 0",
            "it is called as `headers(name, [default])`",
        ),
        ("@headers('x y')", 9..14, "`x y` cannot be the name of a header", ""),
        ("@headers('x", 9..11, "the text is never closed", "add a `'`; a quote inside text is written `''`"),
        ("@headers('x'", 0..12, "the `(` of `headers` is never closed", "add a `)`"),
        ("@concat('a', ", 0..13, "the `(` of `concat` is never closed", "add a `)`"),
        ("@headers('x'))", 13..14, "there is a `)` too many", "write the call as `@{…}` to put a literal `)` after it"),
        ("@{headers('x'))}", 14..15, "expected `}`, found `)`", ""),
        ("@{headers('x')", 0..14, "the `@{` is never closed", "add a `}`"),
        ("@{}", 2..3, "expected a value, found `}`", ""),
        ("@{", 2..2, "expected a value, found the end of the text", ""),
        ("@concat('a',)", 12..13, "expected a value, found `)`", ""),
        ("@concat('a' 'b')", 12..13, "expected `,` or `)`, found `'`", ""),
        ("@concat(\"a\")", 8..9, "expected a value, found `\"`", "write text in single quotes"),
        (
            "@concat(@path())",
            8..9,
            "expected a value, found `@`",
            "inside a call or `@{…}` functions are written without `@`",
        ),
        ("@concat(abc)", 8..11, "expected a value, found `abc`", "write text in single quotes: `'abc'`"),
        ("@concat(Path)", 8..12, "expected a value, found `Path`", "`path` is a function: write `path()`"),
        ("@concat(1.2.3)", 8..13, "`1.2.3` is not a number", ""),
        ("@concat(1e999)", 8..13, "`1e999` is not a number", ""),
        ("@body()[-1]", 8..10, "items count from `0`", "`last(…)` gives the last item"),
        ("@body()[true]", 8..12, "expected a name in quotes or a number, found a boolean", ""),
        ("@body()['a'", 7..11, "the `[` is never closed", "add a `]`"),
        (
            "@body()?.-",
            9..10,
            "expected a property's name, found `-`",
            "write names with other characters as `['name']`",
        ),
        (
            "@{body().1}",
            9..10,
            "expected a property's name, found `1`",
            "write names with other characters as `['name']`",
        ),
        ("@{headers('x').y}", 14..15, "`headers` gives no object, so nothing can be read from it", ""),
        ("é@{ü}", 4..6, "expected a value, found `ü`", ""),
    ] {
        let error = Expression::parse(text, Dialect::Gateway).expect_err(text);
        assert_eq!((error.message.as_str(), error.hint.as_deref().unwrap_or("")), (message, hint), "{text}");
        assert_eq!(error.range, range, "{text}");
    }
}
