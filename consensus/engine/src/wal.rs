//! The write-ahead log: every input of the current height, flushed before any output that it causes.
//!
//! A file of records: length (4 bytes big endian), CRC-32 (4 bytes), content. A record that starts with byte 0 begins a
//! height; only the last height counts, and a file that has grown is replaced. A torn tail (a record that does not end
//! within the file, or the last one with a bad CRC) is cut off and reported; a bad record with more after it is damage,
//! and the node does not sign then.

use crate::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"bttcwal1";
const HEADER: usize = 8;

/// First byte of the record that begins a height.
const HEIGHT_MARK: u8 = 0;

/// Size from which on a new height begins a new file. Beginning one costs two syncs more than a record does.
const REPLACE_BYTES: u64 = 32 << 20;

/// Largest record: a block and its framing.
const MAX_RECORD: usize = bttc_types::MAX_BLOCK_BYTES + 64 * 1024;

/// Where the log is kept: the seam to the disk.
pub trait WalStore: Send {
    /// The height of the log and its records; `None` when there is no log yet.
    ///
    /// # Errors
    /// [`Error::Wal`] or [`Error::WalDamaged`].
    fn load(&mut self) -> Result<Option<WalContent>, Error>;

    /// Begins the log of a height; what was logged for earlier ones does not count any more. Should a crash lose the
    /// beginning, it loses what follows too, and the log is an earlier height's: as good as none.
    ///
    /// # Errors
    /// [`Error::Wal`].
    fn reset(&mut self, height: u64) -> Result<(), Error>;

    /// Adds a record; it may still be lost until [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::Wal`].
    fn append(&mut self, record: &[u8]) -> Result<(), Error>;

    /// Puts a damaged log aside; [`Self::reset`] then begins a new one.
    ///
    /// # Errors
    /// [`Error::Wal`].
    fn discard(&mut self) -> Result<(), Error>;

    /// Makes everything appended survive a power cut.
    ///
    /// # Errors
    /// [`Error::Wal`].
    fn flush(&mut self) -> Result<(), Error>;
}

/// What a log held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalContent {
    /// Height it is for.
    pub height: u64,
    /// Records in order.
    pub records: Vec<Vec<u8>>,
    /// Bytes of a torn tail that were cut off.
    pub torn: u64,
}

/// The log on disk.
#[derive(Debug)]
pub struct FileWal {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl FileWal {
    /// The log at a path; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, bytes: 0 }
    }

    fn begin_file(&mut self) -> Result<(), Error> {
        // A new file takes the old one's place, so that a crash leaves one or the other whole.
        let failed = |error: std::io::Error| failure(&self.path, error);
        let next = self.path.with_extension("new");
        let mut file = File::create(&next).map_err(failed)?;
        file.write_all(&MAGIC).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&next, &self.path).map_err(failed)?;
        if let Some(parent) = self.path.parent() {
            File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
        }
        self.file = Some(file);
        self.bytes = HEADER as u64;
        Ok(())
    }

    /// Reads a log without changing it, for `bttc wal dump`.
    ///
    /// # Errors
    /// [`Error::Wal`] or [`Error::WalDamaged`].
    pub fn read(path: &Path) -> Result<Option<WalContent>, Error> {
        let mut content = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure(path, error)),
            Ok(mut file) => file.read_to_end(&mut content).map_err(|error| failure(path, error))?,
        };
        parse(path, &content)
    }

    fn file(&mut self) -> Result<&mut File, Error> {
        self.file.as_mut().ok_or_else(|| Error::Wal {
            path: self.path.display().to_string(),
            reason: "it was not started for a height".into(),
        })
    }
}

impl WalStore for FileWal {
    fn load(&mut self) -> Result<Option<WalContent>, Error> {
        let Some(content) = Self::read(&self.path)? else { return Ok(None) };
        let failed = |error: std::io::Error| failure(&self.path, error);
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(failed)?;
        if content.torn > 0 {
            let length = file.metadata().map_err(failed)?.len();
            file.set_len(length.saturating_sub(content.torn)).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        self.bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        self.file = Some(file);
        Ok(Some(content))
    }

    fn reset(&mut self, height: u64) -> Result<(), Error> {
        if self.file.is_none() || self.bytes > REPLACE_BYTES {
            self.begin_file()?;
        }
        let mut mark = vec![HEIGHT_MARK];
        mark.extend_from_slice(&height.to_be_bytes());
        self.append(&mark)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(record.len().saturating_add(8));
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&checksum(length, record).to_be_bytes());
        bytes.extend_from_slice(record);
        let path = self.path.clone();
        self.file()?.write_all(&bytes).map_err(|error| failure(&path, error))?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Error> {
        self.file = None;
        std::fs::rename(&self.path, self.path.with_extension("damaged")).map_err(|error| failure(&self.path, error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        self.file()?.sync_data().map_err(|error| failure(&path, error))
    }
}

/// CRC-32 over length and content, so that a damaged length is damage and not a shorter file.
fn checksum(length: [u8; 4], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(record);
    hasher.finalize()
}

fn parse(path: &Path, content: &[u8]) -> Result<Option<WalContent>, Error> {
    let damaged = |offset: usize, height: u64| Error::WalDamaged {
        path: path.display().to_string(),
        offset: offset as u64,
        height,
    };
    let Some((magic, mut rest)) = content.split_at_checked(HEADER) else { return Ok(None) };
    let mut result = WalContent::default();
    if magic != MAGIC {
        return Err(damaged(0, 0));
    }
    while !rest.is_empty() {
        let torn = rest.len() as u64;
        let Some((length_bytes, tail)) = rest.split_first_chunk::<4>() else {
            result.torn = torn;
            break;
        };
        let length = usize::try_from(u32::from_be_bytes(*length_bytes)).unwrap_or(usize::MAX);
        // A power cut can leave zeros where the file had grown already; no record is empty.
        if length == 0 && rest.iter().all(|byte| *byte == 0) {
            result.torn = torn;
            break;
        }
        let record = tail.split_first_chunk::<4>().and_then(|(crc, tail)| {
            let (record, tail) = tail.split_at_checked(length)?;
            Some((u32::from_be_bytes(*crc), record, tail))
        });
        match record {
            None if length <= MAX_RECORD => {
                result.torn = torn;
                break;
            }
            // No record is that long: the length itself is damaged.
            None => return Err(damaged(content.len().saturating_sub(rest.len()), result.height)),
            Some((crc, record, tail)) => {
                if checksum(*length_bytes, record) != crc {
                    if tail.is_empty() {
                        result.torn = torn;
                        break;
                    }
                    return Err(damaged(content.len().saturating_sub(rest.len()), result.height));
                }
                match record.split_first() {
                    Some((&HEIGHT_MARK, height)) => {
                        result.records.clear();
                        result.height = u64::from_be_bytes(<[u8; 8]>::try_from(height).unwrap_or_default());
                    }
                    Some(_) | None => result.records.push(record.to_vec()),
                }
                rest = tail;
            }
        }
    }
    Ok(Some(result))
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    Error::Wal { path: path.display().to_string(), reason: error.to_string() }
}

/// A log in memory, for tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct MemoryWal {
    /// What a crash leaves.
    pub durable: Option<WalContent>,
    /// What is there now.
    pub current: Option<WalContent>,
    /// Fail from now on.
    pub broken: bool,
}

impl MemoryWal {
    fn check(&self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Wal { path: "memory".into(), reason: "it was told to fail".into() });
        }
        Ok(())
    }
}

impl WalStore for MemoryWal {
    fn load(&mut self) -> Result<Option<WalContent>, Error> {
        self.check()?;
        Ok(self.current.clone())
    }

    fn reset(&mut self, height: u64) -> Result<(), Error> {
        self.check()?;
        self.current = Some(WalContent { height, ..WalContent::default() });
        self.durable.clone_from(&self.current);
        Ok(())
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        self.check()?;
        if let Some(content) = &mut self.current {
            content.records.push(record.to_vec());
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Error> {
        self.check()?;
        self.current = None;
        self.durable = None;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.check()?;
        self.durable.clone_from(&self.current);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> (PathBuf, Vec<u8>) {
        let path = dir.join("wal");
        let mut wal = FileWal::new(&path);
        assert_eq!(wal.load().unwrap(), None);
        wal.reset(7).unwrap();
        for index in 1..=5u8 {
            wal.append(&[index; 100]).unwrap();
        }
        wal.flush().unwrap();
        (path.clone(), std::fs::read(path).unwrap())
    }

    #[test]
    fn every_cut_of_the_tail_keeps_the_whole_records_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = written(dir.path());
        // The mark of the height has 17 bytes, each record 108.
        for cut in HEADER + 17..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let content = FileWal::new(&path).load().unwrap().unwrap();
            assert_eq!(content.height, 7);
            assert_eq!(content.records.len(), (cut - HEADER - 17) / 108);
            assert_eq!(content.torn as usize, (cut - HEADER - 17) % 108);
            // What was cut off is gone for good: a second look is clean.
            assert_eq!(FileWal::new(&path).load().unwrap().unwrap().torn, 0);
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error_and_damage_at_the_end_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = written(dir.path());
        let mut inner = bytes.clone();
        inner[HEADER + 17 + 50] ^= 1;
        std::fs::write(&path, &inner).unwrap();
        assert!(matches!(FileWal::new(&path).load(), Err(Error::WalDamaged { offset: 25, height: 7, .. })));
        let mut last = bytes;
        let end = last.len() - 1;
        last[end] ^= 1;
        std::fs::write(&path, &last).unwrap();
        assert_eq!(FileWal::new(&path).load().unwrap().unwrap().records.len(), 4);
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes) = written(dir.path());
        bytes.extend_from_slice(&[0; 500]);
        std::fs::write(&path, &bytes).unwrap();
        let content = FileWal::new(&path).load().unwrap().unwrap();
        assert_eq!((content.records.len(), content.torn), (5, 500));
    }

    #[test]
    fn a_reopened_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = written(dir.path());
        let mut wal = FileWal::new(&path);
        wal.load().unwrap();
        wal.append(b"more").unwrap();
        wal.flush().unwrap();
        let content = FileWal::new(&path).load().unwrap().unwrap();
        assert_eq!(content.records.last().map(Vec::as_slice), Some(b"more".as_slice()));
        wal.reset(8).unwrap();
        let content = FileWal::new(&path).load().unwrap().unwrap();
        assert_eq!(content, WalContent { height: 8, ..WalContent::default() });
    }
}
