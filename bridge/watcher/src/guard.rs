//! What a bridge key has signed, on disk before any signature is made.

use crate::Error;
use alloy_primitives::B256;
use bttc_bridge_types::{BridgeVote, Subject};
use bttc_types::Signature;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a record's length.
const LENGTH: usize = 2;

/// The file: a record for each subject, appended and synced. Records are votes without a signature.
#[derive(Debug)]
pub struct SignGuard {
    path: PathBuf,
    file: File,
    signed: BTreeMap<Subject, B256>,
}

fn record(subject: Subject, value: B256) -> Vec<u8> {
    let body = BridgeVote { subject, value, signature: Signature::from_bytes([0; 65]) }.encode();
    let mut bytes = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

impl SignGuard {
    /// Opens or makes it. A torn end is cut off: nothing was signed for it. The file is locked: two nodes with one key would
    /// not know of each other.
    ///
    /// # Errors
    /// [`Error::File`], also when another process holds it or it is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::file(path, error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fail)?;
        file.try_lock().map_err(|error| Error::file(path, format!("in use by another node: {error}")))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let (mut signed, mut at) = (BTreeMap::new(), 0usize);
        while let Some(head) = bytes.get(at..at + LENGTH) {
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let Some(body) = bytes.get(at + LENGTH..at + LENGTH + length) else { break };
            let vote = BridgeVote::decode(body)
                .map_err(|_| Error::file(path, "damaged: restore it, or rotate the bridge key"))?;
            signed.insert(vote.subject, vote.value);
            at += LENGTH + length;
        }
        if at < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - at, "a torn record is cut off");
            file.set_len(at as u64).map_err(fail)?;
            file.sync_all().map_err(fail)?;
        }
        Ok(Self { path: path.to_owned(), file, signed })
    }

    /// Notes that the key signs a value, on disk. The first time and for the same value only.
    ///
    /// # Errors
    /// [`Error::Signed`] or [`Error::File`]; nothing may be signed then.
    pub fn allow(&mut self, subject: Subject, value: B256) -> Result<(), Error> {
        match self.signed.get(&subject) {
            Some(before) if *before == value => Ok(()),
            Some(_) => Err(Error::Signed(subject)),
            None => {
                let fail = |error: std::io::Error| Error::file(&self.path, error);
                self.file.write_all(&record(subject, value)).map_err(fail)?;
                self.file.sync_data().map_err(fail)?;
                self.signed.insert(subject, value);
                Ok(())
            }
        }
    }

    /// What was signed of a subject.
    pub fn signed(&self, subject: &Subject) -> Option<B256> {
        self.signed.get(subject).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_value_is_never_allowed_and_torn_ends_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard");
        let subject = Subject::Checkpoint { seq: 4 };
        {
            let mut guard = SignGuard::open(&path).unwrap();
            guard.allow(subject, B256::repeat_byte(1)).unwrap();
            guard.allow(subject, B256::repeat_byte(1)).unwrap();
            assert!(matches!(guard.allow(subject, B256::repeat_byte(2)), Err(Error::Signed(_))));
            assert!(SignGuard::open(&path).is_err(), "locked");
        }
        let whole = std::fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[..whole.len() - 3]);
        std::fs::write(&path, &torn).unwrap();
        let mut guard = SignGuard::open(&path).unwrap();
        assert_eq!(guard.signed(&subject), Some(B256::repeat_byte(1)));
        guard.allow(Subject::Checkpoint { seq: 5 }, B256::repeat_byte(3)).unwrap();
        drop(guard);
        let guard = SignGuard::open(&path).unwrap();
        assert_eq!(guard.signed(&Subject::Checkpoint { seq: 5 }), Some(B256::repeat_byte(3)));
        drop(guard);
        let mut damaged = whole.clone();
        damaged[5] ^= 0xff;
        damaged.extend_from_slice(&whole);
        std::fs::write(&path, &damaged).unwrap();
        assert!(SignGuard::open(&path).is_err());
    }
}
