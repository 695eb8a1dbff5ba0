//! The field `Link` (RFC 8288 §3): its targets, and the one that leads to the next page.

use std::ops::Range;

use http::header::LINK;
use http::{HeaderMap, HeaderName, HeaderValue};

/// One link of a field.
struct Link<'a> {
    span: Range<usize>,
    /// What stands between `<` and `>`.
    target: Range<usize>,
    parameters: &'a str,
}

impl Link<'_> {
    /// Whether it has this relation to what was asked for. Further `rel` count for nothing (§3.3), and one with an `anchor` is a link of something
    /// else (§3.2).
    fn is(&self, relation: &str) -> bool {
        let (mut at, mut is_meant) = (0, None);
        while at < self.parameters.len() {
            let end = end(self.parameters, at, b';');
            let (name, value) = self.parameters[at..end].split_once('=').unwrap_or_default();
            match name.trim() {
                name if name.eq_ignore_ascii_case("anchor") => return false,
                name if name.eq_ignore_ascii_case("rel") && is_meant.is_none() => {
                    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
                    is_meant = Some(relations.any(|one| one.eq_ignore_ascii_case(relation)));
                }
                _ => {}
            }
            at = end + 1;
        }
        is_meant == Some(true)
    }
}

/// The links of a field; what is none is passed over.
fn links(text: &str) -> impl Iterator<Item = Link<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at = text.len() - text[at..].trim_start_matches([' ', '\t', ',']).len();
            let start = at;
            let Some(rest) = text[at..].strip_prefix('<') else {
                if at == text.len() {
                    return None;
                }
                at = end(text, at, b',');
                continue;
            };
            let target = start + 1..start + 1 + rest.find('>')?;
            at = end(text, target.end + 1, b',');
            return Some(Link { span: start..at, parameters: &text[target.end + 1..at], target });
        }
    })
}

/// Where an element ends: at the separator, unless that stands in a quoted string (RFC 9110 §5.6.4).
fn end(text: &str, from: usize, separator: u8) -> usize {
    let mut quoted = false;
    let mut bytes = text.bytes().enumerate().skip(from);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Changes the targets of a field; none when nothing changes.
pub(super) fn each_target(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (mut out, mut written) = (String::new(), 0);
    for Link { target, .. } in links(text) {
        if let Some(new) = change(&text[target.clone()]) {
            out.push_str(&text[written..target.start]);
            out.push_str(&new);
            written = target.end;
        }
    }
    out.push_str(&text[written..]);
    (written > 0).then_some(out)
}

/// The link to the next page: of `Link` the target whose relation is `next`, of other headers the value.
pub(super) fn next<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let found = if name == LINK {
        lines.find_map(|line| links(line).find(|link| link.is("next")).map(|link| &line[link.target]))
    } else {
        lines.next().map(str::trim)
    };
    found.filter(|link| !link.is_empty())
}

/// Puts another link in the place of that to the next page, or takes it out. The other links of `Link` stay.
pub(super) fn replace_next(headers: &mut HeaderMap, name: &HeaderName, new: Option<&str>) {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    if name != LINK {
        headers.remove(name);
        if let Some(new) = new.and_then(value) {
            headers.insert(name, new);
        }
        return;
    }
    let mut new = new;
    let mut lines = Vec::new();
    for line in headers.get_all(name) {
        let Ok(text) = line.to_str() else {
            lines.push(line.clone());
            continue;
        };
        let kept = links(text).filter_map(|link| {
            if !link.is("next") {
                return Some(text[link.span].to_owned());
            }
            new.take().map(|new| format!("<{new}>{}", link.parameters))
        });
        let kept: Vec<String> = kept.collect();
        lines.extend(value(&kept.join(", ")).filter(|line| !line.is_empty()));
    }
    headers.remove(name);
    for line in lines {
        headers.append(name, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let change = |link: &str| link.strip_prefix("/a").map(|rest| format!("/b{rest}"));
        for (text, want) in [
            (r#"</a/2>; rel="next", </x>; rel=last"#, Some(r#"</b/2>; rel="next", </x>; rel=last"#)),
            (r#"</x>; title="</a \" </a>", </a>; rel=up"#, Some(r#"</x>; title="</a \" </a>", </b>; rel=up"#)),
            ("</a?x=1,2>,</a>", Some("</b?x=1,2>,</b>")),
            ("</x>; rel=next", None),
            ("</a", None),
            ("/a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(each_target(text, change).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_next_page() {
        struct Case {
            lines: &'static [&'static str],
            next: Option<&'static str>,
            /// With another one in its place.
            moved: &'static [&'static str],
            /// Without one.
            last: &'static [&'static str],
        }
        for Case { lines, next: want, moved, last } in [
            Case {
                lines: &[r#"</1>; rel=prev, </2>; rel="next"; title="2, \"x\"", </9>; rel=last"#],
                next: Some("/2"),
                moved: &[r#"</1>; rel=prev, </3>; rel="next"; title="2, \"x\"", </9>; rel=last"#],
                last: &["</1>; rel=prev, </9>; rel=last"],
            },
            Case {
                lines: &["</9>; rel=last", r#"</2?a=1,2>;REL="Start NEXT""#],
                next: Some("/2?a=1,2"),
                moved: &["</9>; rel=last", r#"</3>;REL="Start NEXT""#],
                last: &["</9>; rel=last"],
            },
            Case {
                lines: &["</2>; rel=nextish", "</2>; rel=up; rel=next, </4>; rel=next; anchor=\"/x\"", "next"],
                next: None,
                moved: &["</2>; rel=nextish", "</2>; rel=up; rel=next, </4>; rel=next; anchor=\"/x\""],
                last: &["</2>; rel=nextish", "</2>; rel=up; rel=next, </4>; rel=next; anchor=\"/x\""],
            },
            Case { lines: &["<>; rel=next"], next: None, moved: &["</3>; rel=next"], last: &[] },
            Case { lines: &[], next: None, moved: &[], last: &[] },
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(LINK, HeaderValue::from_static(line));
            }
            assert_eq!(next(&headers, &LINK), want, "{lines:?}");
            for (new, want) in [(Some("/3"), moved), (None, last)] {
                let mut headers = headers.clone();
                replace_next(&mut headers, &LINK, new);
                let got: Vec<&str> = headers.get_all(LINK).iter().map(|line| line.to_str().unwrap()).collect();
                assert_eq!(got, want, "{lines:?} {new:?}");
            }
        }
    }

    #[test]
    fn another_header_is_the_link() {
        let name = HeaderName::from_static("x-next");
        let mut headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("/2"))]);
        assert_eq!(next(&headers, &name), Some("/2"));
        replace_next(&mut headers, &name, Some("/3"));
        assert_eq!(next(&headers, &name), Some("/3"));
        replace_next(&mut headers, &name, None);
        assert!(headers.is_empty());
    }
}
