//! Writes well-formed inputs into `corpus/`, one folder a target: where a fuzzer begins.

use alloy_primitives::{Address, B256, U256, hex};
use alloy_sol_types::SolCall;
use bttc_engine::{BlocksRequest, CertifiedBlock, FileGuard, Message, Wal, encode_blocks};
use bttc_fuzz::{executor, key, spec};
use bttc_modules::interfaces::{IBtt, IGovernance, IRewards, IStaking};
use bttc_node::{Offer, PeerRequest, encode_answer, offers, pieces, tail};
use bttc_state::snapshot::Import;
use bttc_types::{Block, Part, Proposal, SignedProposal, SignedVote, SigningDomain, Vote, VoteKind, split_into_parts};
use std::path::Path;
use std::sync::Arc;

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::write(folder.join(name), bytes).expect("the file can be written");
}

fn main() {
    let executor = executor();
    let store = executor.store();
    let domain: &SigningDomain = executor.domain();
    let address = key().address();
    let encoded = store.block_bytes(2).expect("memory reads").expect("it is there");
    let block = Block::decode(&encoded).expect("our own block");
    let certificate = store.certificate(2).expect("memory reads").expect("it is there");
    put("block", "empty", &encoded);
    put("block", "genesis", &store.block_bytes(0).expect("memory reads").expect("it is there"));
    // A block with transactions of every type, from the fuzzed decoder's point of view.
    let transactions = [
        "02f86d8205390180843b9aca00825208945555555555555555555555555555555555555555018080c080a0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00101010101010101010101010101010101010101010101010101010101010101",
        "f8640184773594008252089455555555555555555555555555555555555555550180820a96a0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00101010101010101010101010101010101010101010101010101010101010101",
    ];
    for (index, text) in transactions.iter().enumerate() {
        put("transaction", &index.to_string(), &hex::decode(text).unwrap_or_default());
    }

    let (header, cut) = split_into_parts(&encoded).expect("it is not too large");
    let parts_signature = key().sign(domain.parts_digest(2, 0, block.hash(), &header));
    let part = Part {
        height: 2,
        round: 0,
        block_hash: block.hash(),
        header,
        signature: parts_signature,
        index: 0,
        bytes: cut[0].0.clone(),
        proof: cut[0].1.clone(),
    };
    put("parts", "part", &alloy_rlp::encode(&part));
    let vote = |hash: Option<B256>| {
        let vote = Vote { kind: VoteKind::Prevote, height: 2, round: 1, block_hash: hash, validator: address };
        let signature = key().sign(domain.vote_digest(&vote));
        SignedVote { vote, signature }
    };
    put("votes", "vote", &alloy_rlp::encode(vote(Some(block.hash()))));
    put("votes", "nil", &alloy_rlp::encode(vote(None)));
    let proposal = Proposal { height: 2, round: 1, pol_round: Some(0), block_hash: block.hash(), proposer: address };
    let signature = key().sign(domain.proposal_digest(&proposal));
    let proposal = SignedProposal { proposal, parts: header, signature, parts_signature };
    put("votes", "proposal", &alloy_rlp::encode(&proposal));
    put("certificate", "one", &alloy_rlp::encode(&certificate));

    put("messages", "vote", &Message::Vote(vote(None)).encode());
    put("messages", "proposal", &Message::Proposal(proposal).encode());
    put("messages", "part", &Message::Part(Box::new(part)).encode());
    put("messages", "blocks", &encode_blocks(&[CertifiedBlock { block: encoded.into(), certificate }]));
    put("requests", "blocks", &PeerRequest::Blocks(BlocksRequest { from: 1, count: 16 }).encode());
    put("requests", "offers", &PeerRequest::Offers.encode());
    put("requests", "tail", &PeerRequest::Tail(3).encode());
    put("requests", "set-changes", &PeerRequest::SetChanges(2).encode());
    let mut import =
        Import::open(Arc::new(bttc_state::MemoryStore::new()), store.head().expect("a head")).expect("memory opens");
    let wanted = import.next_pieces(4);
    put("requests", "pieces", &PeerRequest::Pieces(3, wanted.clone()).encode());
    put("requests", "offer", &encode_answer::<Offer>(&offers(&[Arc::clone(store)]).expect("memory reads")));
    let contents = pieces(store, &wanted).expect("memory reads");
    put("snapshot", "contents", &encode_answer(&contents));
    put("snapshot", "pieces", &encode_answer(&wanted));
    put("snapshot", "tail", &alloy_rlp::encode(tail(store).expect("memory reads")));
    put("genesis", "local", spec().to_json().expect("it is valid").as_bytes());

    let folder = std::env::temp_dir().join(format!("bttc-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let log = folder.join("log");
    let mut wal = Wal::file(&log);
    wal.reset(5).expect("it can be written");
    wal.append(b"a record").expect("it can be written");
    wal.append(&[0; 40]).expect("it can be written");
    wal.flush().expect("it can be written");
    put("wal", "two", &std::fs::read(&log).expect("it is there"));
    let guard = folder.join("guard");
    FileGuard::create(&guard, Address::ZERO).expect("it can be written");
    put("guard", "fresh", &std::fs::read(&guard).expect("it is there"));
    let _ = std::fs::remove_dir_all(&folder);

    let rpc: &[(u8, &str)] = &[
        (0, r#"["latest",true]"#),
        (1, r#"["0x1111111111111111111111111111111111111111111111111111111111111111",false]"#),
        (8, r#"["0x1111111111111111111111111111111111111111",{"blockNumber":"0x1"}]"#),
        (10, r#"["0x1111111111111111111111111111111111111111","0x0","safe"]"#),
        (12, r#"["0x1111111111111111111111111111111111111111",["0x0","0x1"],"0x2"]"#),
        (
            13,
            r#"[{"from":"0x1111111111111111111111111111111111111111","to":"0x1111111111111111111111111111111111111112","gas":"0x5208","value":"0x1","data":"0x60"},"latest",{"0x1111111111111111111111111111111111111112":{"code":"0x6001","balance":"0x1","stateDiff":{}}},{"number":"0x9"}]"#,
        ),
        (14, r#"[{"accessList":[],"maxFeePerGas":"0x1","type":"0x2"}]"#),
        (17, r#"["0x4","latest",[10,50.5]]"#),
        (
            18,
            r#"[{"fromBlock":"0x0","toBlock":"latest","address":["0x1111111111111111111111111111111111111111"],"topics":[null,["0x1111111111111111111111111111111111111111111111111111111111111111"]]}]"#,
        ),
        (22, r#"["0x1111111111111111111111111111111111111111","0x1"]"#),
        (27, r#"["0x2"]"#),
        (31, r#"["0x01"]"#),
    ];
    for (method, params) in rpc {
        put("rpc", &method.to_string(), &[&[*method], params.as_bytes()].concat());
    }
    modules();
}

/// Calls one after the other: module, caller, value as a power of two, length, input; 0xff is a block.
fn modules() {
    let call = |module: u8, caller: u8, value: u8, input: Vec<u8>| {
        let length = (input.len() as u16).to_be_bytes();
        [vec![module, caller, value, length[0], length[1]], input].concat()
    };
    let block = || vec![0xff, 0, 0, 0, 0];
    let all = U256::MAX;
    put(
        "modules",
        "stake",
        &[
            call(0, 1, 20, IStaking::delegateCall { id: 1 }.abi_encode()),
            block(),
            call(0, 1, 0, IStaking::undelegateCall { id: 1, amount: all }.abi_encode()),
            [block(), block(), block()].concat(),
            call(0, 2, 0, IStaking::withdrawCall { delegator: Address::with_last_byte(1) }.abi_encode()),
            call(0, 1, 0, IStaking::claimRewardsCall { id: 1 }.abi_encode()),
        ]
        .concat(),
    );
    let split = IGovernance::Split { yes: 10_000, no: 0, abstain: 0, veto: 0 };
    put(
        "modules",
        "vote",
        &[
            call(1, 1, 10, IGovernance::proposeTextCall { title: "t".into(), description: String::new() }.abi_encode()),
            block(),
            call(1, 0, 0, IGovernance::voteAsValidatorCall { id: 1, split: split.clone() }.abi_encode()),
            call(1, 0, 0, IGovernance::voteCall { id: 1, validators: vec![1], split }.abi_encode()),
            [block(), block()].concat(),
            call(1, 1, 0, IGovernance::withdrawDepositCall { id: 1 }.abi_encode()),
        ]
        .concat(),
    );
    put(
        "modules",
        "views",
        &[
            call(0, 1, 0, IStaking::validatorCall { id: 1 }.abi_encode()),
            call(0, 1, 0, IStaking::validatorSetCall { epochNumber: 0 }.abi_encode()),
            call(2, 1, 0, IRewards::missedCall { id: 1 }.abi_encode()),
            call(3, 1, 0, IBtt::transferCall { to: Address::with_last_byte(2), value: U256::from(5) }.abi_encode()),
        ]
        .concat(),
    );
}
