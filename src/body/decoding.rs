//! Takes the content coding off a body that passes in pieces (RFC 9110 §8.4), for who reads it along.

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use smallvec::SmallVec;

use super::coding::{Coding, codings, is_zlib};

/// Writes what a body is without its coding into `W`, as soon as it is known. What it holds is fixed: a window of at most 32 KiB, and of
/// up to 16 MiB with `br`, whose window the sender chooses.
pub struct Decoder<W: Write> {
    chain: Chain<W>,
    broken: bool,
}

enum Chain<W: Write> {
    Plain(W),
    Gzip(MultiGzDecoder<Bounded<W>>),
    Deflate(Deflate<W>),
    Brotli(Box<DecompressorWriter<Bounded<W>>>),
}

impl<W: Write> Decoder<W> {
    /// For a body with these headers. A few bytes can stand for very many, so that no more than `most` are written of one with a
    /// coding; it counts as broken then. None when it has a coding that cannot be read, or several.
    pub fn new(headers: &HeaderMap, inner: W, most: u64) -> Option<Self> {
        let codings = codings(headers)?;
        let bounded = |inner| Bounded { inner, left: most };
        let chain = match codings[..] {
            [] => Chain::Plain(inner),
            [Coding::Gzip] => Chain::Gzip(MultiGzDecoder::new(bounded(inner))),
            [Coding::Deflate] => Chain::Deflate(Deflate::new(bounded(inner))),
            [Coding::Brotli] => Chain::Brotli(Box::new(DecompressorWriter::new(bounded(inner), 4096))),
            _ => return None,
        };
        Some(Self { chain, broken: false })
    }

    /// The next piece. What follows something that is not in the coding is passed over.
    pub fn read(&mut self, bytes: &[u8]) {
        if !self.broken && !bytes.is_empty() {
            self.broken = self.chain.write(bytes).is_err();
        }
    }

    /// Whether something was not in the coding, or was too much.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// For a body without a coding.
    pub fn plain(inner: W) -> Self {
        Self { chain: Chain::Plain(inner), broken: false }
    }

    /// Who is written to.
    pub fn get_ref(&self) -> &W {
        match &self.chain {
            Chain::Plain(inner) => inner,
            Chain::Gzip(decoder) => &decoder.get_ref().inner,
            Chain::Deflate(decoder) => &decoder.inner.inner,
            Chain::Brotli(decoder) => &decoder.get_ref().inner,
        }
    }
}

impl<W: Write> Chain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Flushed, so that what can be known by now is.
        fn through(decoder: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
            decoder.write_all(bytes)?;
            decoder.flush()
        }
        match self {
            Self::Plain(inner) => inner.write_all(bytes),
            Self::Gzip(decoder) => through(decoder, bytes),
            Self::Deflate(decoder) => decoder.write(bytes),
            Self::Brotli(decoder) => through(&mut **decoder, bytes),
        }
    }
}

/// `deflate`: the zlib format, or what is inside it alone. The first two bytes say which.
struct Deflate<W> {
    first: Option<u8>,
    decompress: Option<Decompress>,
    inner: Bounded<W>,
}

impl<W: Write> Deflate<W> {
    fn new(inner: Bounded<W>) -> Self {
        Self { first: None, decompress: None, inner }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.decompress.is_some() {
            return self.pass(bytes);
        }
        let start = self.first.into_iter().chain(bytes.iter().copied()).take(2).collect::<SmallVec<[u8; 2]>>();
        let [first, _] = start[..] else {
            self.first = start.first().copied();
            return Ok(());
        };
        self.decompress = Some(Decompress::new(is_zlib(&start)));
        if self.first.is_some() {
            self.pass(&[first])?;
        }
        self.pass(bytes)
    }

    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(decompress) = &mut self.decompress else { return Ok(()) };
        let mut buffer = [0; 4096];
        loop {
            let (read, written) = (decompress.total_in(), decompress.total_out());
            let status = decompress.decompress(bytes, &mut buffer, FlushDecompress::None)?;
            let (read, written) = (decompress.total_in() - read, decompress.total_out() - written);
            bytes = &bytes[read as usize..];
            self.inner.write_all(&buffer[..written as usize])?;
            // What follows the end is passed over.
            if status == Status::StreamEnd
                || bytes.is_empty() && (written as usize) < buffer.len()
                || read + written == 0
            {
                return Ok(());
            }
        }
    }
}

impl<W: Write> fmt::Debug for Decoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("broken", &self.broken).finish_non_exhaustive()
    }
}

/// Takes no more than so much.
struct Bounded<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if fits == 0 && !bytes.is_empty() {
            return Err(io::Error::other("it is longer than is read"));
        }
        let written = self.inner.write(&bytes[..fits])?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_ENCODING;

    use super::*;
    use crate::body::coding::samples::{TEXT, brotli, deflate, gzip, zlib};

    #[track_caller]
    fn decoder(coding: &'static str, most: u64) -> Option<Decoder<Vec<u8>>> {
        let headers: HeaderMap = [(CONTENT_ENCODING, coding.parse().unwrap())].into_iter().collect();
        Decoder::new(&headers, Vec::new(), most)
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let two = [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat();
        for (name, coding, bytes) in [
            ("plain", "identity", TEXT.to_vec()),
            ("gzip", "gzip", gzip(TEXT)),
            ("two members", "gzip", two),
            ("zlib", "deflate", zlib(TEXT)),
            ("bare deflate", "deflate", deflate(TEXT)),
            ("brotli", "br", brotli()),
        ] {
            for size in 1..=bytes.len() {
                let mut decoder = decoder(coding, TEXT.len() as u64).unwrap();
                bytes.chunks(size).for_each(|piece| decoder.read(piece));
                assert_eq!(decoder.get_ref(), TEXT, "{name}, in pieces of {size}");
                assert!(!decoder.is_broken(), "{name}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for coding in ["zstd", "gzip, br"] {
            assert!(decoder(coding, 10).is_none(), "{coding}");
        }
        let long = gzip(&vec![b'x'; 1 << 20]);
        for (name, coding, bytes, want) in [
            ("plain text", "gzip", TEXT.to_vec(), 0),
            ("plain text", "br", TEXT.to_vec(), 0),
            ("too much", "gzip", long, 100),
            ("too much", "br", brotli(), TEXT.len() - 1),
        ] {
            let mut decoder = decoder(coding, want as u64).unwrap();
            decoder.read(&bytes);
            decoder.read(&bytes);
            assert!(decoder.is_broken(), "{name} in {coding}");
            assert_eq!(decoder.get_ref().len(), want, "{name} in {coding}");
        }
        let flushed = {
            let mut decoder = decoder("gzip", 100).unwrap();
            let bytes = gzip(TEXT);
            decoder.read(&bytes[..bytes.len() - 8]);
            decoder.get_ref().len()
        };
        assert_eq!(flushed, TEXT.len(), "the end of the data does not wait for the checksum");
    }
}
