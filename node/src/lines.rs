//! Lines on their way to a file, a terminal or a pipe: whoever brings one never waits for the reader and never fails.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes that wait to be written; what comes when they are full is lost.
pub(crate) const QUEUE_BYTES: usize = 4 << 20;
/// How long a writer that would have to wait is left alone.
const BUSY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the writing thread holds a line.
    writing: bool,
}

/// A bounded queue of lines with a thread that writes them.
#[derive(Debug)]
pub(crate) struct Lines {
    queue: Mutex<Queue>,
    capacity: usize,
    /// Something came, or something was written.
    changed: Condvar,
    lost: AtomicU64,
}

impl Lines {
    /// Starts the thread. `tell` is called on it, with how many lines were lost, when writing works again.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        capacity: usize,
        tell: impl Fn(u64) + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let lines =
            Arc::new(Self { queue: Mutex::default(), capacity, changed: Condvar::new(), lost: AtomicU64::new(0) });
        let writer = Arc::clone(&lines);
        std::thread::Builder::new().name("log".into()).spawn(move || writer.write_all(output, &tell))?;
        Ok(lines)
    }

    /// Adds a line, with its end; it is lost when too many wait.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.bytes.saturating_add(line.len()) > self.capacity {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        self.changed.notify_all();
    }

    /// Lines lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, or given up; false when it was not within the time.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        // A thread that failed while it held the lock must not hold up the end of the process.
        let Some(mut queue) = self.queue.try_lock_until(deadline) else { return false };
        while queue.writing || !queue.lines.is_empty() {
            if self.changed.wait_until(&mut queue, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn write_all(&self, mut output: impl Write, tell: &impl Fn(u64)) {
        // Whether the last line was cut off in the middle.
        let (mut torn, mut told) = (false, 0);
        loop {
            let line = self.next();
            if write_line(&mut output, &line, &mut torn) {
                let lost = self.lost();
                // With room in the queue, or that line would be the next to be lost.
                if lost > told && self.queue.lock().bytes <= self.capacity / 2 {
                    tell(lost - told);
                    told = lost;
                }
            } else {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for a line.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.queue.lock();
        queue.writing = false;
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes = queue.bytes.saturating_sub(line.len());
                queue.writing = true;
                return line;
            }
            self.changed.notify_all();
            self.changed.wait(&mut queue);
        }
    }
}

/// Writes a line as a whole; false when that cannot be done.
fn write_line(output: &mut impl Write, line: &[u8], torn: &mut bool) -> bool {
    if *torn && !write_bytes(output, b"\n").is_ok_and(|written| written == 1) {
        return false;
    }
    *torn = false;
    match write_bytes(output, line) {
        Ok(_) => true,
        Err(written) => {
            *torn = written > 0;
            false
        }
    }
}

/// Writes bytes; how many were written, also when not all could be.
fn write_bytes(output: &mut impl Write, bytes: &[u8]) -> Result<usize, usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return Err(written),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BUSY),
            Err(_) => return Err(written),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, Read};

    /// A writer that takes so many bytes, and then refuses until it is given more room.
    #[derive(Clone, Default)]
    struct Disk {
        room: Arc<AtomicU64>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = self.room.load(Ordering::Acquire);
            let count = bytes.len().min(usize::try_from(room).unwrap());
            if count == 0 {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            self.room.fetch_sub(count as u64, Ordering::AcqRel);
            self.written.lock().extend_from_slice(bytes.get(..count).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_on_the_disk_are_counted_and_told_when_there_is_room() {
        let disk = Disk::default();
        disk.room.store(9, Ordering::Release);
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = Arc::clone(&told);
            move |lost| told.lock().push(lost)
        };
        let lines = Lines::start(disk.clone(), 1_000, tell).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            lines.push(line.as_bytes());
        }
        assert!(lines.flush(Duration::from_secs(20)));
        assert_eq!((lines.lost(), told.lock().len()), (2, 0));
        disk.room.store(1_000, Ordering::Release);
        lines.push(b"fourth\n");
        assert!(lines.flush(Duration::from_secs(20)));
        assert_eq!(*told.lock(), [2]);
        assert_eq!(String::from_utf8_lossy(&disk.written.lock()), "first\nsec\nfourth\n", "a cut line has an end");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = Arc::clone(&told);
            move |lost| told.lock().push(lost)
        };
        let lines = Lines::start(writer, 10_000, tell).unwrap();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut brought = 0;
        while lines.flush(Duration::from_millis(200)) {
            lines.push(&line);
            brought += 1;
            assert!(brought < 5_000, "the pipe is never full");
        }
        // More than the queue holds, by far.
        for _ in 0..500 {
            lines.push(&line);
            brought += 1;
        }
        let lost = lines.lost();
        assert!(lost > 400, "{lost} lines are lost");
        let held = brought - lost;
        let mut bytes = vec![0; usize::try_from(held).unwrap() * 1_000];
        reader.read_exact(&mut bytes).unwrap();
        assert!(lines.flush(Duration::from_secs(20)));
        assert_eq!((lines.lost(), told.lock().iter().sum::<u64>()), (lost, lost));
    }
}
