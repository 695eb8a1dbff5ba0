//! The program on free ports in front of a folder of its own, and an HTTP client that shows what is on the wire.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// Long enough that only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        pause(Duration::from_millis(2));
    }
}

#[expect(clippy::disallowed_methods, reason = "another process cannot be waited for in any other way")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// A configuration folder.
pub(crate) struct Folder(pub(crate) TempDir);

/// One API in front of the sample backend, which is there as `/v1`.
pub(crate) const SAMPLE_API: &str = r#"
[api]
name = "sample"
path = "/sample"
backend = "sample"
[[operation]]
name = "Any"
match = "* /{*rest}"
"#;

pub(crate) const SAMPLE_BACKEND: &str = "[backends.sample]\nurl = \"sample:/v1\"\n";

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    /// The sample backend behind one API that passes everything on, and more text for `gateway.toml`.
    pub(crate) fn sample(gateway: &str) -> Self {
        Self::new(&[("gateway.toml", &format!("{gateway}\n{SAMPLE_BACKEND}")), ("sample.toml", SAMPLE_API)])
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// As editors save and as deployment tools do: a new file takes the old one's place.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        self.write(".new", text);
        fs::rename(self.path().join(".new"), self.path().join(name)).unwrap();
    }
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sluicegate"))
}

/// The running program.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    stderr: Arc<Mutex<String>>,
    stdout: PathBuf,
    _files: TempDir,
}

impl Gateway {
    pub(crate) fn run(folder: &Path) -> Self {
        Self::spawn(program().arg("run").arg(folder).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]))
    }

    /// Starts the program and waits until it tells its addresses.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let files = tempfile::tempdir().unwrap();
        let stdout = files.path().join("stdout");
        let mut child = command.stdout(fs::File::create(&stdout).unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr: Arc<Mutex<String>> = Arc::default();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let own = stderr.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                own.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let address = |what: &str| {
            eventually(what, || {
                let text = stderr.lock().unwrap();
                let line = text.split_inclusive('\n').find(|line| line.trim_start().starts_with(what))?;
                line.trim_end().rsplit_once("://")?.1.parse().ok()
            })
        };
        let (address, admin) = (address("gateway "), address("admin "));
        Self { address, admin, child, stderr, stdout, _files: files }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Client::new(self.address).get(path).unwrap()
    }

    pub(crate) fn admin(&self, path: &str) -> Answer {
        Client::new(self.admin).get(path).unwrap()
    }

    pub(crate) fn ready(&self) -> (u16, Json) {
        let answer = self.admin("/readyz");
        (answer.status, answer.json())
    }

    /// The value of one series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let answer = self.admin("/metrics");
        let line = answer.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the end of the program", || child.try_wait().unwrap())
    }

    /// What the program has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The access log so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Waits for a text on standard error.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        eventually(&format!("`{text}` in the log"), || self.stderr().contains(text).then_some(()));
    }

    /// The lines of the access log, once there are so many.
    #[track_caller]
    pub(crate) fn access_log(&self, lines: usize) -> Vec<Json> {
        let all = eventually("access-log lines", || {
            let text = fs::read_to_string(&self.stdout).unwrap();
            // The last one may be half written.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            let text = text[..whole].to_owned();
            (text.lines().count() >= lines).then_some(text)
        });
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as it was on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of the announced body came.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// `None` when the connection ended before the answer's head.
    pub(crate) fn get(&mut self, path: &str) -> Option<Answer> {
        self.request("GET", path, "")
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, fields: &str) -> Option<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: gateway.example\r\n{fields}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        self.answer()
    }

    /// Whether the gateway closes the connection by itself, within the patience of a read.
    pub(crate) fn closed(&mut self) -> bool {
        self.0.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    /// A request with a body.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Option<Answer> {
        let fields = format!("{fields}content-length: {}\r\n", body.len());
        let request = format!("{method} {path} HTTP/1.1\r\nHost: gateway.example\r\n{fields}\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let mut answer = Answer { status, fields, body: Vec::new(), complete: true };
        if let Some(length) = answer.field("content-length").map(|length| length.parse::<u64>().unwrap()) {
            let read = self.0.by_ref().take(length).read_to_end(&mut answer.body);
            answer.complete = read.is_ok() && answer.body.len() as u64 == length;
        } else if answer.field("transfer-encoding").is_some() {
            answer.complete = self.chunks(&mut answer.body).is_some();
        }
        Some(answer)
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            let size = u64::from_str_radix(line.trim_end(), 16).ok()?;
            let read = self.0.by_ref().take(size + 2).read_to_end(body).ok()?;
            if (read as u64) < size + 2 {
                return None;
            }
            body.truncate(body.len() - 2);
            if size == 0 {
                return Some(());
            }
        }
    }
}

/// A backend that does what a test wants with each connection.
pub(crate) fn backend(script: impl Fn(&mut BufReader<TcpStream>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            script(&mut stream);
        }
    });
    address
}

/// Reads a request's head, and its body where it has a length.
pub(crate) fn read_head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while stream.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let length = head.lines().filter_map(|line| line.split_once(": "));
    let length =
        length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).find_map(|(_, it)| it.parse().ok());
    let _ = stream.read_exact(&mut vec![0; length.unwrap_or(0)]);
    head
}
