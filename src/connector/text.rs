//! The bytes of a package's file into text: byte-order marks, UTF-16 and Windows-1252 are read, with a warning.

use std::ops::Range;

/// Text, and what was wrong with its bytes.
pub struct Decoded {
    /// The text.
    pub text: String,
    /// What had to be guessed, and where in the text.
    pub fault: Option<(Range<usize>, String)>,
}

/// Reads bytes as text.
pub fn decode(bytes: &[u8]) -> Decoded {
    let marked = |text: String, what: &str| Decoded {
        text,
        fault: Some((0..0, format!("the file begins with a byte-order mark ({what})"))),
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => marked(decode_utf8(rest).text, "UTF-8"),
        [0xff, 0xfe, rest @ ..] => marked(decode_utf16(rest, u16::from_le_bytes), "UTF-16, little-endian"),
        [0xfe, 0xff, rest @ ..] => marked(decode_utf16(rest, u16::from_be_bytes), "UTF-16, big-endian"),
        _ => decode_utf8(bytes),
    }
}

/// UTF-8; bytes that are not are taken for Windows-1252, one by one, so that the rest of the file is not garbled.
fn decode_utf8(bytes: &[u8]) -> Decoded {
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    let mut count = 0_usize;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            count += 1;
            let start = text.len();
            text.push(windows_1252(*byte));
            first.get_or_insert(start..text.len());
        }
    }
    let fault = first.map(|span| {
        let bytes = if count == 1 { "one byte is".to_owned() } else { format!("{count} bytes are") };
        (span, format!("{bytes} not UTF-8 and read as Windows-1252"))
    });
    Decoded { text, fault }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).map(|one| one.unwrap_or('\u{fffd}')).collect()
}

/// Windows-1252 as the [Encoding Standard](https://encoding.spec.whatwg.org/#windows-1252) has it.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn encodings() {
        for (name, bytes, text, fault) in [
            ("plain", &b"{}"[..], "{}", None),
            ("UTF-8", "né".as_bytes(), "né", None),
            ("a mark", b"\xef\xbb\xbf{}", "{}", Some("byte-order mark (UTF-8)")),
            ("UTF-16", b"\xff\xfe{\0}\0", "{}", Some("little-endian")),
            ("UTF-16, other way", b"\xfe\xff\0{\0}", "{}", Some("big-endian")),
            ("Windows-1252", b"it\x92s 5 \x80", "it’s 5 €", Some("2 bytes are not UTF-8")),
            ("mixed", b"n\xc3\xa9 it\x92s", "né it’s", Some("one byte is not UTF-8")),
        ] {
            let decoded = decode(bytes);
            assert_eq!(decoded.text, text, "{name}");
            match (decoded.fault, fault) {
                (None, None) => {}
                (Some((_, found)), Some(want)) => assert!(found.contains(want), "{name}: {found}"),
                (found, want) => panic!("{name}: {found:?}, expected {want:?}"),
            }
        }
    }
}
