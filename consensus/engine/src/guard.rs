//! The signer's own memory of what it signed last: the second, independent guard against double signing.
//!
//! A file of two slots that are written in turn, each with a CRC, so that a torn write leaves the other slot. It is
//! locked exclusively: two processes cannot sign with one guard.

use crate::Error;
use alloy_primitives::{Address, B256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What is signed at one height and round, in the order in which it may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A proposal.
    Proposal = 0,
    /// A prevote.
    Prevote = 1,
    /// A precommit.
    Precommit = 2,
}

impl Step {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Proposal),
            1 => Some(Self::Prevote),
            2 => Some(Self::Precommit),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposal => "a proposal",
            Self::Prevote => "a prevote",
            Self::Precommit => "a precommit",
        }
    }
}

/// The last thing that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSigned {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// Step.
    pub step: Step,
    /// Digest that was signed.
    pub digest: B256,
}

impl std::fmt::Display for LastSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "height {}, round {}, {}", self.height, self.round, self.step.name())
    }
}

/// Where the last signature is remembered: the seam to the disk.
pub trait Guard: Send {
    /// What was signed last; `None` for a fresh key.
    fn last(&self) -> Option<LastSigned>;

    /// Whether it was brought here from elsewhere and nothing was signed since: what the key signed after it was taken
    /// there is not known.
    fn just_imported(&self) -> bool {
        false
    }

    /// Remembers a signature that is about to be made. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Guard`]; nothing must be signed then, ever again in this process.
    fn record(&mut self, last: LastSigned) -> Result<(), Error>;
}

/// Decides whether something may be signed: later than the last, or the very same.
///
/// # Errors
/// [`Error::WouldDoubleSign`].
pub fn may_sign(last: Option<&LastSigned>, next: &LastSigned) -> Result<(), Error> {
    let Some(last) = last else { return Ok(()) };
    let position = |signed: &LastSigned| (signed.height, signed.round, signed.step);
    if position(next) > position(last) || next == last {
        return Ok(());
    }
    Err(Error::WouldDoubleSign {
        what: next.step.name(),
        height: next.height,
        round: next.round,
        guard: last.to_string(),
    })
}

const MAGIC: [u8; 8] = *b"bttcgrd1";
/// sequence 8, present 1, height 8, round 4, step 1, digest 32, crc 4.
const SLOT: usize = 58;
const HEADER: usize = 8 + 20;

/// The guard on disk.
#[derive(Debug)]
pub struct FileGuard {
    path: PathBuf,
    file: File,
    last: Option<LastSigned>,
    sequence: u64,
    imported: bool,
}

/// What a slot holds: its sequence number, the last signature, whether it was imported.
type Slot = (u64, Option<LastSigned>, bool);

impl FileGuard {
    /// Creates the guard of a key that has never signed. Refuses to replace one.
    ///
    /// # Errors
    /// [`Error::Guard`].
    pub fn create(path: &Path, key: Address) -> Result<(), Error> {
        Self::write_new(path, key, None, false)
    }

    /// Brings a guard from elsewhere: creates it, or raises the one that is here. It is never lowered.
    ///
    /// # Errors
    /// [`Error::Guard`], also when the guard here knows of a later signature or is another key's.
    pub fn import(path: &Path, key: Address, last: Option<LastSigned>) -> Result<(), Error> {
        let mut guard = match Self::open(path, key) {
            Err(Error::GuardMissing { .. }) => return Self::write_new(path, key, last, true),
            other => other?,
        };
        let Some(last) = last else { return Err(reason(path, "a guard that has signed cannot become a fresh one")) };
        let position = |signed: &LastSigned| (signed.height, signed.round, signed.step);
        if guard.last.is_some_and(|here| position(&here) > position(&last)) {
            return Err(reason(
                path,
                "it knows of a later signature than the one to import, and a guard is never lowered",
            ));
        }
        if guard.last.is_some_and(|here| position(&here) == position(&last) && here.digest != last.digest) {
            return Err(reason(
                path,
                "it knows of another signature for the very step of the one to import: this key has signed twice, on two nodes",
            ));
        }
        guard.write(Some(&last), true)?;
        Ok(())
    }

    /// The key that a guard file belongs to.
    ///
    /// # Errors
    /// [`Error::Guard`].
    pub fn key_of(path: &Path) -> Result<Address, Error> {
        let file = File::open(path).map_err(|error| failure(path, error))?;
        let mut header = [0u8; HEADER];
        file.read_exact_at(&mut header, 0).map_err(|error| failure(path, error))?;
        match header.split_first_chunk::<8>() {
            Some((magic, address)) if *magic == MAGIC => Ok(Address::from_slice(address)),
            Some(_) | None => Err(reason(path, "it is not a signer guard")),
        }
    }

    fn write_new(path: &Path, key: Address, last: Option<LastSigned>, imported: bool) -> Result<(), Error> {
        let failed = |error: std::io::Error| failure(path, error);
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let mut content = MAGIC.to_vec();
        content.extend_from_slice(key.as_slice());
        content.extend_from_slice(&encode_slot(1, last.as_ref(), imported));
        content.extend_from_slice(&encode_slot(0, last.as_ref(), imported));
        file.write_all_at(&content, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        sync_directory(path).map_err(failed)
    }

    /// Opens and locks the guard of a key.
    ///
    /// # Errors
    /// [`Error::GuardMissing`] when there is none, [`Error::Guard`] when it is another key's, in use or damaged.
    pub fn open(path: &Path, key: Address) -> Result<Self, Error> {
        let failed = |error: std::io::Error| failure(path, error);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::GuardMissing { path: path.display().to_string(), address: key.to_string() });
            }
            other => other.map_err(failed)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(reason(path, "another process holds it: is a node running with the same home?"));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut content = [0u8; HEADER + 2 * SLOT];
        file.read_exact_at(&mut content, 0).map_err(failed)?;
        let (sequence, last, imported) = parse_guard(&content, key).map_err(|text| reason(path, &text))?;
        Ok(Self { path: path.to_owned(), file, last, sequence, imported })
    }

    fn write(&mut self, last: Option<&LastSigned>, imported: bool) -> Result<(), Error> {
        let sequence = self.sequence.saturating_add(1);
        // Slots are written in turn: an odd sequence number goes to the first.
        let second = if sequence % 2 == 1 { 0 } else { SLOT as u64 };
        let offset = (HEADER as u64).saturating_add(second);
        let slot = encode_slot(sequence, last, imported);
        let write = self.file.write_all_at(&slot, offset).and_then(|()| self.file.sync_data());
        write.map_err(|error| failure(&self.path, error))?;
        self.sequence = sequence;
        self.last = last.copied();
        self.imported = imported;
        Ok(())
    }
}

/// Reads a guard file's content: the number of the newest good record, what was signed last, and whether that was
/// imported.
///
/// # Errors
/// Why it is not a guard of `key`, in words.
pub fn parse_guard(content: &[u8], key: Address) -> Result<(u64, Option<LastSigned>, bool), String> {
    let parts = content.split_first_chunk::<8>().and_then(|(magic, rest)| Some((magic, rest.split_at_checked(20)?)));
    let Some((magic, (address, slots))) = parts else { return Err("it is cut off".into()) };
    if *magic != MAGIC {
        return Err("it is not a signer guard".into());
    }
    if address != key.as_slice() {
        return Err(format!("it belongs to key 0x{}", alloy_primitives::hex::encode(address)));
    }
    let (a, b) = slots.split_at_checked(SLOT).ok_or("it is cut off")?;
    let newest = match (decode_slot(a), decode_slot(b)) {
        (Some(a), Some(b)) => Some(if a.0 > b.0 { a } else { b }),
        (a, b) => a.or(b),
    };
    newest.ok_or_else(|| {
        "both of its records are damaged: restore it from `bttc signer export`, or let the key rest".into()
    })
}

impl Guard for FileGuard {
    fn last(&self) -> Option<LastSigned> {
        self.last
    }

    fn just_imported(&self) -> bool {
        self.imported
    }

    fn record(&mut self, last: LastSigned) -> Result<(), Error> {
        self.write(Some(&last), false)
    }
}

/// The byte that says whether something was signed, and whether we saw it.
const NOTHING: u8 = 0;
const SIGNED: u8 = 1;
const NOTHING_IMPORTED: u8 = 2;
const SIGNED_IMPORTED: u8 = 3;

fn encode_slot(sequence: u64, last: Option<&LastSigned>, imported: bool) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(&sequence.to_be_bytes());
    match last {
        None => {
            slot.push(if imported { NOTHING_IMPORTED } else { NOTHING });
            slot.resize(SLOT.saturating_sub(4), 0);
        }
        Some(last) => {
            slot.push(if imported { SIGNED_IMPORTED } else { SIGNED });
            slot.extend_from_slice(&last.height.to_be_bytes());
            slot.extend_from_slice(&last.round.to_be_bytes());
            slot.push(last.step as u8);
            slot.extend_from_slice(last.digest.as_slice());
        }
    }
    let crc = crc32fast::hash(&slot);
    slot.extend_from_slice(&crc.to_be_bytes());
    slot
}

fn decode_slot(slot: &[u8]) -> Option<Slot> {
    let (body, crc) = slot.split_at_checked(SLOT.checked_sub(4)?)?;
    if crc32fast::hash(body).to_be_bytes() != *crc {
        return None;
    }
    let (sequence, body) = body.split_first_chunk::<8>()?;
    let (present, body) = body.split_first()?;
    let sequence = u64::from_be_bytes(*sequence);
    let imported = matches!(*present, NOTHING_IMPORTED | SIGNED_IMPORTED);
    if matches!(*present, NOTHING | NOTHING_IMPORTED) {
        return Some((sequence, None, imported));
    }
    let (height, body) = body.split_first_chunk::<8>()?;
    let (round, body) = body.split_first_chunk::<4>()?;
    let (step, digest) = body.split_first()?;
    Some((
        sequence,
        Some(LastSigned {
            height: u64::from_be_bytes(*height),
            round: u32::from_be_bytes(*round),
            step: Step::from_code(*step)?,
            digest: B256::try_from(digest).ok()?,
        }),
        imported,
    ))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    reason(path, &error.to_string())
}

fn reason(path: &Path, reason: &str) -> Error {
    Error::Guard { path: path.display().to_string(), reason: reason.to_owned() }
}

/// A guard in memory, for tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct MemoryGuard {
    /// What was signed last.
    pub last: Option<LastSigned>,
    /// Fail from now on.
    pub broken: bool,
    /// It was brought from elsewhere and nothing was signed since.
    pub imported: bool,
}

impl Guard for MemoryGuard {
    fn last(&self) -> Option<LastSigned> {
        self.last
    }

    fn record(&mut self, last: LastSigned) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Guard { path: "memory".into(), reason: "it was told to fail".into() });
        }
        self.last = Some(last);
        self.imported = false;
        Ok(())
    }

    fn just_imported(&self) -> bool {
        self.imported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(height: u64, round: u32, step: Step, digest: u8) -> LastSigned {
        LastSigned { height, round, step, digest: B256::repeat_byte(digest) }
    }

    #[test]
    fn only_later_steps_or_the_same_message_may_be_signed() {
        let last = signed(5, 1, Step::Prevote, 1);
        assert!(may_sign(None, &last).is_ok());
        assert!(may_sign(Some(&last), &last).is_ok());
        assert!(may_sign(Some(&last), &signed(5, 1, Step::Precommit, 2)).is_ok());
        assert!(may_sign(Some(&last), &signed(5, 2, Step::Proposal, 2)).is_ok());
        assert!(may_sign(Some(&last), &signed(6, 0, Step::Proposal, 2)).is_ok());
        assert!(may_sign(Some(&last), &signed(5, 1, Step::Prevote, 2)).is_err());
        assert!(may_sign(Some(&last), &signed(5, 1, Step::Proposal, 2)).is_err());
        assert!(may_sign(Some(&last), &signed(5, 0, Step::Precommit, 2)).is_err());
        assert!(may_sign(Some(&last), &signed(4, 9, Step::Precommit, 2)).is_err());
    }

    #[test]
    fn an_imported_guard_says_so_until_the_next_signature_and_is_never_lowered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        let key = Address::repeat_byte(1);
        FileGuard::import(&path, key, Some(signed(9, 0, Step::Prevote, 7))).unwrap();
        assert_eq!(FileGuard::key_of(&path).unwrap(), key);
        let mut guard = FileGuard::open(&path, key).unwrap();
        assert!(guard.just_imported());
        assert!(may_sign(guard.last().as_ref(), &signed(9, 0, Step::Prevote, 8)).is_err());
        guard.record(signed(9, 0, Step::Precommit, 7)).unwrap();
        assert!(!guard.just_imported());
        drop(guard);
        assert!(!FileGuard::open(&path, key).unwrap().just_imported());
        assert!(FileGuard::import(&path, key, Some(signed(9, 0, Step::Prevote, 7))).is_err());
        assert!(FileGuard::import(&path, key, None).is_err());
        assert!(FileGuard::import(&path, Address::repeat_byte(2), Some(signed(99, 0, Step::Prevote, 7))).is_err());
        FileGuard::import(&path, key, Some(signed(12, 0, Step::Prevote, 7))).unwrap();
        let guard = FileGuard::open(&path, key).unwrap();
        assert!(guard.just_imported() && guard.last() == Some(signed(12, 0, Step::Prevote, 7)));
        drop(guard);
        let other = FileGuard::import(&path, key, Some(signed(12, 0, Step::Prevote, 8)));
        assert!(other.unwrap_err().to_string().contains("signed twice"));
        FileGuard::import(&path, key, Some(signed(12, 0, Step::Prevote, 7))).unwrap();
        assert_eq!(FileGuard::open(&path, key).unwrap().last(), Some(signed(12, 0, Step::Prevote, 7)));
    }

    #[test]
    fn the_file_survives_a_torn_write_and_admits_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        let key = Address::repeat_byte(1);
        assert!(matches!(FileGuard::open(&path, key), Err(Error::GuardMissing { .. })));
        FileGuard::create(&path, key).unwrap();
        assert!(FileGuard::create(&path, key).is_err(), "a guard is never replaced");
        let mut guard = FileGuard::open(&path, key).unwrap();
        assert_eq!(guard.last(), None);
        assert!(FileGuard::open(&path, key).is_err(), "it is locked");
        for height in 1..=4 {
            guard.record(signed(height, 0, Step::Precommit, 7)).unwrap();
        }
        drop(guard);
        assert!(FileGuard::open(&path, Address::repeat_byte(2)).is_err());
        assert_eq!(FileGuard::open(&path, key).unwrap().last(), Some(signed(4, 0, Step::Precommit, 7)));
        // Height 4 has sequence 5: the first slot. Tear it: the other slot still says 3.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 3], HEADER as u64 + 10).unwrap();
        assert_eq!(FileGuard::open(&path, key).unwrap().last(), Some(signed(3, 0, Step::Precommit, 7)));
        file.write_all_at(&[0xff; 3], (HEADER + SLOT) as u64 + 10).unwrap();
        assert!(FileGuard::open(&path, key).is_err());
    }
}
