//! A Redis server of the test's own, on a free port, without files.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
    /// Where it writes what it must.
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server with more arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let mut server = Self { port: free_port(), arguments, child: None, folder: tempfile::tempdir().unwrap() };
        server.restart();
        server
    }

    /// A cluster of three servers that has all slots.
    pub(crate) fn cluster() -> [Self; 3] {
        let servers = [(); 3].map(|()| {
            let port = free_port().to_string();
            Self::start(&["--cluster-enabled", "yes", "--cluster-port", &port])
        });
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let created =
            Command::new("redis-cli").args(["--cluster", "create"]).args(addresses).arg("--cluster-yes").output();
        let created = created.expect("redis-cli; tests/run installs it");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let began = Instant::now();
        for server in &servers {
            while !server.command("CLUSTER INFO\r\n").is_some_and(|info| info.contains("cluster_state:ok")) {
                assert!(began.elapsed() < PATIENCE, "the cluster does not come about");
                std::thread::yield_now();
            }
        }
        servers
    }

    /// A Sentinel that watches a server under the name `gate` and alone decides that it is down.
    pub(crate) fn sentinel(watched: u16) -> Self {
        let mut server =
            Self { port: free_port(), arguments: Vec::new(), child: None, folder: tempfile::tempdir().unwrap() };
        let file = server.folder.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor gate 127.0.0.1 {watched} 1\nsentinel down-after-milliseconds gate 300\n\
             sentinel failover-timeout gate 2000\n"
        );
        std::fs::write(&file, text).unwrap();
        server.arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        server.restart();
        let began = Instant::now();
        while !server.command("SENTINEL REPLICAS gate\r\n").is_some_and(|list| list.starts_with("*1")) {
            assert!(began.elapsed() < PATIENCE, "the Sentinel does not find the replica");
            std::thread::yield_now();
        }
        server
    }

    /// The number of its process.
    #[allow(dead_code, reason = "not every test ends a server by a command")]
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        // A configuration file comes first.
        command.args(&self.arguments).args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"]);
        command.arg(self.folder.path());
        if !self.arguments.iter().any(|argument| argument == "--sentinel") {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server; tests/run installs it");
        self.child = Some(child);
        let began = Instant::now();
        while self.command("PING\r\n").is_none_or(|answer| answer.contains("LOADING")) {
            assert!(began.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::yield_now();
        }
    }

    /// Sends an inline command on a connection of its own; what comes back first.
    pub(crate) fn command(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(line.as_bytes()).ok()?;
        let mut answer = [0; 65536];
        let read = stream.read(&mut answer).ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&answer[..read]).into_owned())
    }
}

/// Free a moment ago; another process would have to take it just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
