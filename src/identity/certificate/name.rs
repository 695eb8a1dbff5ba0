//! Distinguished names, from certificates and from text, so that both can be compared.

use std::fmt;

use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::X509Name;

/// A distinguished name (RFC 5280 §4.1.2.4): types and values, the most specific first.
#[derive(Clone, Debug, Default)]
pub struct Name(Box<[(Box<str>, Box<str>)]>);

impl Name {
    /// The name in a certificate.
    pub fn of(name: &X509Name<'_>) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> = name
            .iter_attributes()
            .map(|attribute| {
                let kind = match oid2abbrev(attribute.attr_type(), oid_registry()) {
                    Ok(abbreviation) => abbreviation.to_owned(),
                    Err(_) => attribute.attr_type().to_id_string(),
                };
                let value = match attribute.as_str() {
                    Ok(text) => text.into(),
                    Err(_) => text_of(attribute.attr_value()),
                };
                (kind.into(), value)
            })
            .collect();
        pairs.reverse();
        Self(pairs.into())
    }

    /// Reads `CN=erp, O=Contoso\, Ltd., C=DE` (RFC 4514), also with the quotes that Windows writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pairs = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (kind, after) = rest.split_once('=')?;
            let kind = kind.trim();
            let kind = kind.strip_prefix("OID.").or_else(|| kind.strip_prefix("oid.")).unwrap_or(kind);
            if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            {
                return None;
            }
            let (value, after) = value(after.trim_start())?;
            pairs.push((kind.into(), value.into()));
            rest = after.trim_start();
            if let Some(more) = rest.strip_prefix([',', ';', '+']) {
                rest = more.trim_start();
                if rest.is_empty() {
                    return None;
                }
            } else if !rest.is_empty() {
                return None;
            }
        }
        (!pairs.is_empty()).then(|| Self(pairs.into()))
    }

    /// The common name; the most specific one when there are several.
    pub fn common_name(&self) -> Option<&str> {
        self.0.iter().find(|(kind, _)| kind.eq_ignore_ascii_case("CN")).map(|(_, value)| &**value)
    }

    /// Whether both name the same. Types and values compare without case (RFC 5280 §7.1), and the order may be that of
    /// RFC 4514 or that of the certificate, for tools print both.
    pub fn matches(&self, other: &Self) -> bool {
        let same = |a: &(Box<str>, Box<str>), b: &(Box<str>, Box<str>)| {
            canonical(&a.0).eq_ignore_ascii_case(canonical(&b.0)) && a.1.to_lowercase() == b.1.to_lowercase()
        };
        self.0.len() == other.0.len()
            && (self.0.iter().zip(&other.0).all(|(a, b)| same(a, b))
                || self.0.iter().zip(other.0.iter().rev()).all(|(a, b)| same(a, b)))
    }
}

/// Text in one of the encodings that `str` does not read.
fn text_of(value: &x509_parser::asn1_rs::Any<'_>) -> Box<str> {
    use x509_parser::asn1_rs::{BmpString, Tag};
    if value.tag() == Tag::BmpString
        && let Ok(text) = BmpString::try_from(value.clone())
    {
        return text.string().into();
    }
    // RFC 4514 §2.4.
    format!("#{}", super::hex(value.as_bytes())).into()
}

/// Other words for the same type.
fn canonical(kind: &str) -> &str {
    match kind {
        "S" | "s" => "ST",
        "E" | "e" | "Email" | "email" => "emailAddress",
        other => other,
    }
}

/// A value up to the separator, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut characters = quoted.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                // Windows doubles a quote, RFC 2253 has a backslash before it.
                '"' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                    value.push('"');
                    characters.next();
                }
                '"' => return Some((value, &quoted[at + 1..])),
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        return None;
    }
    let mut bytes = Vec::new();
    let mut kept = 0;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        match character {
            ',' | ';' | '+' => break,
            '\\' => {
                let escaped = rest.get(1..)?;
                let pair = escaped.get(..2).filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
                match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &escaped[2..];
                    }
                    None => {
                        let literal = escaped.chars().next()?;
                        bytes.extend_from_slice(literal.encode_utf8(&mut [0; 4]).as_bytes());
                        rest = &escaped[literal.len_utf8()..];
                    }
                }
                kept = bytes.len();
                continue;
            }
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if character != ' ' {
            kept = bytes.len();
        }
        rest = &rest[character.len_utf8()..];
    }
    // Spaces before the separator are no part of the value, unless they are escaped.
    bytes.truncate(kept);
    Some((String::from_utf8(bytes).ok()?, rest))
}

/// As Azure API Management and Windows order and space it, with the escapes of RFC 4514 §2.4.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(", ", f)
    }
}

impl Name {
    /// As RFC 4514 and Envoy write it, without spaces.
    pub fn compact(&self) -> String {
        struct Compact<'a>(&'a Name);
        impl fmt::Display for Compact<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(",", f)
            }
        }
        Compact(self).to_string()
    }

    fn write(&self, separator: &str, f: &mut impl fmt::Write) -> fmt::Result {
        for (at, (kind, value)) in self.0.iter().enumerate() {
            write!(f, "{}{kind}=", if at > 0 { separator } else { "" })?;
            let last = value.chars().count().saturating_sub(1);
            for (place, character) in value.chars().enumerate() {
                let is_special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
                    || (character == ' ' && (place == 0 || place == last))
                    || (character == '#' && place == 0);
                if is_special {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, want) in [
            ("CN=erp", Some("CN=erp")),
            ("CN=erp, O=Contoso, C=DE", Some("CN=erp, O=Contoso, C=DE")),
            ("CN=erp,O=Contoso,C=DE", Some("CN=erp, O=Contoso, C=DE")),
            ("CN = erp , O = Contoso", Some("CN=erp, O=Contoso")),
            (r"CN=a\,b\+c", Some(r"CN=a\,b\+c")),
            (r#"CN=erp, O="Contoso, ""Ltd.""""#, Some(r#"CN=erp, O=Contoso\, \"Ltd.\""#)),
            (r"CN=M\C3\BCller\ ", Some(r"CN=Müller\ ")),
            ("OU=a+CN=b", Some("OU=a, CN=b")),
            ("OID.2.5.4.97=x", Some("2.5.4.97=x")),
            ("CN=", Some("CN=")),
            ("", None),
            ("erp", None),
            ("CN=a,", None),
            ("=a", None),
            (r#"CN="a"#, None),
            (r#"CN="a"b"#, None),
            (r"CN=a\", None),
        ] {
            let name = Name::parse(text).map(|name| name.to_string());
            assert_eq!(name.as_deref(), want, "{text}");
            if let Some(want) = want {
                assert!(Name::parse(text).unwrap().matches(&Name::parse(want).unwrap()), "{text}");
            }
        }
    }

    #[test]
    fn names_compare_in_both_orders_and_without_case() {
        for (a, b, want) in [
            ("CN=erp, O=Contoso, C=DE", "cn=ERP,o=contoso,c=de", true),
            ("CN=erp, O=Contoso, C=DE", "C=DE, O=Contoso, CN=erp", true),
            ("ST=Bayern, E=a@b.c", "S=Bayern, emailAddress=a@b.c", true),
            ("CN=erp, O=Contoso", "CN=erp", false),
            ("CN=erp, O=Contoso", "CN=erp, OU=Contoso", false),
            ("CN=erp, O=Contoso", "O=erp, CN=Contoso", false),
            ("CN=a, OU=b, OU=c", "CN=a, OU=c, OU=b", false),
        ] {
            assert_eq!(Name::parse(a).unwrap().matches(&Name::parse(b).unwrap()), want, "{a} and {b}");
        }
        assert_eq!(Name::parse("O=x, CN=a, CN=b").unwrap().common_name(), Some("a"));
        assert_eq!(Name::parse("O=x").unwrap().common_name(), None);
    }
}
