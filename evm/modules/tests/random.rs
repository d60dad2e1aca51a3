//! Random sequences of all operations over many blocks: after every block the invariants hold and no coin is made or lost.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use bttc_genesis::{
    BTT, BTT_ADDRESS, ChainSpec, GOVERNANCE_ADDRESS, GenesisValidator, Preset, REWARDS_ADDRESS, STAKING_ADDRESS,
};
use bttc_modules::hooks::{LastCommit, begin_block, end_block};
use bttc_modules::interfaces::{IBtt, IGovernance, IRewards, IStaking};
use bttc_modules::staking::{BRIDGE_ROLE, CONSENSUS_ROLE, key_digest};
use bttc_modules::{Call, Fault, MemoryHost, call, check_invariants, staking};
use bttc_types::{Evidence, SecretKey, SignedVote, Vote, VoteKind};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const VALIDATORS: u32 = 8;
const DELEGATORS: u32 = 30;

fn key(kind: u8, index: u32) -> SecretKey {
    let mut bytes = [kind; 32];
    bytes[..4].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_bytes(&bytes).unwrap()
}

fn account(index: u32) -> Address {
    key(3, index).address()
}

fn wei(btt: u64) -> U256 {
    U256::from(btt) * U256::from(BTT)
}

struct Chain {
    host: MemoryHost,
    rng: ChaCha8Rng,
    accounts: Vec<Address>,
    /// Consensus keys by address.
    keys: Vec<SecretKey>,
    created: u32,
    reserve: U256,
    done: std::collections::BTreeMap<&'static str, u32>,
}

impl Chain {
    fn new(seed: u64) -> Self {
        let validators = (0..VALIDATORS)
            .map(|index| GenesisValidator {
                address: key(1, index).address(),
                owner: account(index),
                power: 1_000 + 200 * u64::from(index),
                bridge: None,
            })
            .collect();
        let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, validators).unwrap();
        spec.bttc.params.unbonding_seconds = 120;
        spec.bttc.params.downtime_window = 30;
        spec.bttc.params.voting_seconds = 20;
        let accounts: Vec<Address> = (0..VALIDATORS + DELEGATORS).map(account).collect();
        for account in &accounts {
            spec.genesis.alloc.entry(*account).or_default().balance = wei(100_000_000);
        }
        spec.validate().unwrap();
        let mut host = bttc_modules::genesis::genesis_state(&spec).unwrap();
        for (address, entry) in &spec.genesis.alloc {
            *host.balances.entry(*address).or_default() += entry.balance;
        }
        host.env = bttc_modules::genesis::environment(&spec, B256::repeat_byte(9));
        let keys = (0..VALIDATORS).map(|index| key(1, index)).collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { host, rng, accounts, keys, created: 0, reserve: spec.bttc.supply.reserve, done: Default::default() }
    }

    /// A transaction: undone when it reverts.
    fn send(&mut self, caller: Address, to: Address, value: U256, input: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let before = self.host.clone();
        let balance = self.host.balances.get(&caller).copied().unwrap_or_default();
        if balance < value {
            return Err(Fault::OutOfGas);
        }
        self.host.balances.insert(caller, balance - value);
        *self.host.balances.entry(to).or_default() += value;
        let result = call(to, &Call { caller, value, input: &input }, &mut self.host);
        match &result {
            Ok(_) => {}
            Err(Fault::Revert(_) | Fault::OutOfGas) => self.host = before,
            Err(fault) => panic!("{fault}"),
        }
        result
    }

    fn read<C: SolCall>(&mut self, to: Address, request: C) -> C::Return {
        let input = request.abi_encode();
        let output = call(to, &Call { caller: Address::ZERO, value: U256::ZERO, input: &input }, &mut self.host);
        C::abi_decode_returns(&output.unwrap()).unwrap()
    }

    fn random_operation(&mut self) {
        let count = self.read(STAKING_ADDRESS, IStaking::validatorCountCall {});
        let id = self.rng.random_range(1..=count);
        let caller = *self.accounts.choose(&mut self.rng).unwrap();
        let amount = wei(self.rng.random_range(1..3_000_000));
        let (staking, governance) = (STAKING_ADDRESS, GOVERNANCE_ADDRESS);
        let (name, to, value, input) = match self.rng.random_range(0..100) {
            0..=29 => ("delegate", staking, amount, IStaking::delegateCall { id }.abi_encode()),
            30..=44 => {
                let amount = if self.rng.random_bool(0.3) { U256::MAX } else { amount };
                ("undelegate", staking, U256::ZERO, IStaking::undelegateCall { id, amount }.abi_encode())
            }
            45..=52 => {
                let to = self.rng.random_range(1..=count);
                let input = IStaking::redelegateCall { from: id, to, amount }.abi_encode();
                ("redelegate", staking, U256::ZERO, input)
            }
            53..=67 => {
                let delegator = *self.accounts.choose(&mut self.rng).unwrap();
                ("withdraw", staking, U256::ZERO, IStaking::withdrawCall { delegator }.abi_encode())
            }
            68..=77 => ("claim", staking, U256::ZERO, IStaking::claimRewardsCall { id }.abi_encode()),
            78..=80 => ("unjail", staking, U256::ZERO, IStaking::unjailCall {}.abi_encode()),
            81 if self.rng.random_bool(0.6) => ("exit", staking, U256::ZERO, IStaking::exitCall {}.abi_encode()),
            82 => ("evidence", staking, U256::ZERO, self.evidence()),
            83..=84 => ("create", staking, wei(2_000_000), self.create(caller)),
            85..=86 => {
                let input = IGovernance::proposeParametersCall {
                    changes: vec![IGovernance::Change { parameter: 1, value: self.rng.random_range(1..100) }],
                    expedited: self.rng.random_bool(0.5),
                    title: "a price".into(),
                    description: String::new(),
                };
                ("propose", governance, wei(self.rng.random_range(10..200)), input.abi_encode())
            }
            87 => {
                let input = IGovernance::proposePaymentCall {
                    recipient: caller,
                    amount: wei(1_000),
                    title: "a payment".into(),
                    description: String::new(),
                };
                ("payment", governance, wei(100), input.abi_encode())
            }
            88..=92 => {
                let proposals = self.read(governance, IGovernance::proposalCountCall {});
                let split = IGovernance::Split { yes: 7_000, no: 1_000, abstain: 1_500, veto: 500 };
                let id = self.rng.random_range(0..=proposals);
                ("vote", governance, U256::ZERO, IGovernance::voteCall { id, validators: vec![], split }.abi_encode())
            }
            93..=96 => {
                // All owners vote alike on the latest proposals, now and then with a veto.
                let proposals = self.read(governance, IGovernance::proposalCountCall {});
                let veto = if self.rng.random_bool(0.2) { 10_000 } else { 0 };
                let split = IGovernance::Split { yes: 10_000 - veto, no: 0, abstain: 0, veto };
                let mut worked = 0;
                for id in proposals.saturating_sub(10)..=proposals {
                    for owner in self.accounts.clone() {
                        let input = IGovernance::voteAsValidatorCall { id, split: split.clone() }.abi_encode();
                        worked += u32::from(self.send(owner, governance, U256::ZERO, input).is_ok());
                    }
                }
                *self.done.entry("validator vote").or_default() += worked;
                return;
            }
            97 if self.rng.random_bool(0.3) => {
                let proposals = self.read(governance, IGovernance::proposalCountCall {});
                // Whoever proposed it has a deposit there.
                let mut worked = 0;
                for id in 1..=proposals {
                    let proposer = self.read(governance, IGovernance::proposalCall { id }).proposer;
                    let input = IGovernance::withdrawDepositCall { id }.abi_encode();
                    worked += u32::from(self.send(proposer, governance, U256::ZERO, input).is_ok());
                }
                *self.done.entry("deposit back").or_default() += worked;
                return;
            }
            _ => {
                let to = *self.accounts.choose(&mut self.rng).unwrap();
                ("transfer", BTT_ADDRESS, U256::ZERO, IBtt::transferCall { to, value: amount }.abi_encode())
            }
        };
        if self.send(caller, to, value, input).is_ok() {
            *self.done.entry(name).or_default() += 1;
        }
    }

    /// Two votes of a validator for one step.
    fn evidence(&mut self) -> Vec<u8> {
        let key = self.keys.choose(&mut self.rng).unwrap().clone();
        let height = self.host.env.height.saturating_sub(self.rng.random_range(0..60)).max(1);
        let domain = self.host.env.domain.clone();
        let vote = |block_hash: Option<B256>| {
            let vote = Vote { kind: VoteKind::Prevote, height, round: 0, block_hash, validator: key.address() };
            let signature = key.sign(domain.vote_digest(&vote));
            SignedVote { vote, signature }
        };
        // Rarely: a network of liars would be over soon.
        let other = if self.rng.random_bool(0.25) { Some(B256::repeat_byte(1)) } else { None };
        let evidence = Evidence::from_votes(vote(None), vote(other), &domain);
        IStaking::submitEvidenceCall { evidence: alloy_rlp::encode(evidence).into() }.abi_encode()
    }

    fn create(&mut self, owner: Address) -> Vec<u8> {
        self.created += 1;
        let (consensus, bridge) = (key(1, 1_000 + self.created), key(2, self.created));
        let proof =
            |key: &SecretKey, role| key.sign(key_digest(&self.host.env.domain, owner, role)).as_bytes().to_vec();
        let input = IStaking::createValidatorCall {
            consensusKey: consensus.address(),
            consensusProof: proof(&consensus, CONSENSUS_ROLE).into(),
            bridgeKey: bridge.address(),
            bridgeProof: proof(&bridge, BRIDGE_ROLE).into(),
            commissionBps: self.rng.random_range(0..=10_000),
            name: format!("validator of {owner}"),
        };
        self.keys.push(consensus);
        input.abi_encode()
    }

    fn block(&mut self) {
        let env = &mut self.host.env;
        env.parent_time_ms = env.time_ms;
        env.height += 1;
        env.time_ms += 500;
        let (height, signed_epoch) = (env.height, env.epoch_of(env.height - 1));
        let set = staking::members(&mut self.host, signed_epoch).unwrap();
        // Validators of odd number are often away.
        let signers = (0u16..)
            .zip(&set)
            .filter(|(_, member)| member.id % 2 == 0 || height / 50 % 2 == 0 || self.rng.random_bool(0.3))
            .map(|(index, _)| index)
            .collect();
        let epoch = self.host.env.epoch();
        let proposers = staking::members(&mut self.host, epoch).unwrap();
        let proposer = proposers[self.rng.random_range(0..proposers.len())].key;
        begin_block(&mut self.host, &LastCommit { signers, proposer }).unwrap();
        for _ in 0..self.rng.random_range(0..8) {
            self.random_operation();
        }
        let fees = wei(self.rng.random_range(0..50));
        let payer = self.accounts[self.rng.random_range(0..self.accounts.len())];
        let paid = fees.min(self.host.balances.get(&payer).copied().unwrap_or_default());
        *self.host.balances.entry(payer).or_default() -= paid;
        end_block(&mut self.host, paid).unwrap();
        self.check();
    }

    fn check(&mut self) {
        let height = self.host.env.height;
        if let Err(problem) = check_invariants(&mut self.host, &self.accounts.clone()) {
            panic!("height {height}: {problem}");
        }
        let balances = self.host.balances.values().fold(U256::ZERO, |sum, balance| sum + *balance);
        let pool = self.read(REWARDS_ADDRESS, IRewards::rewardPoolCall {});
        let outstanding = self.read(REWARDS_ADDRESS, IRewards::outstandingCall {});
        let supply = self.read(BTT_ADDRESS, IBtt::totalSupplyCall {});
        assert_eq!(balances + pool + outstanding + self.reserve, supply, "coins at height {height}");
    }
}

#[test]
fn coins_and_sums_hold_after_every_block() {
    let mut done = std::collections::BTreeMap::new();
    for seed in 0..2 {
        let mut chain = Chain::new(seed);
        for _ in 0..500 {
            chain.block();
        }
        for (name, count) in chain.done {
            *done.entry(name).or_insert(0) += count;
        }
    }
    // Each operation worked some time, or the test shows nothing of it.
    for name in [
        "delegate",
        "undelegate",
        "redelegate",
        "withdraw",
        "claim",
        "unjail",
        "exit",
        "evidence",
        "create",
        "propose",
        "payment",
        "vote",
        "validator vote",
        "deposit back",
        "transfer",
    ] {
        assert!(done.get(name).is_some_and(|count| *count > 0), "{name} never worked: {done:?}");
    }
}
