//! What the tests of the command line share: a folder to type commands in, a stand-in for the
//! processor that shows what it was given, and a server that answers with fixed bytes.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

/// Shows its arguments, its pid and what is in the file it inherited, then ends with 7.
const STAND_IN: &str = r#"#!/bin/sh
echo "pid $$"
fd=
want=
for argument in "$@"; do
    echo "argument $argument"
    if [ "$want" = yes ]; then fd=$argument; want=; fi
    if [ "$argument" = --config-fd ]; then want=yes; fi
done
echo "config $(eval "cat <&$fd")"
echo "file $(readlink "/proc/self/fd/$fd")"
exit 7
"#;

const PYTHON_RUNTIME: &str = r#"
id = "python"
names = ["python"]
extensions = [".py"]
shebangs = ["python", "python3"]
command = ["{interpreter}", "{runtime}/worker.py"]
interpreter = "python3"
interpreter_flag = "python"
max_inflight_sync = 1
"#;

/// A folder with an installation of nuclio beside it.
pub struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(desk.cwd()).unwrap();
        desk.program("../installed/processor", STAND_IN);
        desk.file("../installed/runtimes/python/runtime.toml", PYTHON_RUNTIME);
        desk
    }

    pub fn cwd(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.cwd().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn program(&self, path: &str, text: &str) -> PathBuf {
        let path = self.file(path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A command with an environment that holds nothing but what is needed.
    pub fn command(&self, words: &[&str]) -> Command {
        let installed = self.dir.path().join("installed");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuclio"));
        command
            .args(words)
            .current_dir(self.cwd())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("NUCLIO_PROCESSOR", installed.join("processor"))
            .env("NUCLIO_RUNTIMES", installed.join("runtimes"))
            .env("NUCLIO_STATE_DIR", self.state_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn typed(&self, words: &[&str]) -> Said {
        self.said(&mut self.command(words))
    }

    pub fn said(&self, command: &mut Command) -> Said {
        let output = command.output().unwrap();
        Said::of(&output, self.dir.path())
    }
}

/// What a command answered, with the folder's own path taken out.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    fn of(output: &Output, folder: &Path) -> Self {
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(folder.to_str().unwrap(), "DIR");
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Exit code and stderr, for commands that start nothing.
    pub fn refusal(&self) -> String {
        assert_eq!(self.stdout, "", "a refusal leaves stdout alone");
        format!("{}\n{}", self.code.unwrap_or(-1), self.stderr)
    }
}

/// Answers one connection with fixed bytes and gives back the request it read.
pub struct Answering {
    pub address: String,
    thread: JoinHandle<String>,
}

impl Answering {
    pub fn with(reply: impl Into<Vec<u8>>) -> Self {
        Self::by(move |stream, reply| stream.write_all(reply).unwrap_or(()), reply.into())
    }

    /// `answer` writes to the connection once the request's head and body were read.
    pub fn by(answer: impl FnOnce(&mut TcpStream, &[u8]) + Send + 'static, reply: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            answer(&mut stream, &reply);
            String::from_utf8_lossy(&request).into_owned()
        });
        Self { address, thread }
    }

    pub fn request(self) -> String {
        self.thread.join().unwrap()
    }
}

fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            let waits = head.to_lowercase().contains("expect: 100-continue");
            if waits || request.len() >= head.len() + 4 + length {
                return request;
            }
        }
        match stream.read(&mut chunk).unwrap() {
            0 => return request,
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
}
