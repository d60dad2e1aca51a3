//! What a multiplexed connection holds of what came and was not read.
//!
//! Windows bound the bytes of a stream, but each frame is kept in an allocation of its own, so that a window full of frames
//! of one byte holds many times what the window says. Frames are counted as they come in, below the multiplexer, which
//! tells nobody of them.

use futures::{AsyncRead, AsyncWrite};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What keeping a frame costs beside its bytes.
const FRAME: usize = 64;

/// The bytes of a yamux header: version, type, flags (2), stream (4), length (4).
const HEADER: usize = 12;
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const OPENS: u16 = 1;
const RESETS: u16 = 8;

/// What one connection holds; all its parts share it.
#[derive(Clone, Debug)]
pub(crate) struct Holdings(Arc<Mutex<Ledger>>);

#[derive(Debug)]
struct Ledger {
    /// Lengths of the frames of each stream that are not read to their end.
    streams: HashMap<u32, VecDeque<u32>>,
    /// Streams that we gave up and that the multiplexer may still keep.
    given_up: Vec<u32>,
    held: usize,
    limit: usize,
    most_streams: usize,
}

impl Holdings {
    /// Nothing is held; at most `limit` bytes may be, [`FRAME`] for each frame included, of so many streams.
    pub(crate) fn new(limit: usize, most_streams: usize) -> Self {
        let (streams, given_up) = (HashMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(Ledger { streams, given_up, held: 0, limit, most_streams })))
    }

    /// A stream begins.
    pub(crate) fn opened(&self, stream: u32) {
        self.0.lock().streams.entry(stream).or_default();
    }

    /// Bytes of a stream were read.
    pub(crate) fn read(&self, stream: u32, bytes: usize) {
        self.0.lock().read(stream, bytes);
    }

    /// We want no more of a stream.
    pub(crate) fn gave_up(&self, stream: u32) {
        self.0.lock().given_up.push(stream);
    }

    /// The multiplexer keeps no streams any more that we gave up.
    fn forget(&self) {
        let mut ledger = self.0.lock();
        while let Some(stream) = ledger.given_up.pop() {
            ledger.read(stream, usize::MAX);
            ledger.streams.remove(&stream);
        }
    }
}

impl Ledger {
    fn read(&mut self, stream: u32, mut bytes: usize) {
        let Some(frames) = self.streams.get_mut(&stream) else { return };
        while bytes > 0
            && let Some(first) = frames.front_mut()
        {
            let part = bytes.min(*first as usize);
            bytes -= part;
            self.held -= part;
            *first = first.saturating_sub(u32::try_from(part).unwrap_or(u32::MAX));
            if *first == 0 {
                frames.pop_front();
                self.held -= FRAME;
            }
        }
    }

    /// A header came. What is of no stream that is open is not kept.
    fn arrived(&mut self, header: Header) -> io::Result<()> {
        if matches!(header.kind, DATA | WINDOW_UPDATE) && header.flags & OPENS != 0 {
            self.streams.entry(header.stream).or_default();
            // The multiplexer refuses a stream that it does not want and reads on.
            if self.streams.len() > self.most_streams {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the peer opens more streams than there may be",
                ));
            }
        }
        if header.body() == 0 || header.flags & RESETS != 0 {
            return Ok(());
        }
        let Some(frames) = self.streams.get_mut(&header.stream) else { return Ok(()) };
        frames.push_back(header.length);
        self.held = self.held.saturating_add(header.body()).saturating_add(FRAME);
        if self.held > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer sends more than is read"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    flags: u16,
    stream: u32,
    length: u32,
}

impl Header {
    fn of(bytes: u128) -> Self {
        Self {
            kind: (bytes >> 80) as u8,
            flags: (bytes >> 64) as u16,
            stream: (bytes >> 32) as u32,
            length: bytes as u32,
        }
    }

    /// Bytes that follow. The length of anything but data is a number.
    fn body(&self) -> usize {
        if self.kind == DATA { self.length as usize } else { 0 }
    }
}

/// Finds the headers in what comes.
#[derive(Debug, Default)]
struct Headers {
    header: u128,
    filled: usize,
    body: usize,
}

impl Headers {
    fn find(&mut self, mut bytes: &[u8], mut found: impl FnMut(Header) -> io::Result<()>) -> io::Result<()> {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.body > 0 {
                let skipped = self.body.min(bytes.len());
                self.body -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            self.header = self.header << 8 | u128::from(*byte);
            self.filled += 1;
            bytes = rest;
            if self.filled == HEADER {
                let header = Header::of(self.header);
                (self.header, self.filled, self.body) = (0, 0, header.body());
                found(header)?;
            }
        }
        Ok(())
    }
}

/// A connection below its multiplexer, whose frames are counted.
#[derive(Debug)]
pub(crate) struct Counted<C> {
    inner: C,
    holdings: Holdings,
    headers: Headers,
    /// Whether the latest write waits for the peer.
    blocked: bool,
}

impl<C> Counted<C> {
    /// Counts what comes through `inner`.
    pub(crate) fn new(inner: C, holdings: Holdings) -> Self {
        Self { inner, holdings, headers: Headers::default(), blocked: false }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Before it reads, the multiplexer lets go of the streams that we gave up, unless it still has to write.
        if !this.blocked {
            this.holdings.forget();
        }
        let read = futures::ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        let mut ledger = this.holdings.0.lock();
        this.headers.find(buffer.get(..read).unwrap_or_default(), |header| ledger.arrived(header))?;
        Poll::Ready(Ok(read))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.blocked = written.is_pending();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(HEADER + if kind == DATA { length as usize } else { 0 }, 7);
        bytes
    }

    fn feed(holdings: &Holdings, headers: &mut Headers, bytes: &[u8]) -> io::Result<()> {
        headers.find(bytes, |header| holdings.0.lock().arrived(header))
    }

    fn held(holdings: &Holdings) -> usize {
        holdings.0.lock().held
    }

    #[test]
    fn what_came_is_held_until_it_is_read_however_it_is_cut() {
        let (holdings, mut headers) = (Holdings::new(1 << 20, 100), Headers::default());
        let mut bytes = frame(WINDOW_UPDATE, OPENS, 1, 1_000);
        bytes.extend(frame(DATA, 0, 1, 300));
        bytes.extend(frame(DATA, OPENS, 3, 5));
        bytes.extend(frame(2, 0, 0, 77));
        bytes.extend(frame(DATA, 0, 1, 1));
        bytes.extend(frame(DATA, 0, 9, 4_000));
        for part in bytes.chunks(7) {
            feed(&holdings, &mut headers, part).unwrap();
        }
        assert_eq!(held(&holdings), 306 + 3 * FRAME, "a stream that nobody opened is not kept");
        holdings.read(1, 299);
        assert_eq!(held(&holdings), 7 + 3 * FRAME);
        holdings.read(1, 2);
        assert_eq!(held(&holdings), 5 + FRAME);
        holdings.gave_up(3);
        assert_eq!(held(&holdings), 5 + FRAME, "the multiplexer may still have it");
        holdings.forget();
        assert_eq!(held(&holdings), 0);
        feed(&holdings, &mut headers, &frame(DATA, 0, 3, 5)).unwrap();
        assert_eq!((held(&holdings), holdings.0.lock().streams.len()), (0, 1));
    }

    /// Of the wrong parity, say, or more than are accepted: no stream of ours is dropped for them.
    #[test]
    fn streams_that_the_multiplexer_refuses_are_bounded() {
        let (holdings, mut headers) = (Holdings::new(1 << 20, 100), Headers::default());
        let open = |stream| frame(WINDOW_UPDATE, OPENS, stream, 0);
        let taken =
            (1..1_000_000).take_while(|stream| feed(&holdings, &mut headers, &open(2 * stream)).is_ok()).count();
        assert_eq!(taken, 100);
    }

    #[test]
    fn frames_of_one_byte_are_no_way_to_hold_more() {
        let (holdings, mut headers) = (Holdings::new(1 << 20, 100), Headers::default());
        holdings.opened(2);
        let one = frame(DATA, 0, 2, 1);
        let taken = (0..1_000_000).take_while(|_| feed(&holdings, &mut headers, &one).is_ok()).count();
        assert_eq!(taken, (1 << 20) / (1 + FRAME));
    }
}
