//! Golden vectors of every encoding and digest. `BTTC_BLESS=1` writes them anew; a change in them is a change of the
//! protocol.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, hex};
use alloy_rlp::Decodable;
use bttc_types::{
    Block, Certificate, Evidence, ExtraData, Part, PartsHeader, Proposal, SecretKey, SignedProposal, SignedVote,
    SigningDomain, Validator, ValidatorSet, Vote, VoteKind, authentic_block_hash, mix_hash, set_block_time,
    split_into_parts,
};
use std::collections::BTreeMap;

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn vote(kind: VoteKind, block_hash: Option<B256>) -> Vote {
    Vote { kind, height: 258, round: 3, block_hash, validator: key(1).address() }
}

fn signed(domain: &SigningDomain, vote: Vote) -> SignedVote {
    SignedVote { signature: key(1).sign(domain.vote_digest(&vote)), vote }
}

/// A block of one legacy transaction whose body matches its header.
fn block(domain: &SigningDomain) -> Block {
    let raw = hex!(
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe\
         537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    );
    let transaction = bttc_types::decode_transaction(&raw).unwrap();
    let precommit = vote(VoteKind::Precommit, Some(B256::repeat_byte(0xaa)));
    let last_commit = Certificate {
        height: 258,
        round: 3,
        block_hash: B256::repeat_byte(0xaa),
        signatures: vec![(2, key(1).sign(domain.vote_digest(&precommit))).into()],
    };
    let mut header = Header {
        number: 259,
        parent_hash: B256::repeat_byte(0xaa),
        beneficiary: Address::repeat_byte(7),
        gas_limit: 60_000_000,
        gas_used: 21_000,
        base_fee_per_gas: Some(300_000_000_000_000),
        withdrawals_root: Some(alloy_consensus::constants::EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(last_commit.hash()),
        requests_hash: Some(alloy_eips::eip7685::EMPTY_REQUESTS_HASH),
        mix_hash: mix_hash(B256::repeat_byte(1), 259, Address::repeat_byte(7)),
        transactions_root: alloy_consensus::proofs::calculate_transaction_root(std::slice::from_ref(&transaction)),
        ..Header::default()
    };
    set_block_time(&mut header, 1_700_000_000_123, 3);
    Block { header, transactions: vec![transaction], last_commit }
}

fn vectors() -> BTreeMap<String, String> {
    let domain = SigningDomain::new(199, B256::repeat_byte(0xc5));
    let hash = Some(B256::repeat_byte(0xaa));
    let mut all = BTreeMap::new();
    let mut put = |name: &str, bytes: &[u8]| {
        all.insert(name.to_owned(), hex::encode_prefixed(bytes));
    };
    put("signing_domain", domain.name().as_bytes());
    put("prevote_sign_bytes", &domain.vote_bytes(&vote(VoteKind::Prevote, hash)));
    put("precommit_nil_sign_bytes", &domain.vote_bytes(&vote(VoteKind::Precommit, None)));
    put("prevote_digest", domain.vote_digest(&vote(VoteKind::Prevote, hash)).as_slice());
    let yes = signed(&domain, vote(VoteKind::Precommit, hash));
    let no = signed(&domain, vote(VoteKind::Precommit, None));
    put("signed_vote", &alloy_rlp::encode(&yes));
    put("signed_nil_vote", &alloy_rlp::encode(&no));
    let proposal = Proposal {
        height: 258,
        round: 3,
        pol_round: Some(1),
        block_hash: B256::repeat_byte(0xaa),
        proposer: key(1).address(),
    };
    put("proposal_sign_bytes", &domain.proposal_bytes(&proposal));
    let parts = PartsHeader { total: 2, root: B256::repeat_byte(0x0f) };
    let parts_digest = domain.parts_digest(258, 3, B256::repeat_byte(0xaa), &parts);
    put("parts_digest", parts_digest.as_slice());
    put("peer_digest", domain.peer_digest(&[1, 2, 3]).as_slice());
    let signed_proposal = SignedProposal {
        signature: key(1).sign(domain.proposal_digest(&proposal)),
        proposal,
        parts,
        parts_signature: key(1).sign(parts_digest),
    };
    put("signed_proposal", &alloy_rlp::encode(&signed_proposal));
    put("evidence", &alloy_rlp::encode(Evidence::from_votes(yes, no, &domain)));
    let block = block(&domain);
    put("certificate", &alloy_rlp::encode(&block.last_commit));
    put("certificate_hash", block.last_commit.hash().as_slice());
    put("genesis_certificate_hash", Certificate::genesis(B256::repeat_byte(1)).hash().as_slice());
    put("extra_data", &ExtraData { round: 3, millis: 123 }.encode());
    put("block", &block.encode());
    put("block_hash", block.hash().as_slice());
    let body: Vec<u8> = (0..100_000u32).map(|index| (index % 251) as u8).collect();
    let (header, cut) = split_into_parts(&body).unwrap();
    put("parts_root", header.root.as_slice());
    let (bytes, proof) = cut[1].clone();
    let part = Part {
        height: 258,
        round: 3,
        block_hash: B256::repeat_byte(0xaa),
        header,
        signature: key(1).sign(domain.parts_digest(258, 3, B256::repeat_byte(0xaa), &header)),
        index: 1,
        bytes: Bytes::copy_from_slice(&bytes[..32]),
        proof,
    };
    put("part_of_32_bytes", &alloy_rlp::encode(&part));
    let set = ValidatorSet::new(
        (1..=3)
            .map(|index| Validator {
                address: key(index).address(),
                owner: Address::ZERO,
                power: u64::from(index) * 10,
            })
            .collect(),
    )
    .unwrap();
    put("validator_set_hash", set.hash().as_slice());
    let proposers: Vec<u8> = (0..12).flat_map(|step| set.advanced(step).proposer(0).address.into_array()).collect();
    put("twelve_proposers", &proposers);
    all
}

#[test]
fn encodings_are_those_of_the_committed_vectors() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors.json");
    let now = vectors();
    if std::env::var("BTTC_BLESS").is_ok() {
        std::fs::write(&path, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    let committed: BTreeMap<String, String> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(now, committed);
}

#[test]
fn what_was_encoded_decodes_to_the_same() {
    let domain = SigningDomain::new(199, B256::repeat_byte(0xc5));
    let block = block(&domain);
    let bytes = block.encode();
    assert_eq!(Block::decode(&bytes).unwrap(), block);
    assert_eq!(authentic_block_hash(&bytes).unwrap(), block.hash());
    let vote = signed(&domain, vote(VoteKind::Precommit, None));
    assert_eq!(SignedVote::decode(&mut alloy_rlp::encode(&vote).as_slice()).unwrap(), vote);
    let nothing = signed(&domain, Vote { block_hash: Some(B256::ZERO), ..vote.vote.clone() });
    assert!(SignedVote::decode(&mut alloy_rlp::encode(&nothing).as_slice()).is_err(), "no block hashes to zero");
    let other = signed(&domain, Vote { block_hash: Some(B256::repeat_byte(1)), ..vote.vote.clone() });
    let evidence = Evidence::from_votes(vote.clone(), other.clone(), &domain);
    evidence.verify(&domain).unwrap();
    assert_eq!(evidence, Evidence::from_votes(other, vote.clone(), &domain), "one offence, one encoding");
    assert_eq!(Evidence::decode(&mut alloy_rlp::encode(&evidence).as_slice()).unwrap(), evidence);
    assert!(Evidence::from_votes(vote.clone(), vote, &domain).verify(&domain).is_err());
}

#[test]
fn the_block_hash_covers_every_byte() {
    let domain = SigningDomain::new(199, B256::repeat_byte(0xc5));
    let original = block(&domain);
    let bytes = original.encode();
    for index in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[index] ^= bit;
            assert_ne!(authentic_block_hash(&changed).ok(), Some(original.hash()), "byte {index}");
        }
    }
}

#[test]
fn a_certificate_needs_two_thirds_and_only_good_signatures() {
    let domain = SigningDomain::new(199, B256::ZERO);
    let keys: Vec<SecretKey> = (1..=4).map(key).collect();
    let set = ValidatorSet::new(
        keys.iter().map(|key| Validator { address: key.address(), owner: Address::ZERO, power: 1 }).collect(),
    )
    .unwrap();
    let sign = |count: usize| {
        let mut certificate = Certificate { height: 5, round: 0, block_hash: B256::repeat_byte(9), signatures: vec![] };
        for key in keys.iter().take(count) {
            let (index, _) = set.find(&key.address()).unwrap();
            let digest = domain.vote_digest(&certificate.vote(key.address()));
            assert!(certificate.insert(index, key.sign(digest)));
        }
        certificate
    };
    assert!(sign(2).verify(&set, &domain).is_err());
    let good = sign(3);
    good.verify(&set, &domain).unwrap();
    let other_network = SigningDomain::new(199, B256::repeat_byte(1));
    assert!(good.verify(&set, &other_network).is_err(), "signatures are bound to one network");
    let mut swapped = good.clone();
    swapped.signatures.swap(0, 1);
    assert!(swapped.verify(&set, &domain).is_err(), "indices ascend");
    let mut forged = sign(4);
    forged.signatures[3].signature = key(9).sign(B256::ZERO);
    assert!(forged.verify(&set, &domain).is_err(), "one bad signature spoils a certificate, whatever the others say");
    let mut doubled = good;
    let first = doubled.signatures[0];
    doubled.signatures.push(first);
    assert!(doubled.verify(&set, &domain).is_err());
}
