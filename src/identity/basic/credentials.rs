//! The user name and password of `Authorization: Basic` (RFC 7617).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Some clients leave the padding away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The longest user name and password that are looked at, together and in Base64. What is longer is no password of a
/// person or a program, and hashing it would cost the gateway more than sending it cost the caller.
const LONGEST: usize = 2048;

/// A user name and a password as they came. Never printed.
pub struct Credentials {
    pair: Vec<u8>,
    colon: usize,
}

/// What is wrong with a field that should hold Basic credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There are two fields: the backend might read the other one.
    #[error("there is more than one `Authorization`")]
    Twice,
    /// It is longer than any credentials.
    #[error("the credentials are longer than {LONGEST} bytes")]
    TooLong,
    /// It cannot be decoded.
    #[error("the credentials are not Base64")]
    Base64,
    /// RFC 7617 §2: a colon ends the user name.
    #[error("there is no colon between user name and password")]
    NoColon,
    /// RFC 7617 §2: neither part may hold control characters.
    #[error("the credentials hold a control character")]
    Control,
}

impl Credentials {
    /// The credentials of a request; none when it has no `Authorization`, or one of another scheme.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        if fields.next().is_some() {
            return Err(Malformed::Twice);
        }
        let field = field.as_bytes().trim_ascii();
        let end = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
        let (scheme, encoded) = field.split_at(end);
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return Ok(None);
        }
        if encoded.len() > LONGEST {
            return Err(Malformed::TooLong);
        }
        let pair = BASE64.decode(encoded.trim_ascii()).map_err(|_| Malformed::Base64)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(Malformed::NoColon)?;
        if pair.iter().any(u8::is_ascii_control) {
            return Err(Malformed::Control);
        }
        Ok(Some(Self { pair, colon }))
    }

    /// The user name.
    pub fn user(&self) -> &[u8] {
        &self.pair[..self.colon]
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.pair[self.colon + 1..]
    }

    /// User name, colon, password. No two credentials have the same, for a user name holds no colon.
    pub(super) fn pair(&self) -> &[u8] {
        &self.pair
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD as ENCODE;
    use http::HeaderValue;

    fn parse(fields: &[&str]) -> Result<Option<(String, String)>, Malformed> {
        let headers = fields.iter().map(|field| (AUTHORIZATION, HeaderValue::from_str(field).unwrap())).collect();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        Ok(Credentials::parse(&headers)?.map(|found| (text(found.user()), text(found.password()))))
    }

    #[test]
    fn credentials_are_read_as_rfc_7617_says() {
        let pair = |user: &str, password: &str| Ok(Some((user.to_owned(), password.to_owned())));
        let encoded = |text: &str| format!("Basic {}", ENCODE.encode(text));
        let longest = "x".repeat(1500);
        for (fields, want) in [
            (vec![], Ok(None)),
            (vec!["Bearer abc".to_owned()], Ok(None)),
            (vec!["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned()], pair("Aladdin", "open sesame")),
            (vec!["basic QWxhZGRpbjpvcGVuIHNlc2FtZQ".to_owned()], pair("Aladdin", "open sesame")),
            // The example of RFC 7617 §2.1: a pound sign in UTF-8.
            (vec!["Basic dGVzdDoxMjPCow==".to_owned()], pair("test", "123£")),
            (vec![encoded("ada:a:b")], pair("ada", "a:b")),
            (vec![encoded(":")], pair("", "")),
            (vec![encoded(&format!("ada:{longest}"))], pair("ada", &longest)),
            (vec![encoded(&format!("ada:{longest}{longest}"))], Err(Malformed::TooLong)),
            (vec![encoded("ada")], Err(Malformed::NoColon)),
            (vec![encoded("ada:a\0b")], Err(Malformed::Control)),
            (vec![encoded("ada:a\nb")], Err(Malformed::Control)),
            (vec!["Basic %%%".to_owned()], Err(Malformed::Base64)),
            (vec!["Basic".to_owned()], Err(Malformed::NoColon)),
            (vec![encoded("a:b"), encoded("a:b")], Err(Malformed::Twice)),
        ] {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            assert_eq!(parse(&fields), want, "{fields:?}");
        }
    }
}
