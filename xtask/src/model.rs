//! `cargo xtask model [SOURCE] [OUTPUT]`: the facts of the Lambda service API, from botocore's
//! model of it.
//!
//! ```text
//! service-2.json.gz --trim--> facts.json     operations, shapes, errors; no documentation
//! ```
//!
//! `SOURCE` is a botocore wheel, or a `service-2.json[.gz]` inside an unpacked botocore. Without
//! it, or with `-`, pip downloads the newest botocore. The output is sorted and has one entry a
//! line, so a new model is a readable diff.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

const OUTPUT: &str = "crates/coldframe-api/src/model/facts.json";
const MEMBER: &str = "botocore/data/lambda/2015-03-31/service-2.json.gz";

/// Entry point of the task; `arguments` are those after `model`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let source = arguments.first().map(String::as_str).filter(|&argument| argument != "-");
    let output = arguments.get(1).map_or(OUTPUT, String::as_str);
    let (version, service) = match source {
        Some(path) => read(Path::new(path))?,
        None => download()?,
    };
    let facts = trim(&version, &service)?;
    fs::write(output, &facts).with_context(|| format!("cannot write `{output}`"))?;
    println!("{output}: botocore {version}, {} bytes", facts.len());
    Ok(())
}

/// Where a download lies until it is read. Dropping it removes the folder.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is a file in the temporary folder; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn download() -> Result<(String, Value)> {
    let folder =
        Folder(std::env::temp_dir().join(format!("coldframe-model-{}", std::process::id())));
    fs::create_dir_all(&folder.0).context("cannot create a temporary folder")?;
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&folder.0)
        .arg("botocore")
        .status()
        .context("cannot run `python3 -m pip`")?;
    if !status.success() {
        bail!("`pip download botocore` ended with {status}");
    }
    for entry in fs::read_dir(&folder.0)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return read_wheel(&path);
        }
    }
    bail!("`pip download botocore` left no wheel")
}

fn read(path: &Path) -> Result<(String, Value)> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("whl") => read_wheel(path),
        Some("gz") => Ok((version_beside(path)?, gunzip(File::open(path)?)?)),
        _ => Ok((version_beside(path)?, serde_json::from_reader(File::open(path)?)?)),
    }
}

fn read_wheel(path: &Path) -> Result<(String, Value)> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // PEP 427: distribution-version-tags.whl, and no part holds a `-`.
    let version = name
        .split('-')
        .nth(1)
        .with_context(|| format!("`{name}` is no name of a wheel"))?
        .to_owned();
    let mut archive = zip::ZipArchive::new(File::open(path)?)
        .with_context(|| format!("`{name}` is no zip archive"))?;
    let member = archive.by_name(MEMBER).with_context(|| format!("`{name}` has no `{MEMBER}`"))?;
    Ok((version, gunzip(member)?))
}

fn gunzip(reader: impl Read) -> Result<Value> {
    serde_json::from_reader(std::io::BufReader::new(GzDecoder::new(reader)))
        .context("the model is not gzipped JSON")
}

/// The version in the `__init__.py` of the botocore that `path` is a part of.
fn version_beside(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot find `{}`", path.display()))?;
    let root = path.ancestors().nth(4).context("the model lies in no botocore")?;
    let init =
        fs::read_to_string(root.join("__init__.py")).context("the model lies in no botocore")?;
    let version = init
        .lines()
        .find_map(|line| line.strip_prefix("__version__ = "))
        .context("botocore has no version")?;
    Ok(version.trim_matches(['\'', '"']).to_owned())
}

fn trim(version: &str, service: &Value) -> Result<String> {
    let shapes = object(service, "shapes")?;
    let mut reached = BTreeSet::new();
    let mut errors = BTreeMap::new();
    let mut operations = BTreeMap::new();
    for (name, operation) in object(service, "operations")? {
        operations.insert(name.as_str(), trim_operation(operation)?);
        for end in ["input", "output"] {
            if let Some(shape) = operation[end]["shape"].as_str() {
                reach(shapes, shape, &mut reached)?;
            }
        }
    }
    for (name, shape) in shapes {
        if shape["exception"] == true {
            errors.insert(name.as_str(), trim_error(name, shape)?);
            for member in object(shape, "members")?.values() {
                reach(
                    shapes,
                    member["shape"].as_str().context("a member has no shape")?,
                    &mut reached,
                )?;
            }
        }
    }
    let mut kept = BTreeMap::new();
    for name in reached {
        kept.insert(name, trim_shape(&shapes[name])?);
    }
    let source = json!(format!("botocore {version}, lambda 2015-03-31"));
    let mut text = format!("{{\n\"source\":{source},\n");
    section(&mut text, "operations", &operations, ",\n");
    section(&mut text, "shapes", &kept, ",\n");
    section(&mut text, "errors", &errors, "\n");
    text.push_str("}\n");
    Ok(text)
}

fn section(text: &mut String, title: &str, entries: &BTreeMap<&str, Value>, end: &str) {
    let _ = writeln!(text, "\"{title}\":{{");
    for (index, (name, entry)) in entries.iter().enumerate() {
        let comma = if index + 1 < entries.len() { "," } else { "" };
        // Names are identifiers: nothing to escape. Writing to a string does not fail.
        let _ = writeln!(text, "\"{name}\":{entry}{comma}");
    }
    let _ = write!(text, "}}{end}");
}

fn trim_operation(operation: &Value) -> Result<Value> {
    let http = &operation["http"];
    let mut kept = BTreeMap::from([
        ("method", http["method"].clone()),
        ("uri", http["requestUri"].clone()),
        ("status", http.get("responseCode").cloned().unwrap_or(json!(200))),
    ]);
    for end in ["input", "output"] {
        if let Some(shape) = operation[end].get("shape") {
            kept.insert(end, shape.clone());
        }
    }
    let mut errors: Vec<&str> = operation["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["shape"].as_str())
        .collect();
    errors.sort_unstable();
    if !errors.is_empty() {
        kept.insert("errors", json!(errors));
    }
    Ok(collected(kept))
}

fn trim_error(name: &str, shape: &Value) -> Result<Value> {
    let members = object(shape, "members")?;
    let message = ["message", "Message"].into_iter().find(|&member| members.contains_key(member));
    Ok(collected(BTreeMap::from([
        ("status", shape["error"]["httpStatusCode"].clone()),
        ("message", json!(message.with_context(|| format!("error `{name}` has no message"))?)),
        ("members", trim_members(shape)?),
    ])))
}

fn trim_shape(shape: &Value) -> Result<Value> {
    let mut kept = BTreeMap::from([("type", shape["type"].clone())]);
    for fact in ["pattern", "min", "max", "enum", "sensitive", "timestampFormat"] {
        if let Some(value) = shape.get(fact) {
            kept.insert(fact, value.clone());
        }
    }
    for part in ["member", "key", "value"] {
        if let Some(target) = shape[part].get("shape") {
            kept.insert(part, target.clone());
        }
    }
    if shape["type"] == "structure" {
        kept.insert("members", trim_members(shape)?);
    }
    Ok(collected(kept))
}

/// A plain optional member of the body is its shape's name alone; every other is an object.
fn trim_members(shape: &Value) -> Result<Value> {
    let required: Vec<&str> =
        shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut kept = BTreeMap::new();
    for (name, member) in object(shape, "members")? {
        let mut facts = BTreeMap::new();
        if required.contains(&name.as_str()) {
            facts.insert("required", json!(true));
        }
        if let Some(location) = member.get("location") {
            facts.insert("in", location.clone());
        } else if shape["payload"] == name.as_str() {
            facts.insert("in", json!("payload"));
        }
        if let Some(wire) = member.get("locationName").filter(|&wire| wire != name.as_str()) {
            facts.insert("as", wire.clone());
        }
        let target = member["shape"].clone();
        kept.insert(
            name.as_str(),
            if facts.is_empty() {
                target
            } else {
                facts.insert("shape", target);
                collected(facts)
            },
        );
    }
    Ok(collected(kept))
}

/// Adds `name` and every shape it is made of.
fn reach<'a>(
    shapes: &'a Map<String, Value>,
    name: &str,
    reached: &mut BTreeSet<&'a str>,
) -> Result<()> {
    let (name, shape) =
        shapes.get_key_value(name).with_context(|| format!("the model has no shape `{name}`"))?;
    if !reached.insert(name) {
        return Ok(());
    }
    let members = shape["members"].as_object().into_iter().flat_map(Map::values);
    for part in members.chain(["member", "key", "value"].iter().filter_map(|&part| shape.get(part)))
    {
        reach(
            shapes,
            part["shape"].as_str().with_context(|| format!("`{name}` has a part of no shape"))?,
            reached,
        )?;
    }
    Ok(())
}

/// Sorted whatever map `serde_json` was built with.
fn collected(entries: BTreeMap<&str, Value>) -> Value {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>> {
    value[name].as_object().with_context(|| format!("the model has no object `{name}`"))
}
