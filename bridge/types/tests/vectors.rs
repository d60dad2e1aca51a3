//! The vectors that Rust and Solidity share. `BTTC_WRITE_VECTORS=1` writes the file anew.

use alloy_primitives::{Address, B256, U256, address, hex, keccak256};
use bttc_bridge_types::{
    Attest, BridgeMember, BridgeSet, Checkpoint, Command, Deposit, Dest, GatewayCommand, GatewayId, Tree, Withdrawal,
    accumulate, first_accumulator, pack_signatures,
};
use bttc_types::SecretKey;
use serde_json::json;

fn vectors() -> serde_json::Value {
    let bridge = keccak256("vectors");
    let at = GatewayId { root_chain_id: 728_126_428, gateway: address!("00112233445566778899aabbccddeeff00112233") };
    let token = Address::repeat_byte(0x22);
    let (sender, recipient) = (Address::repeat_byte(0x33), Address::repeat_byte(0x44));
    let deposit = Deposit { nonce: 1, token, sender, recipient, amount: U256::from(123_456_789_000_000_000u64) };
    let before = first_accumulator(bridge, at);
    let after = accumulate(before, deposit.hash(bridge, at));
    let attest = Attest { at, to_nonce: 1, acc_to: after };

    let keys: Vec<SecretKey> = (1..=4u8).map(|n| SecretKey::from_bytes(&[n; 32]).unwrap()).collect();
    let members = keys.iter().zip(10..).map(|(key, power)| BridgeMember { key: key.address(), power }).collect();
    let set = BridgeSet::new(7, members).unwrap();

    let leaves: Vec<B256> = (0..5u64)
        .map(|index| {
            let amount = U256::from(1_000 + index);
            let relayer_fee = U256::from(index);
            Withdrawal { at, tree_id: 1, index, token, sender, recipient, amount, relayer_fee }.leaf(bridge)
        })
        .collect();
    let mut tree = Tree::default();
    for leaf in &leaves {
        tree.append(*leaf).unwrap();
    }
    let proof = Tree::prove(&leaves, 3).unwrap();

    let next = keccak256("next set");
    let dest = Dest { at, tree_id: 1, withdrawal_root: tree.root(), count: tree.count };
    let checkpoint = Checkpoint {
        seq: 9,
        last_block: 600,
        last_block_hash: keccak256("block"),
        timestamp: 1_800_000_000,
        dests: vec![dest],
        set_hash: set.hash(bridge),
        next_set_hash: next,
    };
    let digest = checkpoint.digest(bridge);
    let signatures: Vec<_> = keys.iter().map(|key| (set.index_of(key.address()).unwrap(), key.sign(digest))).collect();
    let command = Command::MapToken { token, minimum: U256::from(5), floor: U256::from(1_000_000) };
    let order = GatewayCommand { at, command_nonce: 3, command };
    json!({
        "bridgeId": bridge,
        "rootChainId": at.root_chain_id,
        "gateway": at.gateway,
        "deposit": {
            "nonce": 1, "token": token, "sender": sender, "recipient": recipient,
            "amount": format!("{}", deposit.amount),
            "hash": deposit.hash(bridge, at), "accBefore": before, "accAfter": after,
        },
        "attest": {"digest": attest.digest(bridge)},
        "set": {"encoded": hex::encode_prefixed(set.encode()), "hash": set.hash(bridge)},
        "tree": {"root": tree.root(), "count": tree.count},
        "withdrawal": {
            "index": 3, "token": token, "sender": sender, "recipient": recipient,
            "amount": "1003", "relayerFee": "3",
            "leaf": leaves[3], "proof": proof,
        },
        "checkpoint": {
            "seq": checkpoint.seq, "lastBlock": checkpoint.last_block, "lastBlockHash": checkpoint.last_block_hash,
            "timestamp": checkpoint.timestamp, "nextSetHash": next, "digest": digest,
            "signatures": hex::encode_prefixed(pack_signatures(&signatures)),
        },
        "command": {
            "commandNonce": 3, "kind": command.kind(), "payload": command.payload(),
            "digest": order.digest(bridge),
        },
    })
}

#[test]
fn the_file_holds_what_is_computed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.json");
    let computed = vectors();
    if std::env::var_os("BTTC_WRITE_VECTORS").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&computed).unwrap() + "\n").unwrap();
    }
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file, computed);
}
