//! Digests and message authentication codes of text in UTF-8, in lower-case hexadecimal.

use aws_lc_rs::digest::{self, Algorithm};
use aws_lc_rs::hmac;

use super::{Evaluated, Function};
use crate::expression::Value;
use crate::expression::evaluate::Call;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "hmacSha256(key, text)",
        "The HMAC with SHA-256 (RFC 2104) of text under a key.",
        "hmacSha256('key', 'The quick brown fox jumps over the lazy dog')",
        "'f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8'",
        |call| {
            let (key, text) = (call.text(0)?, call.text(1)?);
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            Ok(hexadecimal(hmac::sign(&key, text.as_bytes()).as_ref()))
        },
    ),
    Function::new(
        "sha256(text)",
        "The SHA-256 digest of text.",
        "sha256('abc')",
        "'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'",
        |call| hash(call, &digest::SHA256),
    ),
    Function::new(
        "sha384(text)",
        "The SHA-384 digest of text.",
        "sha384('abc')",
        "'cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7'",
        |call| hash(call, &digest::SHA384),
    ),
    Function::new(
        "sha512(text)",
        "The SHA-512 digest of text.",
        "sha512('abc')",
        "'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f'",
        |call| hash(call, &digest::SHA512),
    ),
];

fn hash<'a>(call: &Call<'a>, algorithm: &'static Algorithm) -> Evaluated<'a> {
    Ok(hexadecimal(digest::digest(algorithm, call.text(0)?.as_bytes()).as_ref()))
}

fn hexadecimal<'a>(bytes: &[u8]) -> Value<'a> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    Value::Str(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect::<String>().into())
}
