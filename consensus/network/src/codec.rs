//! Framing: gossip frames and request/response bodies, each bounded before it is read.

use crate::Error;
use crate::lane::Lane;
use bttc_types::MAX_BLOCK_BYTES;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;
use std::io;

/// Largest request: 256 pieces of a snapshot, 103 bytes each.
pub(crate) const MAX_REQUEST_BYTES: usize = 32 * 1024;
/// Largest response: one block of the largest size, its certificate, and what was already in when it was added.
pub(crate) const MAX_RESPONSE_BYTES: usize = 2 * MAX_BLOCK_BYTES + 1024 * 1024;
/// Largest hello.
pub(crate) const MAX_HELLO_BYTES: usize = 8 * 1024;

/// Writes a frame: lane, length, bytes.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(io: &mut W, lane: Lane, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("the message is too long"))?;
    let mut head = [0u8; 5];
    head[0] = lane as u8;
    head[1..].copy_from_slice(&length.to_be_bytes());
    io.write_all(&head).await?;
    io.write_all(bytes).await
}

/// Reads a frame; `None` at the end of the stream.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(io: &mut R) -> Result<Option<(Lane, Vec<u8>)>, Error> {
    let mut head = [0u8; 5];
    match io.read(&mut head[..1]).await {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(Error::Connection(error.to_string())),
    }
    let broken = |error: io::Error| Error::Connection(error.to_string());
    io.read_exact(&mut head[1..]).await.map_err(broken)?;
    let lane = Lane::from_code(head[0]).ok_or_else(|| Error::Protocol(format!("unknown lane {}", head[0])))?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > lane.max_message() {
        return Err(Error::Protocol(format!(
            "a message of {length} bytes in lane {}, the limit is {}",
            lane.name(),
            lane.max_message()
        )));
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await.map_err(broken)?;
    Ok(Some((lane, bytes)))
}

/// Writes a length and bytes.
pub(crate) async fn write_body<W: AsyncWrite + Unpin>(io: &mut W, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("the message is too long"))?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await
}

/// Reads a length and bytes, at most `limit`. Memory grows with what arrives, not with what is announced.
pub(crate) async fn read_body<R: AsyncRead + Unpin>(io: &mut R, limit: usize) -> io::Result<Vec<u8>> {
    let mut head = [0u8; 4];
    io.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length > limit {
        return Err(io::Error::other(format!("a message of {length} bytes, the limit is {limit}")));
    }
    let mut bytes = Vec::new();
    let read = io.take(length as u64).read_to_end(&mut bytes).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Requests and responses as bounded bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BytesCodec;

impl request_response::Codec for BytesCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read_body(io, MAX_REQUEST_BYTES).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read_body(io, MAX_RESPONSE_BYTES).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        write_body(io, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()> {
        write_body(io, &response).await
    }
}
