//! The write-ahead log as a disk may give it back: read, cut, and read again with the same result.
#![no_main]

use bttc_engine::{LogDisk, Wal, WalRecord};
use libfuzzer_sys::fuzz_target;
use std::io;
use std::sync::{Arc, Mutex};

/// A disk that is a vector.
#[derive(Clone)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl LogDisk for Bytes {
    fn name(&self) -> String {
        "fuzzed log".into()
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(self.0.lock().expect("no panic before").clone()))
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        *self.0.lock().expect("no panic before") = content.to_vec();
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().expect("no panic before").truncate(length as usize);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().expect("no panic before").extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.0.lock().expect("no panic before").clear();
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let disk = Bytes(Arc::new(Mutex::new(bytes.to_vec())));
    if let Ok(Some(first)) = Wal::new(Box::new(disk.clone())).load() {
        for record in &first.records {
            let _ = WalRecord::decode(record);
        }
        let mut wal = Wal::new(Box::new(disk));
        let second = wal.load().expect("it was readable").expect("it is there");
        assert_eq!((second.height, second.records.len(), second.torn), (first.height, first.records.len(), 0));
        wal.append(b"more").expect("memory writes");
        wal.flush().expect("memory writes");
        let third = wal.load().expect("it is readable").expect("it is there");
        assert_eq!(third.records.len(), first.records.len() + 1);
    }
    if let Ok(record) = WalRecord::decode(bytes) {
        let _ = record.encode();
    }
});
