//! `coldframe run DIR`: one function's life, in a service of its own.

use std::fs;
use std::io::{Cursor, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coldframe_engine::HostRuntimes;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::arguments::Run;
use crate::client::{Client, message};
use crate::environments::happened;
use crate::instance::Instance;
use crate::out::say;
use crate::service::{Service, runtimes};

pub(crate) async fn run(options: Run, instance: Instance) -> anyhow::Result<ExitCode> {
    if !options.directory.is_dir() {
        fs::read_dir(&options.directory).with_context(|| {
            format!("cannot find the directory {}", options.directory.display())
        })?;
    }
    let event = event(&options.event)?;
    let (runtime, handler) = infer(&options, &runtimes(&instance))?;
    let package = pack(&options.directory)?;
    let variables = variables(&options.environment)?;
    let name = function_name(&options.directory)?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut service_options = options.service();
    if !options.layers.is_empty() {
        let merged = instance.data.join("layer");
        for layer in &options.layers {
            copy(layer, &merged)?;
        }
        service_options.layer = Some(merged);
    }
    let service = Service::start(instance, &service_options, listen).await?;
    let function = json!({
        "FunctionName": name,
        "Runtime": runtime,
        "Handler": handler,
        "Role": "arn:aws:iam::000000000000:role/coldframe-run",
        "Code": { "ZipFile": STANDARD.encode(package) },
        "MemorySize": options.memory,
        "Timeout": options.timeout,
        "Environment": { "Variables": variables },
    });
    let head = format!("{name}: {runtime}, handler {handler}, {} MB", options.memory);
    let told = match say!("{head}") {
        Ok(()) => tell(&service, name, &function, options.times, event).await,
        Err(error) => Err(error),
    };
    service.drain().await;
    Ok(if told? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Deploys and invokes; `false` if an invocation failed.
async fn tell(
    service: &Service,
    name: String,
    function: &Value,
    times: u32,
    event: Bytes,
) -> anyhow::Result<bool> {
    let client = Client::connect(&format!("http://{}", service.address)).await?;
    let mut session = Session { client, name, shown: 0, failed: false };
    session.deploy(function).await?;
    for number in 1..=times {
        session.invoke(number, event.clone()).await?;
    }
    Ok(!session.failed)
}

struct Session {
    client: Client,
    name: String,
    /// Moments of the environment's timeline that have been printed.
    shown: usize,
    failed: bool,
}

impl Session {
    async fn deploy(&mut self, function: &Value) -> anyhow::Result<()> {
        self.client.json(Method::POST, "/2015-03-31/functions", Some(function)).await?;
        let path = format!("/2015-03-31/functions/{}", self.name);
        loop {
            let answer = self.client.json(Method::GET, &path, None).await?;
            match answer["Configuration"]["State"].as_str() {
                Some("Active") => return Ok(()),
                Some("Pending") => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                state => bail!("the function is {}", state.unwrap_or("in no state")),
            }
        }
    }

    async fn invoke(&mut self, number: u32, event: Bytes) -> anyhow::Result<()> {
        let path = format!("/2015-03-31/functions/{}/invocations", self.name);
        let headers = [("x-amz-log-type", "Tail")];
        let response = self.client.send(Method::POST, &path, &headers, event).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.context("the answer was cut")?.to_bytes();
        if !parts.status.is_success() {
            bail!("{}", message(parts.status, &body));
        }
        say!("\ninvocation {number}")?;
        let tail = parts.headers.get("x-amz-log-result");
        let tail = tail.and_then(|tail| STANDARD.decode(tail.as_bytes()).ok()).unwrap_or_default();
        for line in String::from_utf8_lossy(&tail).lines() {
            say!("  │ {line}")?;
        }
        let arrow = if parts.headers.contains_key("x-amz-function-error") {
            self.failed = true;
            "✗"
        } else {
            "→"
        };
        say!("  {arrow} {}", String::from_utf8_lossy(&body))?;
        let happened = self.happened().await?;
        say!("  {}", happened.join(" · "))?;
        Ok(())
    }

    /// What the environment has done since the last time, once it is at rest.
    async fn happened(&mut self) -> anyhow::Result<Vec<String>> {
        loop {
            let all = self.client.json(Method::GET, "/_coldframe/environments", None).await?;
            let Some(id) = all["environments"][0]["id"].as_str() else {
                return Ok(vec!["the environment is gone".to_owned()]);
            };
            let path = format!("/_coldframe/environments/{id}");
            let shown = self.client.json(Method::GET, &path, None).await?;
            let state = shown["state"].as_str().unwrap_or_default();
            if !matches!(state, "frozen" | "needs-init" | "terminated") {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                continue;
            }
            let timeline = shown["timeline"].as_array().cloned().unwrap_or_default();
            let new = timeline.get(self.shown..).unwrap_or_default();
            let told = ["initReport", "report", "thawed", "frozen", "reset"];
            let words = new
                .iter()
                .filter(|moment| {
                    moment["event"].as_str().is_some_and(|event| told.contains(&event))
                })
                .map(happened)
                .collect();
            self.shown = timeline.len();
            return Ok(words);
        }
    }
}

fn event(given: &str) -> anyhow::Result<Bytes> {
    let text = match given.strip_prefix('@') {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read the event {file}"))?
        }
        None => given.to_owned(),
    };
    serde_json::from_str::<serde::de::IgnoredAny>(&text).context("the event is no JSON")?;
    Ok(text.into())
}

fn variables(given: &[String]) -> anyhow::Result<Value> {
    let mut variables = serde_json::Map::new();
    for variable in given {
        let Some((key, value)) = variable.split_once('=') else {
            bail!("--env wants KEY=VALUE, not {variable}");
        };
        variables.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(variables))
}

/// The directory's name, as far as a function's name may hold it.
fn function_name(directory: &Path) -> anyhow::Result<String> {
    let path = fs::canonicalize(directory)
        .with_context(|| format!("cannot find the directory {}", directory.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(64)
        .collect();
    Ok(if name.is_empty() { "function".to_owned() } else { name })
}

/// Runtime and handler, from the flags or else from what lies in the directory.
fn infer(options: &Run, host: &HostRuntimes) -> anyhow::Result<(String, String)> {
    let has = |file: &str| options.directory.join(file).is_file();
    let newest = |language: &str| -> anyhow::Result<String> {
        let number = |name: &str| -> u32 {
            let digits = name.trim_end_matches(".x").rsplit(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
        };
        let found = host.list().into_iter().map(|found| found.name);
        found
            .filter(|name| name.starts_with(language))
            .max_by_key(|name| number(name))
            .with_context(|| {
                format!("no interpreter for {language} was found: see `coldframe doctor`")
            })
    };
    let (runtime, handler): (Box<dyn Fn() -> anyhow::Result<String>>, &str) = if has("bootstrap") {
        (Box::new(|| Ok("provided.al2023".to_owned())), "bootstrap")
    } else if has("app.py") {
        (Box::new(|| newest("python")), "app.handler")
    } else if has("lambda_function.py") {
        (Box::new(|| newest("python")), "lambda_function.lambda_handler")
    } else if has("index.js") || has("index.mjs") || has("index.cjs") {
        (Box::new(|| newest("nodejs")), "index.handler")
    } else if let (Some(runtime), Some(handler)) = (&options.runtime, &options.handler) {
        return Ok((runtime.clone(), handler.clone()));
    } else {
        bail!(
            "{} has no app.py, lambda_function.py, index.js, index.mjs or bootstrap: give --runtime and --handler",
            options.directory.display()
        );
    };
    let runtime = options.runtime.clone().map_or_else(runtime, Ok)?;
    Ok((runtime, options.handler.clone().unwrap_or_else(|| handler.to_owned())))
}

/// The directory as a zip, with modes and links.
fn pack(directory: &Path) -> anyhow::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut todo: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let path = directory.join(&below);
        let entries =
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
            let (name, kind) = (below.join(entry.file_name()), entry.file_type()?);
            let Some(text) = name.to_str() else {
                bail!("{} has a name that is not UTF-8", entry.path().display());
            };
            let mode = shared_mode(&entry.metadata()?);
            let options = SimpleFileOptions::default().unix_permissions(mode);
            if kind.is_dir() {
                if entry.file_name() != ".git" {
                    writer.add_directory(text, options)?;
                    todo.push(name);
                }
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                writer.add_symlink(text, target.to_string_lossy(), options)?;
            } else if kind.is_file() {
                writer.start_file(text, options)?;
                let bytes = fs::read(entry.path())
                    .with_context(|| format!("cannot read {}", entry.path().display()))?;
                writer.write_all(&bytes)?;
            }
        }
    }
    Ok(writer.finish().context("cannot pack the directory")?.into_inner())
}

/// Functions run as another user: what the owner may read or run, they may.
fn shared_mode(of: &fs::Metadata) -> u32 {
    let mode = of.permissions().mode() & 0o777;
    mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6
}

/// Lays a directory's content over another's.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot take the layer {}", from.display());
    fs::create_dir_all(to).with_context(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_dir() {
            copy(&source, &target)?;
            continue;
        }
        // Of an earlier layer.
        let _ = fs::remove_file(&target);
        if kind.is_symlink() {
            let points_to = fs::read_link(&source).with_context(failed)?;
            std::os::unix::fs::symlink(points_to, &target).with_context(failed)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).with_context(failed)?;
            let mode = shared_mode(&entry.metadata().with_context(failed)?);
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).with_context(failed)?;
        }
    }
    Ok(())
}
