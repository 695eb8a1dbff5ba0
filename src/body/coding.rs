//! Content codings: what a compressed body is without its compression (RFC 9110 §8.4).

use std::io::{BufRead as _, BufReader, Read};

use brotli_decompressor::Decompressor;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, HeaderMap};
use smallvec::SmallVec;

use super::BodyError;

/// The codings that can be read, as who sends another one is told (RFC 9110 §12.5.3).
pub const READABLE: &str = "gzip, deflate, br";
/// The most codings of one body. Even two are rare.
const MOST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
        }
    }
}

/// Whether a body has a coding.
pub fn is_coded(headers: &HeaderMap) -> bool {
    codings(headers).is_none_or(|codings| !codings.is_empty())
}

/// Whether a body has a coding, and it can be read.
pub fn is_readable(headers: &HeaderMap) -> bool {
    codings(headers).is_some_and(|codings| !codings.is_empty())
}

/// The codings in the order in which they were applied; none when there is one that cannot be read.
pub(super) fn codings(headers: &HeaderMap) -> Option<SmallVec<[Coding; MOST]>> {
    let mut found = SmallVec::new();
    for line in headers.get_all(CONTENT_ENCODING) {
        for name in line.to_str().ok()?.split(',').map(str::trim) {
            let coding = match name {
                "" => continue,
                name if name.eq_ignore_ascii_case("identity") => continue,
                // RFC 9110 §8.4.1.3: `x-gzip` is the same.
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Coding::Gzip,
                name if name.eq_ignore_ascii_case("deflate") => Coding::Deflate,
                name if name.eq_ignore_ascii_case("br") => Coding::Brotli,
                _ => return None,
            };
            if found.len() == MOST {
                return None;
            }
            found.push(coding);
        }
    }
    Some(found)
}

/// A body without its codings, when they can be read.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as it is known to be longer than `limit`: a few bytes can stand for very many. What is not in its coding
/// is broken.
pub fn decode(headers: &HeaderMap, bytes: &Bytes, limit: u64) -> Result<Bytes, BodyError> {
    let mut bytes = bytes.clone();
    for coding in codings(headers).unwrap_or_default().into_iter().rev() {
        bytes = match coding {
            Coding::Gzip => read(MultiGzDecoder::new(&*bytes), bytes.len(), limit),
            // The zlib format; some send what is inside it alone (RFC 9110 §8.4.1.2).
            Coding::Deflate if is_zlib(&bytes) => read(ZlibDecoder::new(&*bytes), bytes.len(), limit),
            Coding::Deflate => read(DeflateDecoder::new(&*bytes), bytes.len(), limit),
            Coding::Brotli => read(Decompressor::new(&*bytes, 4096), bytes.len(), limit),
        }?;
    }
    Ok(bytes)
}

/// The beginning of a body without its codings.
#[derive(Debug)]
pub struct Beginning {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether that is all of the body.
    pub complete: bool,
    /// The names of the codings, in the order in which they were applied.
    pub coding: String,
}

/// The first bytes of a body without its codings, at most `most`, of what may itself be no more than the beginning. None when a coding
/// cannot be read.
pub fn beginning(headers: &HeaderMap, bytes: &[u8], most: usize) -> Option<Beginning> {
    let codings = codings(headers)?;
    let coding = codings.iter().map(|coding| coding.name()).collect::<Vec<_>>().join(", ");
    let mut reader: Box<dyn Read + '_> = Box::new(bytes);
    for coding in codings.into_iter().rev() {
        let mut coded = BufReader::new(reader);
        reader = match coding {
            Coding::Gzip => Box::new(MultiGzDecoder::new(coded)),
            Coding::Deflate if coded.fill_buf().is_ok_and(is_zlib) => Box::new(ZlibDecoder::new(coded)),
            Coding::Deflate => Box::new(DeflateDecoder::new(coded)),
            Coding::Brotli => Box::new(Decompressor::new(coded, 4096)),
        };
    }
    let mut out = Vec::new();
    let read = reader.take(most as u64 + 1).read_to_end(&mut out);
    let complete = read.is_ok() && out.len() <= most;
    out.truncate(most);
    Some(Beginning { bytes: out, complete, coding })
}

/// RFC 1950 §2.2.
pub(super) fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn read(decoder: impl Read, length: usize, limit: u64) -> Result<Bytes, BodyError> {
    let expected = (length as u64).saturating_mul(4).min(limit);
    let mut out = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let read = decoder.take(limit.saturating_add(1)).read_to_end(&mut out);
    match read {
        Ok(_) if out.len() as u64 > limit => Err(BodyError::TooLarge { limit }),
        Ok(_) => Ok(out.into()),
        Err(error) => Err(BodyError::Broken(format!("it is not in its content coding: {error}").into())),
    }
}

/// A text in every coding, for tests.
#[cfg(test)]
pub(super) mod samples {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    pub(in crate::body) const TEXT: &[u8] = b"to be or not to be, to be or not to be";

    pub(in crate::body) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    pub(in crate::body) fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    pub(in crate::body) fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// `TEXT` as one block that is not compressed (RFC 7932 §9.2), in a window of 16 bits.
    pub(in crate::body) fn brotli() -> Vec<u8> {
        // WBITS 0, ISLAST 0, MNIBBLES 0 for four, MLEN - 1 in sixteen bits, ISUNCOMPRESSED 1.
        let bits = (TEXT.len() as u32 - 1) << 4 | 1 << 20;
        let mut out = bits.to_le_bytes()[..3].to_vec();
        out.extend_from_slice(TEXT);
        // ISLAST 1, ISLASTEMPTY 1.
        out.push(0b11);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{TEXT, brotli, deflate, gzip, zlib};
    use super::*;

    #[track_caller]
    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (CONTENT_ENCODING, line.parse().unwrap())).collect()
    }

    #[test]
    fn bodies_lose_their_codings() {
        let twice = [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat();
        for (name, lines, bytes) in [
            ("none", &[][..], TEXT.to_vec()),
            ("identity", &["identity"], TEXT.to_vec()),
            ("gzip", &["gzip"], gzip(TEXT)),
            ("its other name", &["X-GZIP"], gzip(TEXT)),
            ("two members", &["gzip"], twice),
            ("zlib", &["deflate"], zlib(TEXT)),
            ("bare deflate", &["deflate"], deflate(TEXT)),
            ("brotli", &["br"], brotli()),
            ("a list", &["deflate, gzip"], gzip(&zlib(TEXT))),
            ("two lines", &["br", "identity, gzip"], gzip(&brotli())),
        ] {
            let headers = headers(lines);
            let got = decode(&headers, &bytes.into(), 1 << 10).unwrap();
            assert_eq!(got, TEXT, "{name}");
            assert_eq!(is_readable(&headers), !matches!(name, "none" | "identity"), "{name}");
            assert_eq!(is_coded(&headers), is_readable(&headers), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_from_what_is_not_coded() {
        for lines in [&["zstd"][..], &["gzip, compress"], &["gzip,gzip,gzip,gzip"], &["gzip;q=1"]] {
            let headers = headers(lines);
            assert!(is_coded(&headers) && !is_readable(&headers), "{lines:?}");
        }
    }

    #[test]
    fn a_few_bytes_do_not_become_more_than_the_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 16 << 10);
        for (name, coding, bytes) in
            [("one", "gzip", bomb.clone()), ("one in another", "gzip, gzip", gzip(&bomb)), ("brotli", "br", brotli())]
        {
            let got = decode(&headers(&[coding]), &bytes.into(), TEXT.len() as u64 - 1);
            assert!(matches!(got, Err(BodyError::TooLarge { .. })), "{name}: {got:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_body_is_read_from_its_beginning() {
        let long: Vec<u8> = (0..2_000).flat_map(|number| format!("{number},").into_bytes()).collect();
        for (lines, whole) in [("gzip", gzip(&long)), ("deflate", zlib(&long)), ("deflate", deflate(&long))] {
            let headers = headers(&[lines]);
            let all = beginning(&headers, &whole, long.len()).unwrap();
            assert_eq!((all.bytes, all.complete, all.coding.as_str()), (long.clone(), true, lines));
            let cut = beginning(&headers, &whole, 100).unwrap();
            assert_eq!((&*cut.bytes, cut.complete), (&long[..100], false), "{lines}: more than is asked for");
            let part = beginning(&headers, &whole[..whole.len() / 2], long.len()).unwrap();
            assert!(!part.complete && !part.bytes.is_empty() && long.starts_with(&part.bytes), "{lines}: a part");
        }
        let twice = beginning(&headers(&["br", "gzip"]), &gzip(&brotli()), 100).unwrap();
        assert_eq!((&*twice.bytes, twice.complete, twice.coding.as_str()), (TEXT, true, "br, gzip"));
        assert!(beginning(&headers(&["zstd"]), TEXT, 100).is_none());
        let bomb = beginning(&headers(&["gzip"]), &gzip(&vec![0; 10 << 20]), 1 << 10).unwrap();
        assert_eq!((bomb.bytes.len(), bomb.complete), (1 << 10, false));
    }

    #[test]
    fn what_is_not_in_its_coding_is_broken() {
        let whole = gzip(TEXT);
        let mut changed = whole.clone();
        let middle = changed.len() - 6;
        changed[middle] ^= 1;
        for (name, coding, bytes) in [
            ("plain text", "gzip", TEXT.to_vec()),
            ("a part", "gzip", whole[..whole.len() - 1].to_vec()),
            ("another checksum", "gzip", changed),
            ("zlib", "gzip", zlib(TEXT)),
            ("a part of zlib", "deflate", zlib(TEXT)[..9].to_vec()),
            ("a part of brotli", "br", brotli()[..9].to_vec()),
        ] {
            let got = decode(&headers(&[coding]), &bytes.into(), 1 << 20);
            assert!(matches!(got, Err(BodyError::Broken(_))), "{name}: {got:?}");
        }
    }
}
