//! Reads JSON text piece by piece as it comes, in a fixed space, and tells a visitor what stands where.
//!
//! For what is looked at while it is passed on and was never asked to be JSON: nothing is kept of it, nothing is checked that does
//! not have to be, and what is no JSON ends the reading and nothing else. Documents that follow each other (one on each line, or
//! with nothing between them) are read one after the other.

use super::scan::MAX_DEPTH;

/// The longest name that is told; of longer ones only that there is one.
const LONGEST_NAME: usize = 40;

/// Is told what a text holds, in the order in which it stands there.
pub trait Visit {
    /// An object begins, or an array.
    fn enter(&mut self, array: bool);
    /// The last one that began ends.
    fn leave(&mut self);
    /// The name of the member whose value comes next; empty when it is very long.
    fn name(&mut self, name: &[u8]);
    /// A text begins: whether its pieces are wanted.
    fn text(&mut self) -> bool;
    /// A piece of a text, as its bytes stand there. Characters may be cut anywhere.
    fn piece(&mut self, bytes: &[u8]);
    /// A code unit of a text that was written as an escape.
    fn escaped(&mut self, unit: u16);
    /// A number: its integer part without the sign.
    fn number(&mut self, value: u64);
    /// `true`, `false` or `null`, by its first letter.
    fn word(&mut self, first: u8);
}

/// Where in a text the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between values.
    Between,
    /// In a name or a text.
    Text { name: bool },
    /// Behind the `\` of an escape.
    Escape { name: bool },
    /// In the four digits of `\u`; so many are left.
    Unicode { name: bool, left: u8 },
    /// In the integer part of a number.
    Integer,
    /// Behind it.
    Fraction,
    /// In a word.
    Word,
    /// In what is no JSON.
    Broken,
}

/// The state of a reading.
#[derive(Debug)]
pub struct Reader {
    at: At,
    depth: usize,
    /// Which of the containers that are open are objects; the lowest bit is the innermost's.
    objects: u128,
    /// Whether the next text of the object is a name.
    names: bool,
    /// Whether pieces of the text are wanted.
    wanted: bool,
    name: [u8; LONGEST_NAME],
    name_length: usize,
    number: u64,
    unit: u16,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            at: At::Between,
            depth: 0,
            objects: 0,
            names: false,
            wanted: false,
            name: [0; LONGEST_NAME],
            name_length: 0,
            number: 0,
            unit: 0,
        }
    }
}

impl Reader {
    /// Begins with another text.
    pub fn reset(&mut self) {
        (self.at, self.depth, self.objects, self.names) = (At::Between, 0, 0, false);
    }

    /// Whether what came was no JSON.
    pub fn is_broken(&self) -> bool {
        self.at == At::Broken
    }

    /// Reads the next piece.
    pub fn read(&mut self, bytes: &[u8], visit: &mut impl Visit) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            let used = match self.at {
                At::Between => self.between(byte, visit),
                At::Text { name } => self.text(rest, name, visit),
                At::Escape { name } => self.escape(byte, name, visit),
                At::Unicode { name, left } => self.unicode(byte, name, left, visit),
                At::Integer | At::Fraction => self.number(byte, visit),
                At::Word => {
                    if byte.is_ascii_lowercase() {
                        1
                    } else {
                        self.at = At::Between;
                        0
                    }
                }
                At::Broken => return,
            };
            rest = &rest[used..];
        }
    }

    /// The text has ended: a number that stood at its very end is told.
    pub fn end(&mut self, visit: &mut impl Visit) {
        if matches!(self.at, At::Integer | At::Fraction) {
            visit.number(self.number);
        }
        self.reset();
    }

    fn between(&mut self, byte: u8, visit: &mut impl Visit) -> usize {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' if self.depth == MAX_DEPTH => self.at = At::Broken,
            b'{' | b'[' => {
                self.depth += 1;
                self.names = byte == b'{';
                self.objects = self.objects << 1 | u128::from(self.names);
                visit.enter(!self.names);
            }
            b'}' | b']' if self.depth == 0 || (self.objects & 1 == 1) != (byte == b'}') => self.at = At::Broken,
            b'}' | b']' => {
                self.depth -= 1;
                self.objects >>= 1;
                self.names = false;
                visit.leave();
            }
            b',' => self.names = self.objects & 1 == 1,
            b':' => self.names = false,
            b'"' if self.names => {
                self.name_length = 0;
                self.at = At::Text { name: true };
            }
            b'"' => {
                self.wanted = visit.text();
                self.at = At::Text { name: false };
            }
            b'-' => (self.number, self.at) = (0, At::Integer),
            b'0'..=b'9' => (self.number, self.at) = (u64::from(byte - b'0'), At::Integer),
            b't' | b'f' | b'n' => {
                visit.word(byte);
                self.at = At::Word;
            }
            _ => self.at = At::Broken,
        }
        1
    }

    fn text(&mut self, rest: &[u8], name: bool, visit: &mut impl Visit) -> usize {
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if plain > 0 {
            if name {
                self.keep(&rest[..plain]);
            } else if self.wanted {
                visit.piece(&rest[..plain]);
            }
        }
        match rest.get(plain) {
            None => return plain,
            Some(b'"') => {
                if name {
                    visit.name(self.name.get(..self.name_length).unwrap_or_default());
                }
                self.at = At::Between;
            }
            Some(_) => self.at = At::Escape { name },
        }
        plain + 1
    }

    /// Keeps a part of a name.
    fn keep(&mut self, part: &[u8]) {
        let end = self.name_length + part.len();
        if let Some(place) = self.name.get_mut(self.name_length..end) {
            place.copy_from_slice(part);
        }
        // Beyond the length of the place it is too long, and stays so.
        self.name_length = end.min(LONGEST_NAME + 1);
    }

    fn escape(&mut self, byte: u8, name: bool, visit: &mut impl Visit) -> usize {
        if byte == b'u' {
            (self.unit, self.at) = (0, At::Unicode { name, left: 4 });
            return 1;
        }
        let unit = match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' | b'f' => b' ',
            other => other,
        };
        self.escaped(unit.into(), name, visit);
        1
    }

    fn unicode(&mut self, byte: u8, name: bool, left: u8, visit: &mut impl Visit) -> usize {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.at = At::Broken;
            return 1;
        };
        self.unit = self.unit << 4 | u16::try_from(digit).unwrap_or(0);
        if left == 1 {
            self.escaped(self.unit, name, visit);
        } else {
            self.at = At::Unicode { name, left: left - 1 };
        }
        1
    }

    fn escaped(&mut self, unit: u16, name: bool, visit: &mut impl Visit) {
        self.at = At::Text { name };
        if name {
            // No name that anybody looks for has others.
            self.keep(&[u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?')]);
        } else if self.wanted {
            visit.escaped(unit);
        }
    }

    fn number(&mut self, byte: u8, visit: &mut impl Visit) -> usize {
        match byte {
            b'0'..=b'9' if self.at == At::Integer => {
                self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                1
            }
            b'0'..=b'9' | b'+' | b'-' if self.at == At::Fraction => 1,
            b'.' | b'e' | b'E' => {
                self.at = At::Fraction;
                1
            }
            _ => {
                visit.number(self.number);
                self.at = At::Between;
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Log(String);

    impl Visit for Log {
        fn enter(&mut self, array: bool) {
            self.0.push(if array { '[' } else { '{' });
        }
        fn leave(&mut self) {
            self.0.push('/');
        }
        fn name(&mut self, name: &[u8]) {
            self.0.push_str(&format!("{}=", String::from_utf8_lossy(name)));
        }
        fn text(&mut self) -> bool {
            self.0.push('\'');
            true
        }
        fn piece(&mut self, bytes: &[u8]) {
            self.0.push_str(&String::from_utf8_lossy(bytes));
        }
        fn escaped(&mut self, unit: u16) {
            self.0.push_str(&format!("<{unit:x}>"));
        }
        fn number(&mut self, value: u64) {
            self.0.push_str(&format!("#{value}"));
        }
        fn word(&mut self, first: u8) {
            self.0.push(first.into());
        }
    }

    #[test]
    fn a_text_is_read_the_same_however_it_is_cut() {
        let long = format!("{{\"{}\":1}}", "n".repeat(60));
        struct Case<'a> {
            name: &'static str,
            text: &'a str,
            want: &'a str,
        }
        for Case { name, text, want } in [
            Case { name: "members", text: r#"{"a":1,"b":"x"}"#, want: "{a=#1b='x/" },
            Case { name: "nested", text: r#"{"a":[{"b":[1,2.9e3]},"y"],"c":{}}"#, want: "{a=[{b=[#1#2//'y/c={//" },
            Case { name: "escapes", text: r#"["a\"\\\n\u20aC"]"#, want: "['a<22><5c><a><20ac>/" },
            Case { name: "an escaped name", text: r#"{"us\u0061ge":1}"#, want: "{usage=#1/" },
            Case { name: "words", text: " [true, false ,null]", want: "[tfn/" },
            Case { name: "numbers", text: "[-12,0,18446744073709551616]", want: "[#12#0#18446744073709551615/" },
            Case { name: "a name that is too long", text: &long, want: "{=#1/" },
            Case { name: "documents in lines", text: "{\"a\":1}\n{\"a\":2}\n", want: "{a=#1/{a=#2/" },
            Case { name: "no JSON", text: "<html>{\"a\":1}", want: "" },
            Case { name: "the wrong end", text: "{\"a\":1]{\"b\":2}", want: "{a=#1" },
            Case { name: "the end of a stream of events", text: "[DONE]", want: "[" },
        ] {
            for size in 1..=text.len() {
                let (mut reader, mut log) = (Reader::default(), Log::default());
                for piece in text.as_bytes().chunks(size) {
                    reader.read(piece, &mut log);
                }
                reader.end(&mut log);
                assert_eq!(log.0, want, "{name}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        let (mut reader, mut log) = (Reader::default(), Log::default());
        reader.read("[".repeat(100_000).as_bytes(), &mut log);
        assert!(reader.is_broken());
        assert_eq!(log.0.len(), MAX_DEPTH);
    }
}
