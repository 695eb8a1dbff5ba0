//! .NET numeric format strings (learn.microsoft.com, "Standard numeric format strings" and "Custom numeric format strings").
//!
//! Rounding is half away from zero on the decimal digits, as people expect of `2.675`.

use crate::expression::Value;

/// Writes a number in a standard (`N2`) or custom (`#,##0.00`) format.
pub(in crate::expression) fn format(value: &Value<'_>, format: &str) -> Result<String, String> {
    super::check_length(format)?;
    let mut letters = format.chars();
    match letters.next() {
        None => standard(value, 'G', None),
        Some(letter)
            if letter.is_ascii_alphabetic()
                && letters.as_str().len() <= 2
                && letters.as_str().bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            standard(value, letter, letters.as_str().parse().ok())
        }
        Some(_) => custom(value, format),
    }
}

/// A number as decimal digits before and after the point; no leading zeros before it.
#[derive(Clone)]
struct Decimal {
    negative: bool,
    integer: String,
    fraction: String,
}

impl Decimal {
    fn of(value: &Value<'_>) -> Self {
        let text = match value {
            Value::Int(number) => number.to_string(),
            other => other.as_float().unwrap_or(0.0).to_string(),
        };
        let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Self { negative, integer: integer.trim_start_matches('0').to_owned(), fraction: fraction.to_owned() }
    }

    /// Moves the point to the right, or to the left where `places` is negative.
    fn shift(&mut self, places: i32) {
        for _ in 0..places.unsigned_abs() {
            if places > 0 {
                let digit = if self.fraction.is_empty() { '0' } else { self.fraction.remove(0) };
                if !(self.integer.is_empty() && digit == '0') {
                    self.integer.push(digit);
                }
            } else {
                self.fraction.insert(0, self.integer.pop().unwrap_or('0'));
            }
        }
    }

    /// Keeps this many digits after the point, adding zeros where there are fewer.
    fn round(&mut self, places: usize) {
        let up = self.fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5');
        self.fraction.truncate(places);
        while self.fraction.len() < places {
            self.fraction.push('0');
        }
        if up {
            let mut digits: Vec<u8> = self.integer.bytes().chain(self.fraction.bytes()).collect();
            let carried = digits.iter_mut().rev().all(|digit| {
                *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
                *digit == b'0'
            });
            if carried {
                digits.insert(0, b'1');
            }
            let text: String = digits.into_iter().map(char::from).collect();
            let point = text.len() - places;
            (self.integer, self.fraction) = (text[..point].to_owned(), text[point..].to_owned());
        }
        if self.is_zero() {
            self.negative = false;
        }
    }

    fn is_zero(&self) -> bool {
        self.integer.is_empty() && self.fraction.bytes().all(|digit| digit == b'0')
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    /// The digits without the sign; at least one before the point.
    fn digits(&self, grouped: bool) -> String {
        let integer = if self.integer.is_empty() { "0" } else { &self.integer };
        let mut text = String::with_capacity(integer.len() * 4 / 3 + self.fraction.len() + 1);
        for (index, digit) in integer.chars().enumerate() {
            if grouped && index > 0 && (integer.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if !self.fraction.is_empty() {
            text.push('.');
            text.push_str(&self.fraction);
        }
        text
    }
}

fn standard(value: &Value<'_>, letter: char, precision: Option<usize>) -> Result<String, String> {
    let mut decimal = Decimal::of(value);
    let places = precision.unwrap_or(2);
    let whole = || match value {
        Value::Int(number) => Ok(*number),
        _ => Err(format!("the format `{letter}` is for whole numbers")),
    };
    let padded = |digits: String| format!("{digits:0>width$}", width = precision.unwrap_or(0));
    Ok(match letter.to_ascii_uppercase() {
        'C' => {
            decimal.round(places);
            format!("{}${}", decimal.sign(), decimal.digits(true))
        }
        'D' => {
            let number = whole()?;
            format!("{}{}", decimal.sign(), padded(number.unsigned_abs().to_string()))
        }
        'E' => scientific(decimal, precision.unwrap_or(6), letter, 3),
        'F' => {
            decimal.round(places);
            format!("{}{}", decimal.sign(), decimal.digits(false))
        }
        'G' => general(value, decimal, precision, letter),
        'N' => {
            decimal.round(places);
            format!("{}{}", decimal.sign(), decimal.digits(true))
        }
        'P' => {
            decimal.shift(2);
            decimal.round(places);
            format!("{}{}%", decimal.sign(), decimal.digits(true))
        }
        'R' => general(value, decimal, None, 'G'),
        'X' if letter == 'X' => padded(format!("{:X}", whole()?)),
        'X' => padded(format!("{:x}", whole()?)),
        'B' => padded(format!("{:b}", whole()?)),
        _ => return Err(format!("there is no numeric format `{letter}`")),
    })
}

fn general(value: &Value<'_>, decimal: Decimal, precision: Option<usize>, letter: char) -> String {
    let Some(precision) = precision.filter(|precision| *precision > 0) else {
        return match value {
            Value::Int(number) => number.to_string(),
            other => crate::expression::value::float_text(other.as_float().unwrap_or(0.0)),
        };
    };
    let exponent = exponent(&decimal);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent >= limit || exponent <= -5 {
        let marker = if letter == 'g' { 'e' } else { 'E' };
        let text = scientific(decimal, precision - 1, marker, 2);
        return match text.split_once(marker) {
            Some((mantissa, rest)) if mantissa.contains('.') => {
                format!("{}{marker}{rest}", mantissa.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => text,
        };
    }
    let mut decimal = decimal;
    decimal.round(usize::try_from(limit - 1 - exponent).unwrap_or(0));
    decimal.fraction.truncate(decimal.fraction.trim_end_matches('0').len());
    format!("{}{}", decimal.sign(), decimal.digits(false))
}

/// The power of ten of the first digit that is not zero.
fn exponent(decimal: &Decimal) -> i32 {
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    if !decimal.integer.is_empty() {
        return length(&decimal.integer) - 1;
    }
    match decimal.fraction.find(|digit| digit != '0') {
        Some(zeros) => -length(&decimal.fraction[..zeros]) - 1,
        None => 0,
    }
}

fn scientific(mut decimal: Decimal, places: usize, marker: char, width: usize) -> String {
    let mut power = exponent(&decimal);
    decimal.shift(-power);
    decimal.round(places);
    if decimal.integer.len() > 1 {
        // 9.99 rounded to 10.0.
        decimal.shift(-1);
        decimal.fraction.pop();
        power += 1;
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{}{}{marker}{sign}{:0>width$}", decimal.sign(), decimal.digits(false), power.unsigned_abs())
}

// === custom formats ===

enum Token {
    /// `0` or `#`.
    Digit,
    Point,
    Literal(char),
}

/// One section of a custom format, read.
#[derive(Default)]
struct Section {
    tokens: Vec<Token>,
    grouped: bool,
    /// How far the point moves: two for each `%`, three for each `‰`, minus three for each `,` before the point.
    shift: i32,
    /// How many places stand before and after the point, and up to where zeros are written.
    before: usize,
    after: usize,
    zeros_before: usize,
    zeros_after: usize,
}

fn custom(value: &Value<'_>, format: &str) -> Result<String, String> {
    let decimal = Decimal::of(value);
    let sections = split_sections(format);
    let chosen = match (sections.as_slice(), decimal.negative) {
        (sections, _) if decimal.is_zero() && sections.len() > 2 => 2,
        (sections, true) if sections.len() > 1 && !sections[1].is_empty() => 1,
        _ => 0,
    };
    let mut written = write_section(&decimal, &Section::read(sections[chosen])?);
    if chosen == 0 && decimal.negative && written.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        written.insert(0, '-');
    }
    Ok(written)
}

/// Splits at `;` outside quotes.
fn split_sections(format: &str) -> Vec<&str> {
    let (mut sections, mut from, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (at, character) in format.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' | '"' if quote == Some(character) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(character),
            ';' if quote.is_none() => {
                sections.push(&format[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    sections.push(&format[from..]);
    sections
}

impl Section {
    fn read(format: &str) -> Result<Self, String> {
        let mut section = Self::default();
        let mut characters = format.chars().peekable();
        let (mut point, mut commas) = (false, 0);
        while let Some(character) = characters.next() {
            match character {
                '0' | '#' => {
                    let zero = character == '0';
                    if point {
                        section.after += 1;
                        if zero {
                            section.zeros_after = section.after;
                        }
                    } else {
                        section.grouped |= commas > 0 && section.before > 0;
                        commas = 0;
                        section.before += 1;
                        if zero || section.zeros_before > 0 {
                            section.zeros_before += 1;
                        }
                    }
                    section.tokens.push(Token::Digit);
                }
                '.' if !point => {
                    point = true;
                    section.tokens.push(Token::Point);
                }
                '.' => {}
                ',' if point => {}
                ',' => commas += 1,
                '%' | '‰' => {
                    section.shift += if character == '%' { 2 } else { 3 };
                    section.tokens.push(Token::Literal(character));
                }
                '\'' | '"' => {
                    section
                        .tokens
                        .extend(characters.by_ref().take_while(|next| *next != character).map(Token::Literal));
                }
                '\\' => section.tokens.extend(characters.next().map(Token::Literal)),
                'E' | 'e' if matches!(characters.peek(), Some('0' | '+' | '-')) => {
                    return Err("exponents are written with the standard format `E`".to_owned());
                }
                other => section.tokens.push(Token::Literal(other)),
            }
        }
        // Commas right before the point divide by a thousand each.
        section.shift -= 3 * commas;
        Ok(section)
    }
}

fn write_section(decimal: &Decimal, section: &Section) -> String {
    let mut decimal = decimal.clone();
    decimal.shift(section.shift);
    decimal.integer = decimal.integer.trim_start_matches('0').to_owned();
    decimal.round(section.after);
    while decimal.fraction.len() > section.zeros_after && decimal.fraction.ends_with('0') {
        decimal.fraction.pop();
    }
    let integer = format!("{:0>width$}", decimal.integer, width = section.zeros_before);
    let mut fraction = decimal.fraction.chars();
    let mut written = String::new();
    let (mut place, mut at, mut point) = (0, 0, false);
    for token in &section.tokens {
        match token {
            Token::Literal(character) => written.push(*character),
            Token::Point => {
                point = true;
                if !decimal.fraction.is_empty() {
                    written.push('.');
                }
            }
            Token::Digit if point => written.extend(fraction.next()),
            Token::Digit => {
                place += 1;
                // The first place takes all digits that have no place of their own.
                let until = (integer.len() + place).saturating_sub(section.before);
                while at < until {
                    written.push_str(&integer[at..=at]);
                    at += 1;
                    if section.grouped && at < integer.len() && (integer.len() - at).is_multiple_of(3) {
                        written.push(',');
                    }
                }
            }
        }
    }
    written
}
