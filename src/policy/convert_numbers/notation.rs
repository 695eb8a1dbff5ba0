//! The way in which a country writes numbers.

use crate::compile::CompileError;
use crate::config::At;

/// What stands before the fraction, and what between groups of digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notation {
    decimal: char,
    groups: Vec<char>,
    /// Whether groups before the last three digits may be of two.
    pairs: bool,
}

/// Spaces that stand between groups: U+0020, and those that do not break.
const SPACES: [char; 4] = [' ', '\u{a0}', '\u{2009}', '\u{202f}'];
const APOSTROPHES: [char; 2] = ['\'', '\u{2019}'];

/// Languages with a comma before the fraction, and what stands between groups there (Unicode CLDR, "numbers"); all others write as in English.
#[rustfmt::skip]
const WITH_COMMA: [(&str, &str); 47] = [
    ("af", " "), ("az", "."), ("be", " "), ("bg", " "), ("bs", "."), ("ca", "."), ("cs", " "), ("da", "."), ("de", "."),
    ("el", "."), ("es", "."), ("et", " "), ("eu", "."), ("fi", " "), ("fo", "."), ("fr", " "), ("gl", "."), ("hr", "."),
    ("hu", " "), ("hy", " "), ("id", "."), ("is", "."), ("it", "."), ("ka", " "), ("kk", " "), ("ky", " "), ("lt", " "),
    ("lv", " "), ("mk", "."), ("nb", " "), ("nl", "."), ("nn", " "), ("no", " "), ("pl", " "), ("pt", "."), ("ro", "."),
    ("ru", " "), ("sk", " "), ("sl", "."), ("sq", " "), ("sr", "."), ("sv", " "), ("tr", "."), ("uk", " "), ("uz", " "),
    ("vi", "."), ("wo", "."),
];

/// Countries that group by two before the last three digits, in whichever of their languages (Unicode CLDR, `#,##,##0`).
const PAIRS: [&str; 5] = ["-in", "-bd", "-np", "-pk", "-lk"];

/// Countries that write otherwise than others with their language: what stands before the fraction, and between groups.
#[rustfmt::skip]
const COUNTRIES: [(&str, char, &str); 22] = [
    ("de-at", ',', " ."), ("de-ch", '.', "'"), ("de-li", '.', "'"), ("en-za", ',', " "), ("es-419", '.', ","), ("es-cr", ',', " "),
    ("es-do", '.', ","), ("es-gt", '.', ","), ("es-hn", '.', ","), ("es-mx", '.', ","), ("es-ni", '.', ","), ("es-pa", '.', ","),
    ("es-pe", '.', ","), ("es-pr", '.', ","), ("es-sv", '.', ","), ("es-us", '.', ","), ("fr-ca", ',', " "), ("fr-ch", ',', " "),
    ("fr-lu", ',', "."), ("it-ch", '.', "'"), ("pt-pt", ',', " "), ("rm-ch", '.', "'"),
];

impl Notation {
    pub(super) fn compile(
        locale: Option<&At<String>>,
        decimal: Option<&At<String>>,
        group: Option<&At<String>>,
    ) -> Result<Self, CompileError> {
        let mut notation = match locale {
            None => Self { decimal: '.', groups: Vec::new(), pairs: false },
            Some(locale) => Self::of(locale)?,
        };
        if let Some(decimal) = decimal {
            notation.decimal = match decimal.as_str() {
                "," => ',',
                "." => '.',
                other => {
                    return Err(
                        CompileError::at(decimal, format!("`{other}` stands before no fraction")).hint("`,` or `.`")
                    );
                }
            };
        }
        if let Some(group) = group {
            if group.chars().any(|one| one.is_ascii_alphanumeric() || "+-\u{2212}()".contains(one)) {
                return Err(CompileError::at(group, format!("`{}` does not separate groups of digits", group.value))
                    .hint("for example `.`, `'` or a space"));
            }
            notation.groups = expand(group);
        }
        if notation.groups.contains(&notation.decimal)
            && let Some(written) = group.or(decimal)
        {
            return Err(CompileError::at(
                written,
                format!("`{}` would separate groups and stand before the fraction as well", notation.decimal),
            )
            .hint("give both `decimal` and `group`"));
        }
        Ok(notation)
    }

    fn of(locale: &At<String>) -> Result<Self, CompileError> {
        let folded = locale.to_ascii_lowercase().replace('_', "-");
        let language = folded.split('-').next().unwrap_or_default();
        let is_one =
            (2..=3).contains(&language.len()) && folded.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric());
        if !is_one {
            return Err(CompileError::at(locale, format!("`{}` is no language", locale.value))
                .hint("for example `de`, `de-CH` or `pt-BR`"));
        }
        let pairs = PAIRS.iter().any(|end| folded.ends_with(end)) || folded == "hi";
        if let Some((_, decimal, groups)) = COUNTRIES.iter().find(|(name, ..)| *name == folded) {
            return Ok(Self { decimal: *decimal, groups: expand(groups), pairs });
        }
        Ok(match WITH_COMMA.iter().find(|(name, _)| *name == language) {
            Some((_, groups)) => Self { decimal: ',', groups: expand(groups), pairs },
            None => Self { decimal: '.', groups: vec![','], pairs },
        })
    }

    /// Reads a number and writes it as JSON does.
    pub(super) fn read(&self, text: &str) -> Option<String> {
        let text = text.trim();
        // Books have losses in parentheses, or the sign behind them.
        let (text, in_parentheses) = match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => (inner.trim(), true),
            None => (text, false),
        };
        let minus = ['-', '\u{2212}'];
        let (text, before) = match text.strip_prefix(minus) {
            Some(rest) => (rest.trim_start(), true),
            None => (text.strip_prefix('+').map_or(text, str::trim_start), false),
        };
        let (text, behind) = text.strip_suffix(minus).map_or((text, false), |rest| (rest.trim_end(), true));
        if u8::from(in_parentheses) + u8::from(before) + u8::from(behind) > 1 {
            return None;
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let (whole, fraction) = match mantissa.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let separator = self.separator(whole)?;
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !fraction.is_none_or(is_digits) {
            return None;
        }
        let mut out = String::with_capacity(text.len() + 1);
        if in_parentheses || before || behind {
            out.push('-');
        }
        let start = out.len();
        out.extend(whole.chars().filter(|one| Some(*one) != separator).skip_while(|digit| *digit == '0'));
        if out.len() == start {
            out.push('0');
        }
        if let Some(fraction) = fraction {
            out.push('.');
            out.push_str(fraction);
        }
        if let Some(exponent) = exponent {
            if !is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)) {
                return None;
            }
            out.push('e');
            out.push_str(exponent);
        }
        Some(out)
    }

    /// What stands between groups of digits, if there is more than one: of three, or of two before the last three where that is the custom. One kind
    /// of separator stands between all of them.
    fn separator(&self, text: &str) -> Option<Option<char>> {
        let Some(separator) = text.chars().find(|one| !one.is_ascii_digit()) else {
            return (!text.is_empty()).then_some(None);
        };
        if !self.groups.contains(&separator) {
            return None;
        }
        let (first, rest) = text.split_once(separator)?;
        let (between, last) = rest.rsplit_once(separator).map_or((None, rest), |(between, last)| (Some(between), last));
        let inside = |size: usize| between.is_none_or(|text| text.split(separator).all(|group| group.len() == size));
        let fits = (1..=3).contains(&first.len())
            && last.len() == 3
            && (inside(3) || self.pairs && first.len() <= 2 && inside(2));
        let is_digits = text.chars().all(|one| one == separator || one.is_ascii_digit());
        (fits && is_digits).then_some(Some(separator))
    }
}

fn expand(written: &str) -> Vec<char> {
    let kinds = |one: char| match one {
        ' ' => SPACES.to_vec(),
        '\'' => APOSTROPHES.to_vec(),
        other => vec![other],
    };
    written.chars().flat_map(kinds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> At<String> {
        At { value: text.to_owned(), span: 0..0 }
    }

    #[test]
    fn numbers_are_read_as_countries_write_them() {
        for (locale, text, want) in [
            ("de-DE", "1.234,56", Some("1234.56")),
            ("de-DE", "1234,50", Some("1234.50")),
            ("de-DE", "-1.234.567", Some("-1234567")),
            ("de-DE", "1.5", None),
            ("de-DE", "1.23.456", None),
            ("de-DE", "1,234.56", None),
            ("de-DE", "1,2,3", None),
            ("de-CH", "1’234.56", Some("1234.56")),
            ("de-CH", "1'234'567.00", Some("1234567.00")),
            ("fr-FR", "1\u{202f}234,5", Some("1234.5")),
            ("fr-FR", "1 234 567", Some("1234567")),
            ("fr-FR", "1 234\u{a0}567", None),
            ("sv_SE", "\u{2212}12,0", Some("-12.0")),
            ("pt-BR", "0,07", Some("0.07")),
            ("es-MX", "1,234.5", Some("1234.5")),
            ("en-US", "1,234.56", Some("1234.56")),
            ("hi-IN", "12,34,567.8", Some("1234567.8")),
            ("en-IN", "1,234,567.8", Some("1234567.8")),
            ("en-US", "12,34,567.8", None),
            ("en-US", "(1,234.00)", Some("-1234.00")),
            ("en-US", "12.5-", Some("-12.5")),
            ("en-US", "-12.5-", None),
            ("en-US", "+007", Some("7")),
            ("en-US", "1.5E-3", Some("1.5e-3")),
            ("en-US", "1.5E", None),
            ("en-US", "1.", None),
            ("en-US", ".5", None),
            ("en-US", "", None),
            ("en-US", "NaN", None),
            ("en-US", "0x10", None),
            ("en-US", "1234567890123456789012.10", Some("1234567890123456789012.10")),
        ] {
            let notation = Notation::compile(Some(&at(locale)), None, None).unwrap();
            let got = notation.read(text);
            assert_eq!(got.as_deref(), want, "{locale} {text}");
            assert!(got.is_none_or(|got| serde_json::from_str::<serde_json::Number>(&got).is_ok()), "{text} is JSON");
        }
    }

    #[test]
    fn separators_of_ones_own() {
        for (decimal, group, text, want) in [
            (None, None, "1234.5", Some("1234.5")),
            (None, None, "1,234.5", None),
            (Some(","), None, "1234,5", Some("1234.5")),
            (Some(","), Some(". "), "1 234,5", Some("1234.5")),
            (Some(","), Some(". "), "1.234,5", Some("1234.5")),
        ] {
            let (decimal, group) = (decimal.map(at), group.map(at));
            let notation = Notation::compile(None, decimal.as_ref(), group.as_ref()).unwrap();
            assert_eq!(notation.read(text).as_deref(), want, "{decimal:?} {group:?} {text}");
        }
    }
}
