//! HTTP/1.1 as it is on the wire, read and written without a library that would hide something.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Long enough that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One message as it was on the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    /// Names in lower case, in the order they came.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields_of(name).next()
    }

    pub(crate) fn fields_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
    }
}

/// A connection, from either side.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A peer that has gone is what some tests are about.
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Waits until the other side closes.
    pub(crate) fn wait_for_close(&mut self) {
        let _ = self.0.read_to_end(&mut Vec::new());
    }

    /// What comes until this text, which is in it.
    #[track_caller]
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(text.as_bytes()) {
            self.0.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        String::from_utf8(seen).unwrap()
    }

    /// What comes until the other side closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// A request; `None` when the other side closes before its end.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        self.body(&mut message)?;
        Some(message)
    }

    /// The response to a request with this method; `None` when the other side closes before its end.
    pub(crate) fn response(&mut self, method: &str) -> Option<Message> {
        let mut message = self.head()?;
        if method != "HEAD" && !matches!(message.status(), 204 | 304) {
            self.body(&mut message)?;
        }
        Some(message)
    }

    fn head(&mut self) -> Option<Message> {
        let first_line = self.line()?;
        let mut message = Message { first_line, ..Message::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(message);
            }
            let (name, value) = line.split_once(':')?;
            message.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).ok()?;
        let line = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    fn body(&mut self, message: &mut Message) -> Option<()> {
        if message.field("transfer-encoding").is_some() {
            loop {
                let length = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
                let mut chunk = vec![0; length + 2];
                self.0.read_exact(&mut chunk).ok()?;
                message.body.extend_from_slice(&chunk[..length]);
                if length == 0 {
                    return Some(());
                }
            }
        } else if let Some(length) = message.field("content-length") {
            message.body = vec![0; length.parse().ok()?];
            self.0.read_exact(&mut message.body).ok()?;
        }
        Some(())
    }
}
