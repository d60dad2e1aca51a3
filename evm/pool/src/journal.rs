//! Local transactions on disk, so that a restart does not lose what a user was told is accepted.
//!
//! Records: length (4 bytes big endian), CRC-32 of the bytes (4), the EIP-2718 bytes. A torn or damaged tail is cut.

use crate::Error;
use bttc_types::{MAX_TRANSACTION_BYTES, RecoveredTransaction};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The journal file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Length of what the last rewrite kept.
    kept: u64,
}

/// Size from which on the journal is rewritten with the transactions that are still in the pool.
const REWRITE_BYTES: u64 = 4 << 20;

impl Journal {
    /// Opens or creates the journal and returns the transactions in it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn open(path: &Path) -> Result<(Self, Vec<RecoveredTransaction>), Error> {
        let failed = |error: std::io::Error| failure(path, error);
        let mut content = Vec::new();
        if path.exists() {
            File::open(path).map_err(failed)?.read_to_end(&mut content).map_err(failed)?;
        }
        let (transactions, good) = parse(&content);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(good).map_err(failed)?;
        Ok((Self { path: path.to_owned(), file, bytes: good, kept: 0 }, transactions))
    }

    /// Appends a transaction.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn append(&mut self, transaction: &RecoveredTransaction) -> Result<(), Error> {
        let record = record(transaction);
        if let Err(error) = self.file.write_all(&record) {
            // Half a record would hide every later one.
            let _ = self.file.set_len(self.bytes);
            return Err(failure(&self.path, error));
        }
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Whether the journal has grown so much that it should be rewritten.
    pub fn wants_rewrite(&self) -> bool {
        // In proportion to what is kept, so that a large pool is not written anew for every few transactions.
        self.bytes > REWRITE_BYTES && self.bytes > self.kept.saturating_mul(2)
    }

    /// Replaces the content, atomically and durably.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn rewrite(&mut self, transactions: &[Arc<RecoveredTransaction>]) -> Result<(), Error> {
        let failed = |error: std::io::Error| failure(&self.path, error);
        let next = self.path.with_extension("new");
        let mut file = File::create(&next).map_err(failed)?;
        let mut bytes = 0;
        for transaction in transactions {
            let record = record(transaction);
            file.write_all(&record).map_err(failed)?;
            bytes += record.len() as u64;
        }
        file.sync_all().map_err(failed)?;
        std::fs::rename(&next, &self.path).map_err(failed)?;
        // From here on the old file has no name: what is appended must go to the new one, whatever fails next.
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(failed)?;
        (self.bytes, self.kept) = (bytes, bytes);
        // The name is on the disk only when its directory is.
        sync_directory_of(&self.path).map_err(failed)
    }
}

fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    Error::Journal { path: path.display().to_string(), reason: error.to_string() }
}

fn record(transaction: &RecoveredTransaction) -> Vec<u8> {
    let bytes = transaction.encoded();
    let mut record = Vec::with_capacity(bytes.len() + 8);
    record.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    record.extend_from_slice(&crc32fast::hash(bytes).to_be_bytes());
    record.extend_from_slice(bytes);
    record
}

/// The transactions up to the first record that is not whole, and the length of that prefix.
fn parse(content: &[u8]) -> (Vec<RecoveredTransaction>, u64) {
    let mut transactions = Vec::new();
    let mut rest = content;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((crc, tail)) = tail.split_first_chunk::<4>() else { break };
        if length > MAX_TRANSACTION_BYTES || tail.len() < length {
            break;
        }
        let (bytes, tail) = tail.split_at(length);
        if crc32fast::hash(bytes) != u32::from_be_bytes(*crc) {
            break;
        }
        let Ok(transaction) = RecoveredTransaction::decode(bytes) else { break };
        transactions.push(transaction);
        rest = tail;
    }
    (transactions, (content.len() - rest.len()) as u64)
}
