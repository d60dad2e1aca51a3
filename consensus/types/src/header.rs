//! What this chain puts into the fields of an Ethereum header.

use crate::{Error, Height, MAX_ROUND, Mutant, Round};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, keccak256};

/// Version byte of [`ExtraData`].
const EXTRA_DATA_VERSION: u8 = 1;

/// The header's `extra_data`: version (1 byte), round in which the block was built (4), milliseconds within the
/// second of `timestamp` (2), big endian; anything after that up to 32 bytes is zero and we write nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraData {
    /// Round in which the block was built first; a re-proposal keeps it. At most [`MAX_ROUND`].
    pub round: Round,
    /// 0..=999.
    pub millis: u16,
}

impl ExtraData {
    /// The 7 bytes.
    pub fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(7);
        bytes.push(EXTRA_DATA_VERSION);
        bytes.extend_from_slice(&self.round.to_be_bytes());
        bytes.extend_from_slice(&self.millis.to_be_bytes());
        bytes.into()
    }

    /// Reads what [`Self::encode`] wrote; there is exactly one accepted form, so that a block has one hash.
    ///
    /// # Errors
    /// [`Error::InvalidExtraData`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let fields: [u8; 7] = bytes.try_into().map_err(|_| Error::InvalidExtraData)?;
        let [version, r0, r1, r2, r3, m0, m1] = fields;
        let millis = u16::from_be_bytes([m0, m1]);
        let round = Round::from_be_bytes([r0, r1, r2, r3]);
        let bounded = round <= MAX_ROUND || Mutant::RoundUnchecked.active();
        if version != EXTRA_DATA_VERSION || millis > 999 || !bounded {
            return Err(Error::InvalidExtraData);
        }
        Ok(Self { round, millis })
    }
}

/// The block's time in milliseconds since the Unix epoch; a genesis header (foreign extra data) has whole seconds.
pub fn block_time_ms(header: &Header) -> u64 {
    let millis = ExtraData::decode(&header.extra_data).map_or(0, |extra| u64::from(extra.millis));
    header.timestamp.saturating_mul(1000).saturating_add(millis)
}

/// Writes a time in milliseconds and the building round into `timestamp` and `extra_data`.
pub fn set_block_time(header: &mut Header, time_ms: u64, round: Round) {
    header.timestamp = time_ms / 1000;
    let millis = u16::try_from(time_ms % 1000).unwrap_or(0);
    header.extra_data = ExtraData { round, millis }.encode();
}

/// `keccak(parent mix_hash || height || beneficiary)`: predictable, not grindable by choosing transactions, and
/// not a source of randomness.
pub fn mix_hash(parent_mix_hash: B256, height: Height, beneficiary: Address) -> B256 {
    let mut bytes = Vec::with_capacity(60);
    bytes.extend_from_slice(parent_mix_hash.as_slice());
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(beneficiary.as_slice());
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_data_round_trips_and_has_one_form() {
        let extra = ExtraData { round: 7, millis: 999 };
        let bytes = extra.encode();
        assert_eq!(ExtraData::decode(&bytes), Ok(extra));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(ExtraData::decode(&longer).is_err());
        assert!(ExtraData::decode(&[2, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(ExtraData::decode(&[1, 0, 0, 0, 0, 3, 232]).is_err(), "1000 ms is a second");
        let last = ExtraData { round: MAX_ROUND, millis: 0 };
        assert_eq!(ExtraData::decode(&last.encode()), Ok(last));
        for round in [MAX_ROUND + 1, 5_000_000, Round::MAX] {
            assert!(ExtraData::decode(&ExtraData { round, millis: 0 }.encode()).is_err(), "round {round}");
        }
    }

    #[test]
    fn block_time_keeps_milliseconds() {
        let mut header = Header::default();
        set_block_time(&mut header, 1_700_000_000_123, 4);
        assert_eq!(block_time_ms(&header), 1_700_000_000_123);
        assert_eq!(header.timestamp, 1_700_000_000);
    }
}
