//! Finds a request head that has both `Transfer-Encoding` and `Content-Length`.
//!
//! hyper drops the `Content-Length` of such a request before anyone sees it. That is allowed (RFC 9112 §6.3) but an attack
//! or a broken client either way, and this gateway refuses it, so the bytes are looked at as they come in.

use memchr::memmem::Finder;

/// What the bytes of the last head showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Framing {
    /// The head was not seen from its first byte: it was pipelined behind another request.
    Unseen = 0,
    /// Not both fields.
    Clear = 1,
    /// Both fields.
    Ambiguous = 2,
}

impl Framing {
    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Clear,
            2 => Self::Ambiguous,
            _ => Self::Unseen,
        }
    }
}

/// Longer heads are refused by hyper anyway; whatever is not seen counts as unseen.
const LONGEST: usize = 128 * 1024;

/// In place of an announced length: the body is chunked.
pub(crate) const CHUNKED: u64 = u64::MAX;

/// In place of an announced length: the head of that request was not seen, so where it ended is not known.
pub(crate) const UNKNOWN: u64 = u64::MAX - 1;

/// Follows the bytes of an HTTP/1.1 connection closely enough to know where a head begins.
///
/// A client that does not pipeline sends each head after the last answer, so every head begins at a read. One that does
/// pipeline makes the position doubtful, and from then on no head of the connection counts as seen.
#[derive(Debug, Default)]
pub(crate) struct HeadWatch {
    partial: Option<Vec<u8>>,
    /// Bytes read since the end of the last head.
    after: u64,
    /// The last three bytes read.
    tail: [u8; 3],
    doubtful: bool,
}

impl HeadWatch {
    /// Takes the first bytes of a head, after a request that announced `previous` bytes of body.
    pub(crate) fn begin(&mut self, bytes: &[u8], previous: u64) -> Framing {
        // What came after the last head was its body, or else the beginning of this head went by unseen.
        let aligned = match previous {
            CHUNKED => self.tail == *b"\n\r\n",
            UNKNOWN => false,
            length => self.after <= length,
        };
        self.doubtful |= !aligned;
        self.partial = None;
        self.see(bytes)
    }

    /// Takes the next bytes of a head and tells what is known so far.
    pub(crate) fn see(&mut self, bytes: &[u8]) -> Framing {
        self.remember(bytes);
        let judged = match &mut self.partial {
            None => judge(bytes),
            Some(partial) => {
                if partial.len() + bytes.len() <= LONGEST {
                    partial.extend_from_slice(bytes);
                }
                judge(partial)
            }
        };
        match judged {
            Some((framing, rest)) => {
                self.after = rest as u64;
                self.partial = None;
                if self.doubtful { Framing::Unseen } else { framing }
            }
            None => {
                self.partial.get_or_insert_with(|| bytes.to_vec());
                Framing::Unseen
            }
        }
    }

    /// Takes bytes that came while a request was in service: its body, or what follows it.
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        self.after += bytes.len() as u64;
        self.remember(bytes);
    }

    fn remember(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk::<3>() {
            self.tail = *tail;
        } else {
            self.tail.rotate_left(bytes.len());
            self.tail[3 - bytes.len()..].copy_from_slice(bytes);
        }
    }
}

/// Judges a head from its first byte to the first empty line, and counts the bytes behind that.
fn judge(bytes: &[u8]) -> Option<(Framing, usize)> {
    thread_local! {
        static END: Finder<'static> = Finder::new(b"\n\r\n");
    }
    let bytes = skip_empty_lines(bytes);
    let end = END.with(|finder| finder.find(bytes))? + 1;
    let head = &bytes[..end];
    let both = mentions_transfer(head) && has_field(head, b"transfer-encoding") && has_field(head, b"content-length");
    Some((if both { Framing::Ambiguous } else { Framing::Clear }, bytes.len() - end - 2))
}

/// hyper passes over empty lines in front of a request line (RFC 9112 §2.2), so they end no head.
fn skip_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}

/// Whether "transfer" occurs, in any case. An `f` is rare in heads, so this is mostly one sweep over the bytes.
fn mentions_transfer(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(b'f', b'F', bytes).any(|at| {
        at.checked_sub(5)
            .and_then(|start| bytes.get(start..start + 8))
            .is_some_and(|word| word.eq_ignore_ascii_case(b"transfer"))
    })
}

fn has_field(head: &[u8], name: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| {
        let line = &head[at + 1..];
        line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) && line[name.len()] == b':'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "POST / HTTP/1.1\r\nHost: a\r\ntransfer-Encoding: chunked\r\nX: y\r\nCONTENT-length: 3\r\n\r\n";

    #[test]
    fn judges_whole_heads() {
        struct Case {
            name: &'static str,
            bytes: &'static str,
            want: Framing,
        }
        for Case { name, bytes, want } in [
            Case { name: "plain", bytes: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", want: Framing::Clear },
            Case { name: "both", bytes: BOTH, want: Framing::Ambiguous },
            Case {
                name: "chunked only",
                bytes: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                want: Framing::Clear,
            },
            Case { name: "length only", bytes: "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", want: Framing::Clear },
            Case {
                name: "the words in a body do not count",
                bytes: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n\r\nContent-Length: 1\r\n",
                want: Framing::Clear,
            },
            Case {
                name: "the words in a value do not count",
                bytes: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nVary: content-length: 1\r\n\r\n",
                want: Framing::Clear,
            },
            Case {
                name: "both, behind empty lines",
                bytes: "\r\n\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                want: Framing::Ambiguous,
            },
            Case { name: "empty lines alone", bytes: "\r\n\r\n\n\r\n", want: Framing::Unseen },
            Case { name: "unfinished", bytes: "POST / HTTP/1.1\r\nTransfer-En", want: Framing::Unseen },
            Case {
                name: "bare line feeds are never judged",
                bytes: "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n",
                want: Framing::Unseen,
            },
        ] {
            assert_eq!(HeadWatch::default().see(bytes.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn judges_a_head_however_it_is_cut() {
        for cut in 1..BOTH.len() {
            let (first, second) = BOTH.as_bytes().split_at(cut);
            let mut watch = HeadWatch::default();
            assert_eq!(watch.see(first), Framing::Unseen, "{cut}");
            assert_eq!(watch.see(second), Framing::Ambiguous, "{cut}");
            assert!(watch.partial.is_none(), "{cut}");
        }
    }

    #[test]
    fn knows_where_the_next_head_begins() {
        const NEXT: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        struct Case {
            name: &'static str,
            first: &'static str,
            body: &'static [&'static str],
            announced: u64,
            want: Framing,
        }
        for Case { name, first, body, announced, want } in [
            Case { name: "no body", first: "GET / HTTP/1.1\r\n\r\n", body: &[], announced: 0, want: Framing::Clear },
            Case {
                name: "a body in the same read",
                first: "POST / HTTP/1.1\r\n\r\nabc",
                body: &[],
                announced: 3,
                want: Framing::Clear,
            },
            Case {
                name: "a body in two reads",
                first: "POST / HTTP/1.1\r\n\r\nab",
                body: &["c"],
                announced: 3,
                want: Framing::Clear,
            },
            Case {
                name: "the next head begun behind no body",
                first: "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nX: ",
                body: &[],
                announced: 0,
                want: Framing::Unseen,
            },
            Case {
                name: "the next head begun behind a body",
                first: "POST / HTTP/1.1\r\n\r\na",
                body: &["bcPOST / HTTP/1.1\r\nContent-Length: 3\r\nX: "],
                announced: 3,
                want: Framing::Unseen,
            },
            Case {
                name: "a chunked body to its end, in tiny reads",
                first: "POST / HTTP/1.1\r\n\r\n1\r\nx\r\n0",
                body: &["\r", "\n", "\r\n"],
                announced: CHUNKED,
                want: Framing::Clear,
            },
            Case {
                name: "the next head begun behind a chunked body",
                first: "POST / HTTP/1.1\r\n\r\n",
                body: &["0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n"],
                announced: CHUNKED,
                want: Framing::Unseen,
            },
        ] {
            let mut watch = HeadWatch::default();
            watch.begin(first.as_bytes(), 0);
            for bytes in body {
                watch.body(bytes.as_bytes());
            }
            assert_eq!(watch.begin(NEXT, announced), want, "{name}");
        }
    }
}
