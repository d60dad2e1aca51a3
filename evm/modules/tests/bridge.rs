//! The bridge's ledger in memory: deposits, withdrawals, sets, accusations.

use alloy_primitives::{Address, B256, U256, address, keccak256};
use alloy_sol_types::{SolCall, SolError, SolInterface};
use bttc_bridge_types::{
    Attest, BridgeSet, Checkpoint, Deposit, GatewayId, Tree, Withdrawal, accumulate, first_accumulator, fold_proof,
    pack_signatures,
};
use bttc_genesis::{
    BRIDGE_ADDRESS, BTT_ADDRESS, BridgeSection, ChainSpec, GOVERNANCE_ADDRESS, GenesisGateway, GenesisToken,
    GenesisValidator, Preset, STAKING_ADDRESS, wrapped_address,
};
use bttc_modules::bridge::views;
use bttc_modules::hooks::{LastCommit, begin_block, end_block};
use bttc_modules::interfaces::{IBridge, IBtt, IGovernance, IStaking, IWrapped};
use bttc_modules::{Call, Fault, MemoryHost, call, check_invariants, explain};
use bttc_types::SecretKey;

const ETHEREUM: GatewayId =
    GatewayId { root_chain_id: 1, gateway: address!("e000000000000000000000000000000000000001") };
const TRON: GatewayId =
    GatewayId { root_chain_id: 728_126_428, gateway: address!("7000000000000000000000000000000000000002") };
const USDT: Address = address!("dac17f958d2ee523a2206206994597c13d831ec7");
const TRON_BTT: Address = address!("032017411f4663b317fe77c257d28d5cd1b26e3d");
const ALICE: Address = address!("a11ce00000000000000000000000000000000001");
const BOB: Address = address!("b0b0000000000000000000000000000000000001");

fn key(role: u8, index: u8) -> SecretKey {
    SecretKey::from_bytes(&keccak256([role, index]).0).unwrap()
}

fn owner(index: u8) -> Address {
    Address::repeat_byte(0x50 + index)
}

struct World {
    host: MemoryHost,
    acc: B256,
    nonce: u64,
    members: Vec<SecretKey>,
}

impl World {
    /// Four validators of equal power.
    fn new() -> Self {
        Self::with(4, 1_000_000)
    }

    fn with(validators: u8, floor: u64) -> Self {
        let entries = (0..validators)
            .map(|index| GenesisValidator {
                address: key(1, index).address(),
                owner: owner(index),
                power: 1_000,
                bridge: Some(key(2, index).address()),
            })
            .collect();
        let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, entries).unwrap();
        let token = |root, symbol: &str, native| GenesisToken {
            root,
            symbol: symbol.into(),
            name: format!("Tether {symbol}"),
            decimals: 6,
            minimum: U256::from(1),
            floor: U256::from(floor),
            native,
        };
        spec.bttc.bridge = BridgeSection {
            bridge_id: keccak256("bridge"),
            gateways: vec![
                GenesisGateway {
                    name: "ethereum".into(),
                    root_chain_id: ETHEREUM.root_chain_id,
                    gateway: ETHEREUM.gateway,
                    tokens: vec![token(USDT, "USDT_e", false)],
                },
                GenesisGateway {
                    name: "tron".into(),
                    root_chain_id: TRON.root_chain_id,
                    gateway: TRON.gateway,
                    tokens: vec![token(TRON_BTT, "BTT", true)],
                },
            ],
        };
        spec.validate().unwrap();
        let mut host = bttc_modules::genesis::genesis_state(&spec).unwrap();
        host.env = bttc_modules::genesis::environment(&spec, B256::repeat_byte(9));
        host.env.height = 1;
        host.env.time_ms += 1_000;
        let members = (0..validators).map(|index| key(2, index)).collect();
        let acc = first_accumulator(host.env.bridge_id, ETHEREUM);
        let mut world = Self { host, acc, nonce: 0, members };
        begin_block(&mut world.host, &LastCommit::default()).unwrap();
        world
    }

    fn send<C: SolCall>(&mut self, caller: Address, to: Address, request: C) -> Result<C::Return, Fault> {
        self.pay(caller, to, 0, request)
    }

    fn pay<C: SolCall>(&mut self, caller: Address, to: Address, btt: u64, request: C) -> Result<C::Return, Fault> {
        let before = self.host.clone();
        let value = U256::from(btt) * U256::from(bttc_genesis::BTT);
        *self.host.balances.entry(to).or_default() += value;
        let input = request.abi_encode();
        match call(to, &Call { caller, value, input: &input }, &mut self.host) {
            Ok(output) => {
                check_invariants(&mut self.host, &(0..9).map(owner).collect::<Vec<_>>()).unwrap();
                Ok(C::abi_decode_returns(&output).unwrap())
            }
            Err(fault) => {
                self.host = before;
                Err(fault)
            }
        }
    }

    fn deposit(&self, token: Address, recipient: Address, amount: u64) -> IBridge::Deposit {
        IBridge::Deposit { token, sender: BOB, recipient, amount: U256::from(amount) }
    }

    fn attest(&self, at: GatewayId, from: (u64, B256), list: &[IBridge::Deposit]) -> Attest {
        let (mut nonce, mut acc) = from;
        for entry in list {
            nonce += 1;
            let deposit = Deposit {
                nonce,
                token: entry.token,
                sender: entry.sender,
                recipient: entry.recipient,
                amount: entry.amount,
            };
            acc = accumulate(acc, deposit.hash(self.host.env.bridge_id, at));
        }
        Attest { at, to_nonce: nonce, acc_to: acc }
    }

    fn set(&mut self) -> BridgeSet {
        let (id, ..) = views::state(&mut self.host).unwrap();
        views::set(&mut self.host, id).unwrap().unwrap()
    }

    fn sign(&mut self, digest: B256, signers: &[usize]) -> Vec<u8> {
        let set = self.set();
        let signatures: Vec<_> = signers
            .iter()
            .map(|index| {
                let key = &self.members[*index];
                (set.index_of(key.address()).unwrap(), key.sign(digest))
            })
            .collect();
        pack_signatures(&signatures)
    }

    /// Applies deposits on Ethereum, signed by these.
    fn apply_by(&mut self, signers: &[usize], list: Vec<IBridge::Deposit>) -> Result<(), Fault> {
        let attest = self.attest(ETHEREUM, (self.nonce, self.acc), &list);
        let signatures = self.sign(attest.digest(self.host.env.bridge_id), signers).into();
        let request = IBridge::applyDepositsCall {
            rootChainId: ETHEREUM.root_chain_id,
            gateway: ETHEREUM.gateway,
            deposits: list,
            signatures,
        };
        self.send(ALICE, BRIDGE_ADDRESS, request)?;
        (self.nonce, self.acc) = (attest.to_nonce, attest.acc_to);
        Ok(())
    }

    fn apply(&mut self, list: Vec<IBridge::Deposit>) {
        self.apply_by(&[0, 1, 2], list).unwrap();
    }

    fn apply_btt(&mut self, recipient: Address, amount: u64) {
        let list = vec![self.deposit(TRON_BTT, recipient, amount)];
        let info = views::gateway(&mut self.host, TRON).unwrap();
        let attest = self.attest(TRON, (info.depositNonce, info.depositAcc), &list);
        let signatures = self.sign(attest.digest(self.host.env.bridge_id), &[0, 1, 2, 3]).into();
        let request = IBridge::applyDepositsCall {
            rootChainId: TRON.root_chain_id,
            gateway: TRON.gateway,
            deposits: list,
            signatures,
        };
        self.send(ALICE, BRIDGE_ADDRESS, request).unwrap();
    }

    fn balance(&mut self, who: Address) -> u64 {
        let token = wrapped_address(1, USDT);
        self.send(who, token, IWrapped::balanceOfCall { account: who }).unwrap().to()
    }

    fn token(&mut self) -> IBridge::TokenInfo {
        views::tokens(&mut self.host, ETHEREUM).unwrap().remove(0)
    }

    /// Ends the block and begins the next one, so many times, so far apart.
    fn blocks(&mut self, count: u64, seconds: u64) {
        for _ in 0..count {
            end_block(&mut self.host, U256::ZERO).unwrap();
            let env = &mut self.host.env;
            env.parent_hash = keccak256(env.height.to_be_bytes());
            env.height += 1;
            env.parent_time_ms = env.time_ms;
            env.time_ms += seconds * 1_000;
            let signers = (0..self.members.len() as u16).collect();
            let proposer = key(1, 0).address();
            begin_block(&mut self.host, &LastCommit { signers, proposer }).unwrap();
        }
    }

    fn checkpoint(&mut self, seq: u64) -> (Checkpoint, u64, u64) {
        views::checkpoint(&mut self.host, seq).unwrap().unwrap()
    }

    fn checkpoints(&mut self) -> u64 {
        views::state(&mut self.host).unwrap().2
    }
}

fn says<T>(result: Result<T, Fault>) -> String {
    match result {
        Err(Fault::Revert(data)) => explain(&data).unwrap_or_else(|| format!("{data}")),
        Err(fault) => panic!("{fault}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn certified_deposits_are_credited_once_and_in_order() {
    let mut world = World::new();
    let first = vec![world.deposit(USDT, ALICE, 500), world.deposit(USDT, BOB, 70)];
    assert!(says(world.apply_by(&[0, 1], first.clone())).contains("two thirds"));
    world.apply(first.clone());
    assert_eq!((world.balance(ALICE), world.balance(BOB)), (500, 70));
    // The same certificate does not follow itself.
    let attest = world.attest(ETHEREUM, (0, first_accumulator(world.host.env.bridge_id, ETHEREUM)), &first);
    let signatures = world.sign(attest.digest(world.host.env.bridge_id), &[0, 1, 2, 3]).into();
    let again = IBridge::applyDepositsCall { rootChainId: 1, gateway: ETHEREUM.gateway, deposits: first, signatures };
    assert!(says(world.send(ALICE, BRIDGE_ADDRESS, again)).contains("not its member's"));
    // A changed, an omitted, an invented deposit.
    let list = vec![world.deposit(USDT, ALICE, 1), world.deposit(USDT, ALICE, 2)];
    let attest = world.attest(ETHEREUM, (world.nonce, world.acc), &list);
    let signatures: alloy_primitives::Bytes = world.sign(attest.digest(world.host.env.bridge_id), &[0, 1, 2]).into();
    let mut larger = list.clone();
    larger[1].amount += U256::from(1);
    let mut more = list.clone();
    more.push(world.deposit(USDT, ALICE, 3));
    for bad in [larger, list[..1].to_vec(), more, vec![list[1].clone(), list[0].clone()]] {
        let request = IBridge::applyDepositsCall {
            rootChainId: 1,
            gateway: ETHEREUM.gateway,
            deposits: bad,
            signatures: signatures.clone(),
        };
        assert!(says(world.send(ALICE, BRIDGE_ADDRESS, request)).contains("signature"));
    }
    let other = IBridge::applyDepositsCall { rootChainId: 56, gateway: ETHEREUM.gateway, deposits: list, signatures };
    assert!(says(world.send(ALICE, BRIDGE_ADDRESS, other)).contains("UnknownGateway"));
    let many = (0..65).map(|_| world.deposit(USDT, ALICE, 1)).collect();
    assert!(says(world.apply_by(&[0, 1, 2], many)).contains("TooManyDeposits"));
    let token = world.token();
    assert_eq!((token.locked, token.minted, token.parked), (U256::from(570), U256::from(570), U256::ZERO));
}

#[test]
fn what_cannot_be_credited_is_parked_and_stops_nobody() {
    let mut world = World::new();
    let unknown = address!("1234567890123456789012345678901234567890");
    world.apply(vec![
        world.deposit(USDT, STAKING_ADDRESS, 10),
        world.deposit(unknown, ALICE, 20),
        world.deposit(USDT, wrapped_address(1, USDT), 30),
        world.deposit(USDT, ALICE, 40),
    ]);
    assert_eq!(world.balance(ALICE), 40);
    let at = |nonce| IBridge::releaseParkedCall { rootChainId: 1, gateway: ETHEREUM.gateway, nonce };
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, at(1))).contains("StillParked"));
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, at(4))).contains("NothingParked"));
    // Back to whoever deposited.
    let back = |nonce| IBridge::returnParkedCall { rootChainId: 1, gateway: ETHEREUM.gateway, nonce };
    world.send(ALICE, BRIDGE_ADDRESS, back(1)).unwrap();
    world.send(ALICE, BRIDGE_ADDRESS, back(2)).unwrap();
    assert!(says(world.send(ALICE, BRIDGE_ADDRESS, back(1))).contains("NothingParked"));
    let info = views::gateway(&mut world.host, ETHEREUM).unwrap();
    assert_eq!(info.withdrawals, 2);
    let leaf = |index, token, amount: u64| {
        Withdrawal {
            at: ETHEREUM,
            tree_id: 1,
            index,
            token,
            sender: BOB,
            recipient: BOB,
            amount: U256::from(amount),
            relayer_fee: U256::ZERO,
        }
        .leaf(world.host.env.bridge_id)
    };
    let leaves = [leaf(0, USDT, 10), leaf(1, unknown, 20)];
    assert_eq!(fold_proof(leaves[1], 1, &Tree::prove(&leaves, 1).unwrap()), info.withdrawalRoot);
    let token = world.token();
    assert_eq!((token.locked, token.parked), (U256::from(70), U256::from(30)));
}

#[test]
fn buckets_bound_what_is_minted_and_the_rest_follows() {
    let mut world = World::with(4, 1_000);
    world.apply(vec![world.deposit(USDT, ALICE, 5_000)]);
    // Three quarters of the floor; a quarter is kept for small ones.
    assert_eq!(world.balance(ALICE), 750);
    world.apply(vec![world.deposit(USDT, BOB, 9)]);
    assert_eq!(world.balance(BOB), 9);
    let release = IBridge::releaseParkedCall { rootChainId: 1, gateway: ETHEREUM.gateway, nonce: 1 };
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, release.clone())).contains("StillParked"));
    world.host.env.time_ms += 30_000;
    let paid: u64 = world.send(BOB, BRIDGE_ADDRESS, release.clone()).unwrap().to();
    assert_eq!(paid, 491);
    for _ in 0..20 {
        world.host.env.time_ms += 60_000;
        if world.send(BOB, BRIDGE_ADDRESS, release.clone()).is_err() {
            break;
        }
    }
    assert_eq!(world.balance(ALICE), 5_000);
    let back = IBridge::returnParkedCall { rootChainId: 1, gateway: ETHEREUM.gateway, nonce: 1 };
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, back)).contains("NothingParked"));
}

#[test]
fn wrapped_tokens_move_and_go_home() {
    let mut world = World::new();
    let token = wrapped_address(1, USDT);
    world.apply(vec![world.deposit(USDT, ALICE, 1_000)]);
    assert_eq!(world.send(BOB, token, IWrapped::symbolCall {}).unwrap(), "USDT_e");
    assert_eq!(world.send(BOB, token, IWrapped::decimalsCall {}).unwrap(), 6);
    world.send(ALICE, token, IWrapped::transferCall { to: BOB, value: U256::from(300) }).unwrap();
    world.send(BOB, token, IWrapped::approveCall { spender: ALICE, value: U256::from(100) }).unwrap();
    let take = |value: u64| IWrapped::transferFromCall { from: BOB, to: ALICE, value: U256::from(value) };
    world.send(ALICE, token, take(60)).unwrap();
    assert!(says(world.send(ALICE, token, take(60))).contains("InsufficientAllowance"));
    assert_eq!((world.balance(ALICE), world.balance(BOB)), (760, 240));
    let withdraw = |amount: u64, recipient, fee: u64| IBridge::withdrawCall {
        token,
        amount: U256::from(amount),
        recipient,
        relayerFee: U256::from(fee),
    };
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, withdraw(241, BOB, 0))).contains("InsufficientBalance"));
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, withdraw(0, BOB, 0))).contains("AmountTooSmall"));
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, withdraw(5, BOB, 5))).contains("FeeTooLarge"));
    for bad in [Address::ZERO, ETHEREUM.gateway, USDT] {
        assert!(says(world.send(BOB, BRIDGE_ADDRESS, withdraw(5, bad, 0))).contains("BadRecipient"));
    }
    assert_eq!(world.send(BOB, BRIDGE_ADDRESS, withdraw(200, ALICE, 7)).unwrap(), 0);
    let home = IWrapped::withdrawToCall { recipient: BOB, amount: U256::from(40) };
    assert_eq!(world.send(BOB, token, home).unwrap(), 1);
    assert_eq!(world.balance(BOB), 0);
    let info = world.token();
    assert_eq!((info.locked, info.minted), (U256::from(760), U256::from(760)));
    let nowhere = IBridge::withdrawCall { token: BOB, amount: U256::from(1), recipient: BOB, relayerFee: U256::ZERO };
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, nowhere)).contains("UnknownToken"));
}

#[test]
fn btt_from_tron_is_released_from_the_reserve_and_returns_to_it() {
    let mut world = World::new();
    let reserve = world.send(BOB, BRIDGE_ADDRESS, IBridge::reserveCall {}).unwrap();
    world.apply_btt(ALICE, 900);
    assert_eq!(world.host.balances[&ALICE], U256::from(900));
    assert_eq!(world.send(BOB, BRIDGE_ADDRESS, IBridge::reserveCall {}).unwrap(), reserve - U256::from(900));
    let home = IBtt::withdrawToCall { recipient: BOB, amount: U256::from(400) };
    assert_eq!(world.send(ALICE, BTT_ADDRESS, home).unwrap(), 0);
    assert_eq!(world.host.balances[&ALICE], U256::from(500));
    assert_eq!(world.send(BOB, BRIDGE_ADDRESS, IBridge::reserveCall {}).unwrap(), reserve - U256::from(500));
    // BTT that did not come from TRON is not locked there.
    world.host.balances.insert(BOB, U256::from(10_000));
    let more = IBtt::withdrawToCall { recipient: BOB, amount: U256::from(501) };
    assert!(says(world.send(BOB, BTT_ADDRESS, more)).contains("NotEnoughLocked"));
}

#[test]
fn checkpoints_say_what_is_new_and_sets_hand_over() {
    let mut world = World::new();
    world.blocks(19, 1);
    assert_eq!(world.checkpoints(), 0);
    world.apply(vec![world.deposit(USDT, ALICE, 1_000)]);
    let token = wrapped_address(1, USDT);
    let home = IWrapped::withdrawToCall { recipient: BOB, amount: U256::from(40) };
    world.send(ALICE, token, home).unwrap();
    world.blocks(1, 1);
    assert_eq!(world.checkpoints(), 1);
    let (first, set_id, next) = world.checkpoint(1);
    assert_eq!((first.last_block, set_id, next), (20, 1, 0));
    assert_eq!(first.last_block_hash, keccak256(20u64.to_be_bytes()));
    assert_eq!(first.timestamp, world.host.env.parent_time_ms / 1_000);
    assert_eq!(first.dests.len(), 1);
    assert!(!first.is_hand_over());
    world.blocks(20, 1);
    assert_eq!(world.checkpoints(), 1, "nothing new, nothing said");
    // A minute after genesis the set is renewed at an epoch's begin, and waits for its hand-over.
    world.blocks(20, 1);
    assert_eq!(views::state(&mut world.host).unwrap(), (1, 2, 2, false));
    let (second, set_id, next) = world.checkpoint(2);
    assert!(second.is_hand_over());
    assert_eq!((set_id, next, second.set_hash), (1, 2, first.set_hash));
    let digest = second.digest(world.host.env.bridge_id);
    let certify = |signatures: Vec<u8>, seq| IBridge::certifyCheckpointCall { seq, signatures: signatures.into() };
    let few = world.sign(digest, &[0, 1]);
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, certify(few, 2))).contains("two thirds"));
    let plain = world.sign(first.digest(world.host.env.bridge_id), &[0, 1, 2]);
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, certify(plain, 1))).contains("NoHandOver"));
    // No third set is taken while the second one waits.
    world.blocks(80, 1);
    assert_eq!(views::state(&mut world.host).unwrap().1, 2);
    let enough = world.sign(digest, &[0, 1, 2]);
    world.send(BOB, BRIDGE_ADDRESS, certify(enough.clone(), 2)).unwrap();
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, certify(enough, 2))).contains("NoHandOver"));
    assert_eq!(views::state(&mut world.host).unwrap().0, 2);
    assert_eq!(world.set().set_id, 2);
    // Deposits are judged by the set in force now.
    world.apply(vec![world.deposit(USDT, ALICE, 1)]);
}

#[test]
fn every_leaf_is_proved_from_state_in_every_checkpoint() {
    let mut world = World::new();
    world.apply(vec![world.deposit(USDT, ALICE, 1_000)]);
    let token = wrapped_address(1, USDT);
    let mut leaves = Vec::new();
    for round in 1..=4u64 {
        for _ in 0..round * 2 - 1 {
            let amount = U256::from(leaves.len() + 1);
            world.send(ALICE, token, IWrapped::withdrawToCall { recipient: BOB, amount }).unwrap();
            let index = leaves.len() as u64;
            let withdrawal = Withdrawal {
                at: ETHEREUM,
                tree_id: 1,
                index,
                token: USDT,
                sender: ALICE,
                recipient: BOB,
                amount,
                relayer_fee: U256::ZERO,
            };
            leaves.push(withdrawal.leaf(world.host.env.bridge_id));
        }
        world.blocks(20, 1);
        while world.checkpoints() < round {
            world.blocks(1, 1);
        }
    }
    for seq in 1..=world.checkpoints() {
        let (checkpoint, ..) = world.checkpoint(seq);
        let dest = checkpoint.dests[0];
        for index in 0..dest.count {
            let found = views::proof(&mut world.host, ETHEREUM, 1, index, Some(seq)).unwrap().unwrap();
            assert_eq!(found.leaf, leaves[index as usize]);
            assert_eq!(fold_proof(found.leaf, index, &found.siblings), dest.withdrawal_root);
            let naive = Tree::prove(&leaves[..dest.count as usize], index).unwrap();
            assert_eq!(found.siblings, naive);
        }
        assert!(views::proof(&mut world.host, ETHEREUM, 1, dest.count, Some(seq)).unwrap().is_none());
    }
}

#[test]
fn who_speaks_for_the_bridge_stays_bound_until_the_hand_over() {
    let mut world = World::new();
    world.send(owner(3), STAKING_ADDRESS, IStaking::exitCall {}).unwrap();
    // Out of the set that signs blocks after two epochs, but in the bridge set until it hands over.
    world.blocks(200, 1);
    assert_eq!(views::state(&mut world.host).unwrap(), (1, 2, 1, false));
    let unbonding = |world: &mut World| {
        let entries = world.send(owner(3), STAKING_ADDRESS, IStaking::unbondingsCall { delegator: owner(3) }).unwrap();
        entries[0].maturity
    };
    assert_eq!(unbonding(&mut world), 0);
    let seq = world.checkpoints();
    let (hand_over, ..) = world.checkpoint(seq);
    let signatures = world.sign(hand_over.digest(world.host.env.bridge_id), &[0, 1, 2]).into();
    world.send(BOB, BRIDGE_ADDRESS, IBridge::certifyCheckpointCall { seq, signatures }).unwrap();
    world.blocks(100, 1);
    // The second set was taken while it still had power; the third one is without it.
    for _ in 0..3 {
        let (_, next, seq, _) = views::state(&mut world.host).unwrap();
        if next != 0 {
            let (hand_over, ..) = world.checkpoint(seq);
            let signatures = world.sign(hand_over.digest(world.host.env.bridge_id), &[0, 1, 2]).into();
            world.send(BOB, BRIDGE_ADDRESS, IBridge::certifyCheckpointCall { seq, signatures }).unwrap();
        }
        world.blocks(80, 1);
    }
    assert!(unbonding(&mut world) > 0);
}

#[test]
fn a_false_attestation_costs_its_signer_after_the_wait() {
    let mut world = World::with(7, 1_000_000);
    let list = vec![world.deposit(USDT, ALICE, 10)];
    let forged = Attest { at: ETHEREUM, to_nonce: 1, acc_to: keccak256("invented") };
    let digest = forged.digest(world.host.env.bridge_id);
    let accuse = |world: &World, index: usize| IBridge::accuseAttestationCall {
        rootChainId: 1,
        gateway: ETHEREUM.gateway,
        toNonce: 1,
        accTo: forged.acc_to,
        signature: world.members[index].sign(digest).as_bytes().to_vec().into(),
    };
    let request = accuse(&world, 6);
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, request)).contains("was applied"));
    world.apply_by(&[0, 1, 2, 3, 4], list).unwrap();
    let request = accuse(&world, 6);
    world.send(BOB, BRIDGE_ADDRESS, request.clone()).unwrap();
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, request)).contains("accused already"));
    // Not by a signature of nobody, and not for the truth.
    let mut nobody = accuse(&world, 5);
    nobody.signature = key(9, 9).sign(digest).as_bytes().to_vec().into();
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, nobody)).contains("never was"));
    let pool = |world: &mut World, id| world.send(BOB, STAKING_ADDRESS, IStaking::validatorCall { id }).unwrap().tokens;
    let before = pool(&mut world, 7);
    world.blocks(20, 1);
    assert_eq!(pool(&mut world, 7), before);
    world.blocks(20, 1);
    assert_eq!(pool(&mut world, 7), before - before / U256::from(20));
    assert!(world.host.balances[&BOB] > U256::ZERO, "the reporter is paid");
}

#[test]
fn conflicting_attestations_and_false_checkpoints_are_evidence() {
    let mut world = World::with(7, 1_000_000);
    let bridge = world.host.env.bridge_id;
    let attest = |text: &str| Attest { at: ETHEREUM, to_nonce: 5, acc_to: keccak256(text) };
    let sign = |world: &World, index: usize, digest: B256| {
        alloy_primitives::Bytes::from(world.members[index].sign(digest).as_bytes().to_vec())
    };
    let conflict = |world: &World, one: usize, two: usize| IBridge::accuseConflictCall {
        rootChainId: 1,
        gateway: ETHEREUM.gateway,
        toNonce: 5,
        accA: keccak256("a"),
        signatureA: sign(world, one, attest("a").digest(bridge)),
        accB: keccak256("b"),
        signatureB: sign(world, two, attest("b").digest(bridge)),
    };
    let request = conflict(&world, 0, 1);
    assert!(says(world.send(BOB, BRIDGE_ADDRESS, request)).contains("two validators"));
    let request = conflict(&world, 1, 1);
    world.send(BOB, BRIDGE_ADDRESS, request).unwrap();
    let forged = Checkpoint {
        seq: 40,
        last_block: 1,
        last_block_hash: B256::ZERO,
        timestamp: 5,
        dests: vec![],
        set_hash: B256::repeat_byte(1),
        next_set_hash: B256::repeat_byte(1),
    };
    let request = IBridge::accuseCheckpointCall {
        checkpoint: IBridge::Checkpoint {
            seq: 40,
            lastBlock: 1,
            lastBlockHash: B256::ZERO,
            timestamp: 5,
            setHash: B256::repeat_byte(1),
            nextSetHash: B256::repeat_byte(1),
        },
        dests: vec![],
        signature: sign(&world, 2, forged.digest(bridge)),
    };
    world.send(BOB, BRIDGE_ADDRESS, request.clone()).unwrap();
    assert!(!views::state(&mut world.host).unwrap().3);
    // A third of the power and more: the bridge stands, and nobody is slashed without governance.
    let mut third = request;
    third.signature = sign(&world, 3, forged.digest(bridge));
    world.send(BOB, BRIDGE_ADDRESS, third).unwrap();
    assert!(views::state(&mut world.host).unwrap().3);
    let list = vec![world.deposit(USDT, ALICE, 10)];
    assert!(says(world.apply_by(&[0, 1, 2, 3, 4, 5, 6], list)).contains("BridgeHalted"));
    world.blocks(60, 1);
    assert_eq!(views::accused(&mut world.host).unwrap().len(), 3);
}

#[test]
fn who_does_not_attest_is_jailed() {
    let mut world = World::with(7, 1_000_000);
    for _ in 0..21 {
        let list = vec![world.deposit(USDT, ALICE, 1)];
        world.apply_by(&[0, 1, 2, 3, 4], list).unwrap();
    }
    // One of the absent ones adds its signatures in time.
    for nonce in 1..=21 {
        let mut acc = first_accumulator(world.host.env.bridge_id, ETHEREUM);
        for n in 1..=nonce {
            let deposit = Deposit { nonce: n, token: USDT, sender: BOB, recipient: ALICE, amount: U256::from(1) };
            acc = accumulate(acc, deposit.hash(world.host.env.bridge_id, ETHEREUM));
        }
        let attest = Attest { at: ETHEREUM, to_nonce: nonce, acc_to: acc };
        let signatures = world.sign(attest.digest(world.host.env.bridge_id), &[5]).into();
        let late = IBridge::addSignaturesCall { rootChainId: 1, gateway: ETHEREUM.gateway, toNonce: nonce, signatures };
        world.send(BOB, BRIDGE_ADDRESS, late).unwrap();
    }
    world.blocks(70, 1);
    let jail = |world: &mut World, id| world.send(BOB, STAKING_ADDRESS, IStaking::validatorCall { id }).unwrap().jailed;
    assert_eq!((jail(&mut world, 6), jail(&mut world, 7)), (false, true));
}

#[test]
fn governance_maps_pauses_and_registers() {
    use alloy_sol_types::SolValue;
    let mut world = World::new();
    let dai = address!("6b175474e89094c44da98b954eedeac495271d0f");
    let operation = |kind, data: Vec<u8>| IGovernance::BridgeOperation {
        kind,
        rootChainId: 1,
        gateway: ETHEREUM.gateway,
        data: data.into(),
    };
    let propose = |operation| IGovernance::proposeBridgeCall {
        operation,
        expedited: false,
        title: "bridge".into(),
        description: String::new(),
    };
    let bad = propose(operation(1, (String::from("again"), 1u64).abi_encode_params()));
    assert!(says(world.pay(ALICE, GOVERNANCE_ADDRESS, 100, bad)).contains("registered already"));
    let terms = (dai, "Dai".to_owned(), "DAI_e".to_owned(), 18u16, U256::from(1), U256::from(1_000), false);
    let map = propose(operation(2, terms.abi_encode_params()));
    let pause = propose(operation(5, vec![]));
    for (request, yes) in [(map, 4u8), (pause, 3)] {
        let id = world.pay(ALICE, GOVERNANCE_ADDRESS, 100, request).unwrap();
        world.blocks(1, 1);
        for index in 0..yes {
            let split = IGovernance::Split { yes: 10_000, no: 0, abstain: 0, veto: 0 };
            world.send(owner(index), GOVERNANCE_ADDRESS, IGovernance::voteAsValidatorCall { id, split }).unwrap();
        }
        world.blocks(60, 1);
        let proposal = world.send(BOB, GOVERNANCE_ADDRESS, IGovernance::proposalCall { id }).unwrap();
        assert_eq!(proposal.status, 8);
    }
    let token = wrapped_address(1, dai);
    assert_eq!(world.send(BOB, token, IWrapped::nameCall {}).unwrap(), "Dai");
    assert!(world.host.created.contains(&token));
    let info = views::gateway(&mut world.host, ETHEREUM).unwrap();
    assert!(info.paused);
    assert_eq!(info.commands, 3, "one of genesis, two since");
    let last = views::command(&mut world.host, ETHEREUM, 3).unwrap().unwrap();
    assert_eq!(last.command.kind(), 4);
    // Paused: credits are parked, withdrawals refused.
    world.apply(vec![world.deposit(USDT, ALICE, 10)]);
    assert_eq!(world.balance(ALICE), 0);
    let home = IWrapped::withdrawToCall { recipient: BOB, amount: U256::from(1) };
    assert!(says(world.send(ALICE, wrapped_address(1, USDT), home)).contains("GatewayPaused"));
}

#[test]
fn errors_have_words() {
    let data = IBridge::StillParked { reason: 4 }.abi_encode();
    assert!(explain(&data).unwrap().contains("StillParked"));
    assert!(IBridge::IBridgeCalls::abi_decode(&[1, 2, 3, 4]).is_err());
}
