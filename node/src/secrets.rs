//! Values that are kept elsewhere than in the configuration: `env:NAME` and `file:PATH` stand for them, so that neither the configuration nor the
//! list of processes holds a key.

use eyre::{Context, bail, eyre};
use std::fs::File;
use std::io::Read;

/// Longest file of a value, bytes.
const LONGEST: u64 = 64 << 10;

/// Where a value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// An environment variable.
    Variable(&'a str),
    /// The first line of a file.
    File(&'a str),
}

/// The reference that a text is, if it is one: of a variable whose name is letters, digits and `_`, or of a path without `|`, which begins
/// a header.
pub(crate) fn reference(text: &str) -> Option<Reference<'_>> {
    match text.split_once(':') {
        Some(("env", name)) => {
            let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            good.then_some(Reference::Variable(name))
        }
        Some(("file", path)) => (!path.is_empty() && !path.contains('|')).then_some(Reference::File(path)),
        Some(_) | None => None,
    }
}

/// The value that a text stands for: itself, unless it is a reference.
///
/// # Errors
/// When there is nothing where it points to. The value is in no message.
pub(crate) fn resolve(text: &str) -> eyre::Result<String> {
    let value = match reference(text) {
        // What is wrong about it is not repeated: it may be a key.
        None if text.starts_with("env:") || text.starts_with("file:") => {
            bail!("a reference is written `env:NAME`, with letters, digits and _, or `file:PATH`, without |")
        }
        None => return Ok(text.to_owned()),
        Some(Reference::Variable(name)) => {
            std::env::var(name).map_err(|_| eyre!("the environment variable {name} is not set, or is no text"))?
        }
        Some(Reference::File(path)) => {
            let mut content = String::new();
            let file = File::open(path).wrap_err_with(|| format!("cannot read the file {path}"))?;
            let read = file.take(LONGEST).read_to_string(&mut content);
            read.map_err(|_| eyre!("cannot read the file {path}, or it is no text"))?;
            content.lines().next().unwrap_or_default().to_owned()
        }
    };
    let value = value.trim();
    if value.is_empty() {
        bail!("{text} is empty");
    }
    Ok(value.to_owned())
}
