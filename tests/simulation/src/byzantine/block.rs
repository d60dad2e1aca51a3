//! Blocks that a liar changes after it has built them: one field of the header, the body or the parent's certificate, and
//! everything that commits to it made to fit again.

use super::values;
use alloy_consensus::Header;
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_primitives::{B64, B256, Bytes, U256};
use bttc_types::{Block, ExtraData, MAX_ROUND, block_time_ms, set_block_time};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// A round that no block should name. The greatest number is rare: a node that counts up to it is lost for minutes.
pub fn huge_round(round: u32, rng: &mut ChaCha8Rng) -> u32 {
    match rng.random_range(0..14) {
        0 => u32::MAX,
        1..=4 => 5_000_000,
        12 => MAX_ROUND,
        13 => MAX_ROUND + 1,
        5 | 6 => round.saturating_add(rng.random_range(2..20_000)),
        7 => rng.random_range(20_000..5_000_000),
        _ => round.saturating_add(1),
    }
}

/// The block with one field changed, hashed again: hash and encoding. Nothing for what is no block.
pub fn changed(bytes: &[u8], rng: &mut ChaCha8Rng) -> Option<(B256, Arc<[u8]>)> {
    let mut block = Block::decode(bytes).ok()?;
    match rng.random_range(0..10) {
        0 => change_body(&mut block, rng),
        1 => change_last_commit(&mut block, rng),
        _ => change_header(&mut block.header, rng),
    }
    Some((block.hash(), block.encode().into()))
}

/// The block naming another round, hashed again.
pub fn with_round(bytes: &[u8], round: u32) -> Option<(B256, Arc<[u8]>)> {
    let mut block = Block::decode(bytes).ok()?;
    name_round(&mut block.header, |_| round);
    Some((block.hash(), block.encode().into()))
}

fn name_round(header: &mut Header, change: impl FnOnce(u32) -> u32) {
    if let Ok(extra) = ExtraData::decode(&header.extra_data) {
        header.extra_data = ExtraData { round: change(extra.round), ..extra }.encode();
    }
}

fn change_body(block: &mut Block, rng: &mut ChaCha8Rng) {
    let length = block.transactions.len();
    if length > 0 {
        let index = rng.random_range(0..length);
        match rng.random_range(0..3) {
            0 => {
                block.transactions.remove(index);
            }
            1 => block.transactions.push(block.transactions[index].clone()),
            _ => block.transactions.reverse(),
        }
    }
    // The root fits, or the body is not the one that the header commits to.
    if rng.random_bool(0.8) {
        block.header.transactions_root = calculate_transaction_root(&block.transactions);
    }
}

fn change_last_commit(block: &mut Block, rng: &mut ChaCha8Rng) {
    let commit = &mut block.last_commit;
    let index = rng.random_range(0..commit.signatures.len().max(1));
    match rng.random_range(0..6) {
        0 => commit.height = values::number(commit.height, rng),
        1 => commit.round = values::short(commit.round, rng),
        2 => commit.block_hash = values::hash(commit.block_hash, &[], rng),
        3 => {
            if let Some(entry) = commit.signatures.get_mut(index) {
                entry.index = values::short(u32::from(entry.index), rng) as u16;
            }
        }
        4 => {
            if let Some(entry) = commit.signatures.get_mut(index) {
                entry.signature = values::signature(entry.signature, rng);
            }
        }
        _ => {
            if let Some(copy) = commit.signatures.get(index).copied() {
                commit.signatures.push(copy);
            }
        }
    }
    block.header.parent_beacon_block_root = Some(block.last_commit.hash());
}

fn change_header(header: &mut Header, rng: &mut ChaCha8Rng) {
    let number = header.number;
    match rng.random_range(0..20) {
        0 => name_round(header, |round| values::short(round, rng).min(5_000_000)),
        1 => {
            let time = block_time_ms(header);
            let round = ExtraData::decode(&header.extra_data).map_or(0, |extra| extra.round);
            let changed = match rng.random_range(0..5) {
                0 => time.saturating_add(rng.random_range(1_000..100_000_000)),
                1 => time.saturating_sub(rng.random_range(1_000..100_000_000)),
                2 => u64::MAX,
                3 => 0,
                _ => time.saturating_add(1),
            };
            set_block_time(header, changed, round);
        }
        2 => header.number = values::number(number, rng),
        3 => header.gas_limit = values::number(header.gas_limit, rng),
        4 => header.gas_used = values::number(header.gas_used, rng),
        5 => header.base_fee_per_gas = header.base_fee_per_gas.map(|fee| values::number(fee, rng)),
        6 => header.state_root = values::hash(header.state_root, &[], rng),
        7 => header.receipts_root = values::hash(header.receipts_root, &[], rng),
        8 => header.transactions_root = values::hash(header.transactions_root, &[], rng),
        9 => header.parent_hash = values::hash(header.parent_hash, &[], rng),
        10 => header.mix_hash = values::hash(header.mix_hash, &[], rng),
        11 => header.ommers_hash = values::hash(header.ommers_hash, &[], rng),
        12 => header.beneficiary = alloy_primitives::Address::repeat_byte(rng.random()),
        13 => header.difficulty = U256::from(values::number(0, rng)),
        14 => header.nonce = B64::repeat_byte(rng.random()),
        15 => header.logs_bloom.0[rng.random_range(0..256)] ^= 1,
        16 => header.withdrawals_root = header.withdrawals_root.map(|root| values::hash(root, &[], rng)),
        17 => header.blob_gas_used = header.blob_gas_used.map(|gas| values::number(gas, rng)),
        18 => header.parent_beacon_block_root = header.parent_beacon_block_root.map(|was| values::hash(was, &[], rng)),
        _ => {
            header.extra_data = match rng.random_range(0..3) {
                0 => Bytes::new(),
                1 => Bytes::from(vec![0xff; 32]),
                _ => [header.extra_data.as_ref(), &[0]].concat().into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::{Certificate, authentic_block_hash};
    use rand::SeedableRng;

    #[test]
    fn a_changed_block_has_the_hash_of_what_it_became() {
        let mut header = Header {
            number: 7,
            base_fee_per_gas: Some(7),
            withdrawals_root: Some(B256::ZERO),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            requests_hash: Some(B256::ZERO),
            ..Header::default()
        };
        set_block_time(&mut header, 1_700_000_000_123, 2);
        let last_commit = Certificate::genesis(B256::repeat_byte(1));
        header.parent_beacon_block_root = Some(last_commit.hash());
        header.transactions_root = calculate_transaction_root::<bttc_types::Transaction>(&[]);
        let block = Block { header, transactions: Vec::new(), last_commit };
        let bytes = block.encode();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rounds = 0;
        for _ in 0..300 {
            let (hash, encoded) = with_round(&bytes, huge_round(2, &mut rng)).unwrap();
            assert_eq!(authentic_block_hash(&encoded), Ok(hash));
            assert_ne!(hash, block.hash());
            let extra = Block::decode(&encoded).unwrap().header.extra_data;
            let round = u32::from_be_bytes(extra[1..5].try_into().unwrap());
            rounds += usize::from(round == 5_000_000 || round == u32::MAX);
            let (hash, encoded) = changed(&bytes, &mut rng).unwrap();
            assert_eq!(bttc_types::block_hash_of(&encoded), Ok(hash));
        }
        assert!(rounds > 50, "{rounds} of 300 rounds are far away");
    }
}
