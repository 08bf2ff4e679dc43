//! The arrows between rooms, and the licences of what they are built from.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cargo;

/// What may be linked into an Apache-2.0 program without asking.
const LICENCES: [&str; 12] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "BSL-1.0",
    "Apache-2.0 WITH LLVM-exception",
];

/// Packages in the lock file.
const PACKAGES_MAX: usize = 350;

pub(crate) fn check() -> anyhow::Result<()> {
    let output = cargo(&["metadata", "--format-version=1", "--locked"]).output();
    let output = output.context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let allowed = table()?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if package["source"].is_null() {
            arrows(name, package, &allowed, &mut wrong);
        } else {
            licence(name, package, &mut wrong);
        }
        if name == "aws-lc-sys" || name == "openssl-sys" {
            wrong.push(format!("{name} came in: default features of rustls and reqwest bring it"));
        }
    }
    if packages.len() > PACKAGES_MAX {
        wrong.push(format!("{} packages, at most {PACKAGES_MAX}", packages.len()));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn arrows(
    name: &str,
    package: &Value,
    allowed: &BTreeMap<String, Vec<String>>,
    wrong: &mut Vec<String>,
) {
    let Some(allowed) = allowed.get(name) else {
        // Examples are programs of users: they name none of our rooms.
        let ours = package["dependencies"].as_array().into_iter().flatten();
        if ours.clone().any(|dependency| !dependency["path"].is_null()) {
            wrong.push(format!("{name} is not in arrows.toml"));
        }
        return;
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let to = dependency["name"].as_str().unwrap_or_default();
        let tests_only = dependency["kind"] == "dev" && to == "coldframe-testkit";
        let ours = !dependency["path"].is_null();
        if ours && !tests_only && !allowed.iter().any(|room| room == to || room == "*") {
            wrong.push(format!("{name} must not name {to}"));
        }
    }
}

fn licence(name: &str, package: &Value, wrong: &mut Vec<String>) {
    let text = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
    let one = |part: &str| LICENCES.contains(&part.trim().trim_matches(['(', ')']));
    // "A AND (B OR C)": every part joined by AND needs one that is allowed.
    let good = text.split(" AND ").all(|part| part.split(" OR ").any(one));
    if !good {
        wrong.push(format!("{name} is licensed {text:?}"));
    }
}

/// `name = ["other", …]` a line.
fn table() -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let lines = include_str!("arrows.toml").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rooms) = line.split_once(" = ").context("arrows.toml: name = [rooms]")?;
            Ok((name.to_owned(), serde_json::from_str(rooms).context("arrows.toml")?))
        })
        .collect()
}
