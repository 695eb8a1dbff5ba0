//! Points in time as .NET reads and writes them (learn.microsoft.com, "Standard date and time format strings" and "Custom
//! date and time format strings").

use std::fmt::Write;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::Offset;

/// A date and time that is in UTC, or in no stated time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) civil: DateTime,
    pub(crate) utc: bool,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The format of a timestamp where none is asked for.
pub(in crate::expression) const ROUND_TRIP: &str = "o";

/// Reads ISO 8601, HTTP dates (RFC 9110 §5.6.7) and the American `3/15/2018 1:30 PM`. A moment with an offset becomes UTC.
pub(in crate::expression) fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    if let Ok(pieces) = Pieces::parse(text)
        && pieces.time_zone_annotation().is_none()
    {
        let civil = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
        return match pieces.offset() {
            None => Some(Moment { civil, utc: false }),
            Some(PiecesOffset::Numeric(numeric)) => to_utc(civil, numeric.offset()),
            Some(_) => Some(Moment { civil, utc: true }),
        };
    }
    if let Ok(zoned) = jiff::fmt::rfc2822::parse(text) {
        return to_utc(zoned.datetime(), zoned.offset());
    }
    ["M/d/yyyy", "M/d/yyyy H:mm", "M/d/yyyy H:mm:ss", "M/d/yyyy h:mm tt", "M/d/yyyy h:mm:ss tt"]
        .into_iter()
        .find_map(|format| parse_exact(text, format))
}

fn to_utc(civil: DateTime, offset: Offset) -> Option<Moment> {
    let civil = Offset::UTC.to_datetime(offset.to_timestamp(civil).ok()?);
    Some(Moment { civil, utc: true })
}

/// A field of a format, as a letter and how often it is written, or text.
enum Token {
    Field(char, usize),
    Literal(String),
}

/// The custom format a standard one stands for.
fn pattern(format: &str) -> Result<&str, String> {
    let mut characters = format.chars();
    let (Some(letter), None) = (characters.next(), characters.next()) else {
        return Ok(if format.is_empty() { "M/d/yyyy h:mm:ss tt" } else { format });
    };
    Ok(match letter {
        'd' => "M/d/yyyy",
        'D' => "dddd, MMMM d, yyyy",
        'f' => "dddd, MMMM d, yyyy h:mm tt",
        'F' | 'U' => "dddd, MMMM d, yyyy h:mm:ss tt",
        'g' => "M/d/yyyy h:mm tt",
        'G' => "M/d/yyyy h:mm:ss tt",
        'm' | 'M' => "MMMM d",
        'o' | 'O' => "yyyy-MM-ddTHH:mm:ss.fffffffK",
        'r' | 'R' => "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
        's' => "yyyy-MM-ddTHH:mm:ss",
        't' => "h:mm tt",
        'T' => "h:mm:ss tt",
        'u' => "yyyy-MM-dd HH:mm:ss'Z'",
        'y' | 'Y' => "MMMM yyyy",
        _ => return Err(format!("there is no date format `{letter}`")),
    })
}

fn tokens(format: &str) -> Result<Vec<Token>, String> {
    super::check_length(format)?;
    let mut tokens = Vec::new();
    let mut characters = pattern(format)?.chars().peekable();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            'd' | 'f' | 'F' | 'g' | 'h' | 'H' | 'K' | 'm' | 'M' | 's' | 't' | 'y' | 'z' => {
                let mut count = 1;
                while character != 'K' && characters.next_if_eq(&character).is_some() {
                    count += 1;
                }
                Token::Field(character, count)
            }
            '\'' | '"' => {
                let mut text = String::new();
                loop {
                    match characters.next() {
                        Some(next) if next == character => break Token::Literal(text),
                        Some('\\') => text.extend(characters.next()),
                        Some(next) => text.push(next),
                        None => return Err("a quote in the date format is never closed".to_owned()),
                    }
                }
            }
            '%' => continue,
            '\\' => Token::Literal(characters.next().ok_or("the date format ends with `\\`")?.to_string()),
            other => Token::Literal(other.to_string()),
        });
    }
    Ok(tokens)
}

/// Writes a moment in a standard (`R`) or custom (`yyyy-MM-dd`) format.
pub(crate) fn format(moment: Moment, format: &str) -> Result<String, String> {
    let civil = moment.civil;
    let mut text = String::with_capacity(32);
    for token in tokens(format)? {
        let (letter, count) = match token {
            Token::Literal(literal) => {
                text.push_str(&literal);
                continue;
            }
            Token::Field(letter, count) => (letter, count),
        };
        let hour = match civil.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let written = match (letter, count) {
            ('d', 1 | 2) => number(&mut text, civil.day().into(), count),
            ('d', 3) => text.write_str(&DAYS[weekday(civil)][..3]),
            ('d', _) => text.write_str(DAYS[weekday(civil)]),
            ('f' | 'F', 8..) => return Err("a second has at most 7 digits after the point".to_owned()),
            ('f', _) => text.write_str(&fraction(civil, count)),
            ('F', _) => {
                let digits = fraction(civil, count);
                let digits = digits.trim_end_matches('0');
                if digits.is_empty() && text.ends_with('.') {
                    text.pop();
                }
                text.write_str(digits)
            }
            ('g', _) => text.write_str("A.D."),
            ('h', _) => number(&mut text, hour.into(), count.min(2)),
            ('H', _) => number(&mut text, civil.hour().into(), count.min(2)),
            ('K', _) => text.write_str(if moment.utc { "Z" } else { "" }),
            ('m', _) => number(&mut text, civil.minute().into(), count.min(2)),
            ('M', 1 | 2) => number(&mut text, civil.month().into(), count),
            ('M', 3) => text.write_str(&MONTHS[month(civil)][..3]),
            ('M', _) => text.write_str(MONTHS[month(civil)]),
            ('s', _) => number(&mut text, civil.second().into(), count.min(2)),
            ('t', 1) => text.write_str(if civil.hour() < 12 { "A" } else { "P" }),
            ('t', _) => text.write_str(if civil.hour() < 12 { "AM" } else { "PM" }),
            ('y', 1 | 2) => number(&mut text, (civil.year() % 100).into(), count),
            ('y', _) => number(&mut text, civil.year().into(), count),
            // What has no time zone is taken for UTC, the gateway's own.
            ('z', 1) => text.write_str("+0"),
            ('z', 2) => text.write_str("+00"),
            _ => text.write_str("+00:00"),
        };
        written.map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn number(text: &mut String, number: i32, width: usize) -> std::fmt::Result {
    write!(text, "{number:0width$}")
}

fn fraction(civil: DateTime, count: usize) -> String {
    let mut digits = format!("{:09}", civil.subsec_nanosecond());
    digits.truncate(count);
    digits
}

fn month(civil: DateTime) -> usize {
    usize::try_from(civil.month() - 1).unwrap_or(0)
}

/// The day of the week from Sunday, which is 0.
pub(in crate::expression) fn weekday(civil: DateTime) -> usize {
    usize::try_from(civil.weekday().to_sunday_zero_offset()).unwrap_or(0)
}

/// Reads a text that is written exactly in a format; `None` where it is not, or the format is none.
pub(crate) fn parse_exact(text: &str, format: &str) -> Option<Moment> {
    let mut rest = text;
    let (mut year, mut month, mut day) = (1_i16, 1_i8, 1_i8);
    let (mut hour, mut minute, mut second, mut nanosecond) = (0_i8, 0_i8, 0_i8, 0_i32);
    let (mut afternoon, mut offset) = (None, None);
    for token in tokens(format).ok()? {
        let (letter, count) = match token {
            Token::Literal(literal) => {
                rest = rest.strip_prefix(literal.as_str())?;
                continue;
            }
            Token::Field(letter, count) => (letter, count),
        };
        let two = |rest: &mut &str| digits(rest, count.min(2), 2).and_then(|(number, _)| i8::try_from(number).ok());
        match (letter, count) {
            ('d', 1 | 2) => day = two(&mut rest)?,
            ('d', 3) => drop(name(&mut rest, &DAYS, true)?),
            ('d', _) => drop(name(&mut rest, &DAYS, false)?),
            ('f', _) => nanosecond = nanoseconds(digits(&mut rest, count, count)?)?,
            ('F', _) => nanosecond = digits(&mut rest, 1, count).map_or(Some(0), nanoseconds)?,
            ('h' | 'H', _) => hour = two(&mut rest)?,
            ('m', _) => minute = two(&mut rest)?,
            ('M', 1 | 2) => month = two(&mut rest)?,
            ('M', _) => month = i8::try_from(name(&mut rest, &MONTHS, count == 3)? + 1).ok()?,
            ('s', _) => second = two(&mut rest)?,
            ('t', _) => {
                let mark = rest.get(..count.min(2))?;
                afternoon = Some(mark.starts_with(['p', 'P']));
                if !mark.starts_with(['a', 'A', 'p', 'P']) {
                    return None;
                }
                rest = &rest[mark.len()..];
            }
            // .NET's window for two digits ends in 2049.
            ('y', 1 | 2) => {
                let short = i16::try_from(digits(&mut rest, count, 2)?.0).ok()?;
                year = short + if short < 50 { 2000 } else { 1900 };
            }
            ('y', _) => year = i16::try_from(digits(&mut rest, count.min(4), 4)?.0).ok()?,
            ('K', _) if rest.is_empty() => {}
            ('K' | 'z', _) => offset = Some(read_offset(&mut rest)?),
            _ => return None,
        }
    }
    match afternoon {
        Some(true) if hour < 12 => hour += 12,
        Some(false) if hour == 12 => hour = 0,
        _ => {}
    }
    if !rest.is_empty() {
        return None;
    }
    let civil = Date::new(year, month, day).ok()?.to_datetime(Time::new(hour, minute, second, nanosecond).ok()?);
    offset.map_or(Some(Moment { civil, utc: false }), |offset| to_utc(civil, offset))
}

/// Takes between `least` and `most` digits; how many there were comes with the number.
fn digits(rest: &mut &str, least: usize, most: usize) -> Option<(u32, usize)> {
    let length = rest.bytes().take(most.min(9)).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    let number = rest[..length].parse().ok()?;
    *rest = &rest[length..];
    Some((number, length))
}

fn nanoseconds((number, length): (u32, usize)) -> Option<i32> {
    let scale = 10_u32.checked_pow(u32::try_from(9_usize.checked_sub(length)?).ok()?)?;
    i32::try_from(number.checked_mul(scale)?).ok()
}

fn name(rest: &mut &str, names: &[&str], short: bool) -> Option<usize> {
    let (index, length) = names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { &name[..3] } else { name };
        rest.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).map(|start| (index, start.len()))
    })?;
    *rest = &rest[length..];
    Some(index)
}

fn read_offset(rest: &mut &str) -> Option<Offset> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some(Offset::UTC);
    }
    let sign = match rest.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let (hours, _) = digits(rest, 1, 2)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = digits(rest, 2, 2).map_or(0, |(minutes, _)| minutes);
    Offset::from_seconds(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?).ok()
}
