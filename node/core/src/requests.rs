//! What peers ask each other for, and its encoding: a byte for the kind, then RLP.

use crate::Error;
use alloy_consensus::Header;
use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use bttc_engine::BlocksRequest;
use bttc_executor::Executor;
use bttc_genesis::SetChange;
use bttc_state::snapshot::{Content, Piece, decode_pieces};
use bttc_types::Certificate;

/// Headers before a snapshot's block that come with it: as far back as `BLOCKHASH` reaches.
pub const TAIL_HEADERS: u64 = 256;

/// Largest answer with pieces that is decoded: an honest one ends a piece (512 KiB) after its first MiB. Decoded, the
/// smallest leaves take twenty times their bytes.
const MAX_CONTENTS_BYTES: usize = 4 << 20;

/// Snapshots in one answer.
pub const MAX_OFFERS: usize = 4;

/// A request to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// Certified blocks; the answer is read with `bttc_engine::decode_blocks`.
    Blocks(BlocksRequest),
    /// Which snapshots it has; the answer is a list of [`Offer`].
    Offers,
    /// Pieces of the snapshot at a height; the answer is a list of [`Content`], empty when it has none.
    Pieces(u64, Vec<Piece>),
    /// What belongs to the snapshot's block; the answer is a [`Tail`].
    Tail(u64),
    /// Changes of the validator set from an epoch on; the answer is a list of `bttc_genesis::SetChange`.
    SetChanges(u64),
}

/// A snapshot that a peer has.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Offer {
    /// Header of the block after which the state is.
    pub header: Header,
    /// What made that block final.
    pub certificate: Certificate,
}

/// The block of a snapshot and the headers before it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Tail {
    /// The encoded block.
    pub block: Bytes,
    /// Its receipts, in the store's encoding.
    pub receipts: Bytes,
    /// Headers before it, the latest first: at most [`TAIL_HEADERS`], the genesis block's not among them.
    pub headers: Vec<Header>,
}

impl PeerRequest {
    /// The request's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Blocks(request) => {
                out.push(1);
                request.encode(&mut out);
            }
            Self::Offers => out.push(2),
            Self::Pieces(height, pieces) => {
                out.push(3);
                height.encode(&mut out);
                alloy_rlp::encode_list::<Piece, Piece>(pieces, &mut out);
            }
            Self::Tail(height) => {
                out.push(4);
                height.encode(&mut out);
            }
            Self::SetChanges(epoch) => {
                out.push(5);
                epoch.encode(&mut out);
            }
        }
        out
    }

    /// Reads a request that fills `bytes`.
    ///
    /// # Errors
    /// [`Error::Request`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Request { reason };
        let rlp = |error: alloy_rlp::Error| malformed(error.to_string());
        let (kind, mut rest) = bytes.split_first().ok_or_else(|| malformed("it is empty".into()))?;
        let request = match kind {
            1 => {
                let request = BlocksRequest::decode_exact(rest).map_err(|error| malformed(error.to_string()))?;
                return Ok(Self::Blocks(request));
            }
            2 => Self::Offers,
            3 => {
                let height = u64::decode(&mut rest).map_err(rlp)?;
                Self::Pieces(height, decode_pieces(&mut rest).map_err(malformed)?)
            }
            4 => Self::Tail(u64::decode(&mut rest).map_err(rlp)?),
            5 => Self::SetChanges(u64::decode(&mut rest).map_err(rlp)?),
            other => return Err(malformed(format!("unknown kind {other}"))),
        };
        if rest.is_empty() { Ok(request) } else { Err(malformed("trailing bytes".into())) }
    }
}

/// Encodes an answer that is a list.
pub fn encode_answer<T: Encodable>(items: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::encode_list::<T, T>(items, &mut out);
    out
}

/// Reads an answer that fills `bytes`.
pub(crate) fn decode_answer<T: Decodable>(mut bytes: &[u8]) -> Result<T, String> {
    let answer = T::decode(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.is_empty() { Ok(answer) } else { Err("trailing bytes".into()) }
}

/// Set changes in one answer: at the largest set some 40 KB each.
pub const MAX_SET_CHANGES: u64 = 16;

/// Reads the answer to [`PeerRequest::SetChanges`].
///
/// # Errors
/// What is wrong, in words.
pub fn decode_set_changes(bytes: &[u8]) -> Result<Vec<SetChange>, String> {
    if bytes.len() > MAX_CONTENTS_BYTES {
        return Err(format!("{} bytes of set changes, the limit is {MAX_CONTENTS_BYTES}", bytes.len()));
    }
    decode_answer(bytes)
}

/// The changes of the validator set from an epoch on, as many as one answer has.
///
/// # Errors
/// The store's.
pub fn set_changes(executor: &Executor, from: u64) -> Result<Vec<SetChange>, bttc_executor::Error> {
    let mut found = Vec::new();
    for epoch in from..from.saturating_add(MAX_SET_CHANGES) {
        match executor.set_change(epoch)? {
            Some(change) => found.push(change),
            None => break,
        }
    }
    Ok(found)
}

/// Reads the answer to [`PeerRequest::Offers`].
///
/// # Errors
/// What is wrong, in words.
pub fn decode_offers(bytes: &[u8]) -> Result<Vec<Offer>, String> {
    let offers: Vec<Offer> = decode_answer(bytes)?;
    if offers.len() <= MAX_OFFERS { Ok(offers) } else { Err("too many offers".into()) }
}

/// Reads the answer to [`PeerRequest::Pieces`].
///
/// # Errors
/// What is wrong, in words.
pub fn decode_contents(bytes: &[u8]) -> Result<Vec<Content>, String> {
    if bytes.len() > MAX_CONTENTS_BYTES {
        return Err(format!("{} bytes of pieces, the limit is {MAX_CONTENTS_BYTES}", bytes.len()));
    }
    decode_answer(bytes)
}

/// Reads the answer to [`PeerRequest::Tail`].
///
/// # Errors
/// What is wrong, in words.
pub fn decode_tail(bytes: &[u8]) -> Result<Tail, String> {
    decode_answer(bytes)
}
