//! That the checker sees what a block says of itself when it should not.

use super::*;
use crate::fault::{Fault, FaultSet};
use alloy_consensus::Header;
use bttc_types::{SecretKey, Validator, set_block_time};

const NOW_MS: u64 = 1_700_000_000_000;

fn keys() -> Vec<SecretKey> {
    (1..=4u8).map(|byte| SecretKey::from_bytes(&[byte; 32]).unwrap()).collect()
}

/// A checker of four validators of which the last one lies.
fn checker() -> Checker {
    let validator = |key: &SecretKey| Validator { address: key.address(), owner: key.address(), power: 1 };
    let set = ValidatorSet::new(keys().iter().map(validator).collect()).unwrap();
    let config = Config::new(3, 4, 10, FaultSet::only(Fault::EarlyVotes));
    assert!(config.is_steady());
    let liars = BTreeSet::from([keys()[3].address()]);
    let mut checker = Checker::new(set, SigningDomain::new(1, B256::ZERO), liars, &config);
    checker.note_clock(NOW_MS);
    checker
}

/// A block of height 5 and the certificate of a round, with its parent signed by so many of the canonical order.
fn block(checker: &Checker, time_ms: u64, round: u32, signers: &[usize]) -> Block {
    let beneficiary = checker.set_at(5).proposer(round.min(100)).address;
    let mut header = Header { number: 5, beneficiary, ..Header::default() };
    set_block_time(&mut header, time_ms, round);
    let signature = bttc_types::Signature::from_bytes([0; 65]);
    let signatures = signers.iter().map(|index| (*index as u16, signature).into()).collect();
    let last_commit = Certificate { height: 4, round: 0, block_hash: B256::ZERO, signatures };
    Block { header, transactions: Vec::new(), last_commit }
}

fn found(time_ms: u64, round: u32, decided_in: u32, signers: &[usize]) -> Vec<&'static str> {
    let mut checker = checker();
    let block = block(&checker, time_ms, round, signers);
    let certificate = Certificate { height: 5, round: decided_in, block_hash: block.hash(), signatures: Vec::new() };
    checker.check_first(&block, &certificate);
    checker.violations().iter().map(|violation| violation.property).collect()
}

#[test]
fn a_round_that_was_not_reached_a_time_to_come_and_a_missing_signer_are_seen() {
    let liar = checker().set_at(4).find(&keys()[3].address()).unwrap().0 as usize;
    let honest: Vec<usize> = (0..4).filter(|index| *index != liar).collect();
    assert_eq!(found(NOW_MS, 2, 2, &honest), Vec::<&str>::new());
    assert_eq!(found(NOW_MS + PRECISION_MS, 0, 3, &honest), Vec::<&str>::new());
    assert_eq!(found(NOW_MS + PRECISION_MS + 1, 0, 0, &honest), ["time"]);
    assert_eq!(found(NOW_MS, 1, 0, &honest), ["own round"]);
    // Nobody counts up to that.
    assert_eq!(found(NOW_MS, u32::MAX, 0, &honest), ["own round"]);
    assert_eq!(found(NOW_MS, 0, 0, &honest[1..]), ["signers"]);
}
