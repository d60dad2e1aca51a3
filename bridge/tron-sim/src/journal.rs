//! Blocks on disk: a line each, from which everything is executed again at the next start.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// A block as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Milliseconds.
    pub(crate) timestamp: u64,
    /// Tells blocks of one height apart.
    pub(crate) salt: u64,
    /// Transactions in hex.
    pub(crate) transactions: Vec<String>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or makes it, and gives what it holds. A torn last line is dropped.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Line>), Error> {
        let fail = |reason: String| Error::State { path: path.display().to_string(), reason };
        let mut lines = Vec::new();
        let mut torn = false;
        if path.exists() {
            let file = File::open(path).map_err(|error| fail(error.to_string()))?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|error| fail(error.to_string()))?;
                if torn {
                    return Err(fail(format!("line {} is damaged", lines.len() + 1)));
                }
                match serde_json::from_str(&line) {
                    Ok(line) => lines.push(line),
                    Err(_) => torn = true,
                }
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| fail(error.to_string()))?;
        let mut journal = Self { path: path.to_owned(), file };
        if torn {
            journal.rewrite(&lines).map_err(|error| fail(error.to_string()))?;
        }
        Ok((journal, lines))
    }

    /// Adds a block.
    pub(crate) fn append(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }

    /// Makes these the blocks.
    pub(crate) fn rewrite(&mut self, lines: &[Line]) -> std::io::Result<()> {
        let part = self.path.with_extension("part");
        let mut file = File::create(&part)?;
        for line in lines {
            writeln!(file, "{}", serde_json::to_string(line)?)?;
        }
        file.sync_all()?;
        std::fs::rename(&part, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(())
    }
}
