//! Records that wait in a file until they can go into the database.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// A file of records; removed with the value.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: Result<BufWriter<File>, std::io::Error>,
}

impl Spool {
    /// An empty one; what a process that died left there is gone.
    pub(crate) fn create(path: &Path) -> Self {
        Self { path: path.to_owned(), file: File::create(path).map(BufWriter::new) }
    }

    /// Adds a record. A failure is kept for [`Self::read`].
    pub(crate) fn push(&mut self, record: &[u8]) {
        let Ok(file) = &mut self.file else { return };
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
        if let Err(error) = file.write_all(&length).and_then(|()| file.write_all(record)) {
            self.file = Err(error);
        }
    }

    /// Gives all records in order.
    ///
    /// # Errors
    /// The first failure to write or read, and that of `take`.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&[u8]) -> eyre::Result<()>) -> eyre::Result<()> {
        match &mut self.file {
            Ok(file) => file.flush()?,
            Err(error) => return Err(eyre::eyre!("cannot write {}: {error}", self.path.display())),
        }
        let file = File::open(&self.path)?;
        let mut left = file.metadata()?.len();
        let mut file = BufReader::new(file);
        while left > 0 {
            let mut length = [0u8; 4];
            file.read_exact(&mut length)?;
            let length = u64::from(u32::from_be_bytes(length));
            left = left.saturating_sub(4);
            eyre::ensure!(length <= left, "{} is damaged", self.path.display());
            let mut record = vec![0; usize::try_from(length)?];
            file.read_exact(&mut record)?;
            left = left.saturating_sub(length);
            take(&record)?;
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::Spool;

    #[test]
    fn records_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        std::fs::write(&path, b"left by a process that died").unwrap();
        let mut spool = Spool::create(&path);
        let records: Vec<Vec<u8>> = (0..100u8).map(|byte| vec![byte; usize::from(byte) * 100]).collect();
        for record in &records {
            spool.push(record);
        }
        let mut found = Vec::new();
        spool
            .read(|record| {
                found.push(record.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(found, records);
        drop(spool);
        assert!(!path.exists());
        let mut nowhere = Spool::create(&folder.path().join("missing/spool"));
        nowhere.push(b"record");
        assert!(nowhere.read(|_| Ok(())).is_err());
    }
}
