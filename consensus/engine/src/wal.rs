//! The write-ahead log: every input of the current height, flushed before any output that it causes.
//!
//! A file of records: length (4 bytes big endian), CRC-32 (4 bytes), content. A record that starts with byte 0 begins a
//! height; only the last height counts, and a file that has grown is replaced. A torn tail (a record that does not end
//! within the file, or the last one with a bad CRC) is cut off and reported; a bad record with more after it is damage,
//! and the node does not sign then.

use crate::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"bttcwal1";
const HEADER: usize = 8;

/// First byte of the record that begins a height.
const HEIGHT_MARK: u8 = 0;

/// Size from which on a new height begins a new file. Beginning one costs two syncs more than a record does.
const REPLACE_BYTES: u64 = 32 << 20;

/// Largest record: a block and its framing.
const MAX_RECORD: usize = bttc_types::MAX_BLOCK_BYTES + 64 * 1024;

/// Where the bytes of the log are kept: the seam to the disk.
pub trait LogDisk: Send {
    /// Its name in messages.
    fn name(&self) -> String;

    /// Everything in it; `None` when it does not exist.
    ///
    /// # Errors
    /// The disk's.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the whole content so that a crash leaves the old one or the new one; durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    fn replace(&mut self, content: &[u8]) -> io::Result<()>;

    /// Keeps only the first `length` bytes; durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Adds bytes at the end; a crash may lose any tail of what was added since the last [`Self::sync`].
    ///
    /// # Errors
    /// The disk's.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything added survive a power cut.
    ///
    /// # Errors
    /// The disk's; what was added since the last success may then be lost even though a later call succeeds.
    fn sync(&mut self) -> io::Result<()>;

    /// Moves the content aside, for analysis; it does not exist afterwards.
    ///
    /// # Errors
    /// The disk's.
    fn put_aside(&mut self) -> io::Result<()>;
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

/// The log.
pub struct Wal {
    disk: Box<dyn LogDisk>,
    begun: bool,
    bytes: u64,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("disk", &self.disk.name()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Wal {
    /// A log on a disk; nothing is read yet.
    pub fn new(disk: Box<dyn LogDisk>) -> Self {
        Self { disk, begun: false, bytes: 0 }
    }

    /// The log in a file.
    pub fn file(path: &Path) -> Self {
        Self::new(Box::new(FileLog::new(path)))
    }

    /// Reads a log without changing it, for `bttc wal dump`.
    ///
    /// # Errors
    /// [`Error::Wal`] or [`Error::WalDamaged`].
    pub fn read(path: &Path) -> Result<Option<WalContent>, Error> {
        let mut disk = FileLog::new(path);
        let content = disk.read().map_err(|error| failure(&disk, &error))?;
        content.map_or(Ok(None), |content| parse(&disk.name(), &content))
    }

    /// The height of the log and its records; `None` when there is no log yet. A torn tail is cut off.
    ///
    /// # Errors
    /// [`Error::Wal`] or [`Error::WalDamaged`].
    pub fn load(&mut self) -> Result<Option<WalContent>, Error> {
        let Some(bytes) = self.disk.read().map_err(|error| failure(self.disk.as_ref(), &error))? else {
            return Ok(None);
        };
        let Some(content) = parse(&self.disk.name(), &bytes)? else { return Ok(None) };
        self.bytes = (bytes.len() as u64).saturating_sub(content.torn);
        if content.torn > 0 {
            self.disk.cut(self.bytes).map_err(|error| failure(self.disk.as_ref(), &error))?;
        }
        self.begun = true;
        Ok(Some(content))
    }

    /// Begins the log of a height; what was logged for earlier ones does not count any more. Should a crash lose the
    /// beginning, it loses what follows too, and the log is an earlier height's: as good as none.
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn reset(&mut self, height: u64) -> Result<(), Error> {
        if !self.begun || self.bytes > REPLACE_BYTES {
            self.disk.replace(&MAGIC).map_err(|error| failure(self.disk.as_ref(), &error))?;
            self.begun = true;
            self.bytes = HEADER as u64;
        }
        self.append(&height_mark(height))
    }

    /// Adds a record; it may still be lost until [`Self::flush`].
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        let bytes = framed(record);
        self.disk.append(&bytes).map_err(|error| failure(self.disk.as_ref(), &error))?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Size of the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the log of the height anew without the records that `keep` does not want. A crash leaves the old one or the new one;
    /// everything that was appended is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Wal`] or [`Error::WalDamaged`].
    pub fn compact(&mut self, keep: impl Fn(&[u8]) -> bool) -> Result<(), Error> {
        let Some(content) = self.disk.read().map_err(|error| failure(self.disk.as_ref(), &error))? else {
            return Ok(());
        };
        let Some(content) = parse(&self.disk.name(), &content)? else { return Ok(()) };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(framed(&height_mark(content.height)));
        for record in content.records.iter().filter(|record| keep(record)) {
            bytes.extend(framed(record));
        }
        self.disk.replace(&bytes).map_err(|error| failure(self.disk.as_ref(), &error))?;
        self.bytes = bytes.len() as u64;
        Ok(())
    }

    /// Puts a damaged log aside; [`Self::reset`] then begins a new one.
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn discard(&mut self) -> Result<(), Error> {
        self.begun = false;
        self.disk.put_aside().map_err(|error| failure(self.disk.as_ref(), &error))
    }

    /// Makes everything appended survive a power cut.
    ///
    /// # Errors
    /// [`Error::Wal`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.disk.sync().map_err(|error| failure(self.disk.as_ref(), &error))
    }
}

/// A log file.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    file: Option<File>,
}

impl FileLog {
    /// The file at a path; it is opened when it is needed.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("the log is not open"))
    }
}

impl LogDisk for FileLog {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.file = None;
        let next = self.path.with_extension("new");
        let mut file = File::create(&next)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        if let Some(parent) = self.path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.file = None;
        std::fs::rename(&self.path, self.path.with_extension("damaged"))
    }
}

/// The record that begins a height.
fn height_mark(height: u64) -> Vec<u8> {
    let mut mark = vec![HEIGHT_MARK];
    mark.extend_from_slice(&height.to_be_bytes());
    mark
}

/// A record with its length and checksum.
fn framed(record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(record.len().saturating_add(8));
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&checksum(length, record).to_be_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// CRC-32 over length and content, so that a damaged length is damage and not a shorter file.
fn checksum(length: [u8; 4], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(record);
    hasher.finalize()
}

fn parse(name: &str, content: &[u8]) -> Result<Option<WalContent>, Error> {
    let damaged =
        |offset: usize, height: u64| Error::WalDamaged { path: name.to_owned(), offset: offset as u64, height };
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
                    // The last record, or one whose end and all that follows never left the page cache.
                    if tail.iter().all(|byte| *byte == 0) {
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

fn failure(disk: &dyn LogDisk, error: &io::Error) -> Error {
    Error::Wal { path: disk.name(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> (PathBuf, Vec<u8>) {
        let path = dir.join("wal");
        let mut wal = Wal::file(&path);
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
            let content = Wal::file(&path).load().unwrap().unwrap();
            assert_eq!(content.height, 7);
            assert_eq!(content.records.len(), (cut - HEADER - 17) / 108);
            assert_eq!(content.torn as usize, (cut - HEADER - 17) % 108);
            // What was cut off is gone for good: a second look is clean.
            assert_eq!(Wal::file(&path).load().unwrap().unwrap().torn, 0);
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error_and_damage_at_the_end_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = written(dir.path());
        let mut inner = bytes.clone();
        inner[HEADER + 17 + 50] ^= 1;
        std::fs::write(&path, &inner).unwrap();
        assert!(matches!(Wal::file(&path).load(), Err(Error::WalDamaged { offset: 25, height: 7, .. })));
        let mut last = bytes;
        let end = last.len() - 1;
        last[end] ^= 1;
        std::fs::write(&path, &last).unwrap();
        assert_eq!(Wal::file(&path).load().unwrap().unwrap().records.len(), 4);
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes) = written(dir.path());
        bytes.extend_from_slice(&[0; 500]);
        std::fs::write(&path, &bytes).unwrap();
        let content = Wal::file(&path).load().unwrap().unwrap();
        assert_eq!((content.records.len(), content.torn), (5, 500));
    }

    #[test]
    fn a_tail_whose_pages_were_never_written_is_torn_wherever_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = written(dir.path());
        for from in HEADER + 17..bytes.len() {
            let mut zeroed = bytes.clone();
            zeroed[from..].fill(0);
            std::fs::write(&path, &zeroed).unwrap();
            let content = Wal::file(&path).load().unwrap().unwrap();
            assert_eq!((content.height, content.records.len()), (7, (from - HEADER - 17) / 108));
        }
    }

    #[test]
    fn a_reopened_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = written(dir.path());
        let mut wal = Wal::file(&path);
        wal.load().unwrap();
        wal.append(b"more").unwrap();
        wal.flush().unwrap();
        let content = Wal::file(&path).load().unwrap().unwrap();
        assert_eq!(content.records.last().map(Vec::as_slice), Some(b"more".as_slice()));
        wal.reset(8).unwrap();
        let content = Wal::file(&path).load().unwrap().unwrap();
        assert_eq!(content, WalContent { height: 8, ..WalContent::default() });
    }
}
