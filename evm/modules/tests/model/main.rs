//! Random sequences of all operations against a naive reference model: the same refusals, the same sets, the same pools and
//! votes, and balances that differ by no more than what rounding may take.

mod compare;
mod naive;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use bttc_genesis::{
    BTT, BTT_ADDRESS, ChainSpec, GOVERNANCE_ADDRESS, GenesisValidator, Parameter, Preset, STAKING_ADDRESS,
};
use bttc_modules::hooks::{LastCommit, begin_block, end_block};
use bttc_modules::interfaces::{IBtt, IGovernance, IStaking};
use bttc_modules::staking::{BRIDGE_ROLE, CONSENSUS_ROLE, key_digest};
use bttc_modules::{Call, Fault, MemoryHost, call};
use bttc_types::{Evidence, SecretKey, SignedVote, Vote, VoteKind};
use compare::near;
use naive::{Jail, Matter, Model, Split, Status, fine};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Rewards of a validator's own name, and where stake begins.
const START_BALANCE: u64 = 50_000_000;

fn key(kind: u8, index: u32) -> SecretKey {
    let mut bytes = [kind; 32];
    bytes[..4].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_bytes(&bytes).unwrap()
}

/// Addresses without keys: nobody signs as a delegator here.
fn account(index: u32) -> Address {
    Address::from_word(alloy_primitives::keccak256(index.to_be_bytes()))
}

fn wei(btt: u64) -> u128 {
    u128::from(btt) * BTT
}

fn big(wei: u128) -> U256 {
    U256::from(wei)
}

struct Run {
    host: MemoryHost,
    model: Model,
    rng: ChaCha8Rng,
    accounts: Vec<Address>,
    keys: Vec<SecretKey>,
    created: u32,
    done: BTreeMap<&'static str, [u32; 2]>,
}

impl Run {
    fn new(seed: u64, validators: u32, delegators: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let genesis: Vec<GenesisValidator> = (0..validators)
            .map(|index| GenesisValidator {
                address: key(1, index).address(),
                owner: account(index),
                power: rng.random_range(1_000..5_000),
                bridge: None,
            })
            .take(10)
            .collect();
        let mut spec = ChainSpec::new(Preset::Local, 1_700_000_000, genesis).unwrap();
        let params = &mut spec.bttc.params;
        params.max_validators = u64::from(validators) * 3 / 5;
        params.unbonding_seconds = 40;
        params.downtime_window = 30;
        params.voting_seconds = 15;
        params.deposit_seconds = 20;
        let accounts: Vec<Address> = (0..validators + delegators).map(account).collect();
        for account in &accounts {
            spec.genesis.alloc.entry(*account).or_default().balance = big(wei(START_BALANCE));
        }
        if seed % 2 == 1 {
            // Rewards are what comes in as fees and slashes, to the last wei.
            spec.bttc.supply.reward_pool = U256::ZERO;
        }
        spec.validate().unwrap();
        let mut host = bttc_modules::genesis::genesis_state(&spec).unwrap();
        for (address, entry) in &spec.genesis.alloc {
            *host.balances.entry(*address).or_default() += entry.balance;
        }
        host.env = bttc_modules::genesis::environment(&spec, B256::repeat_byte(9));
        let genesis: Vec<_> =
            spec.bttc.validators.iter().map(|entry| (entry.owner, entry.address, entry.power)).collect();
        let pool = spec.bttc.supply.reward_pool.to();
        let mut model = Model::new(spec.bttc.params, host.env.time_ms, &genesis, pool);
        for account in &accounts {
            model.add_balance(*account, fine(wei(START_BALANCE)));
        }
        let keys = (0..10).map(|index| key(1, index)).collect();
        let mut run = Self { host, model, rng, accounts, keys, created: 0, done: BTreeMap::new() };
        // The first block: everybody else comes in.
        run.begin();
        for index in 10..validators {
            run.create(account(index));
        }
        for index in 0..delegators {
            let id = run.rng.random_range(1..=run.model.pools.len() as u32);
            let amount = wei(run.rng.random_range(1..200_000)) + u128::from(run.rng.random::<u32>());
            run.delegate(account(validators + index), id, amount);
        }
        run.end();
        run
    }

    /// Sends a call of which the model says what must become of it.
    fn send(
        &mut self,
        name: &'static str,
        caller: Address,
        to: Address,
        value: u128,
        request: &impl SolCall,
        expected: Result<(), &'static str>,
    ) {
        let input = request.abi_encode();
        self.done.entry(name).or_default()[usize::from(expected.is_err())] += 1;
        let before = expected.is_err().then(|| self.host.clone());
        let logs = self.host.logs.len();
        let balance = self.host.balances.entry(caller).or_default();
        *balance = balance.checked_sub(big(value)).expect("the test sends what is there");
        *self.host.balances.entry(to).or_default() += big(value);
        let result = call(to, &Call { caller, value: big(value), input: &input }, &mut self.host);
        match (&result, expected) {
            (Ok(_), Ok(())) => {}
            (Err(Fault::Revert(_)), Err(_)) => {
                self.host = before.unwrap();
                assert_eq!(self.host.logs.len(), logs);
            }
            (Ok(_), Err(reason)) => panic!("{name} of {caller} works, the model says {reason}"),
            (Err(fault), expected) => {
                let words = match fault {
                    Fault::Revert(data) => bttc_modules::explain(data),
                    other => Some(other.to_string()),
                };
                panic!("{name} of {caller} fails with {words:?}, the model says {expected:?}")
            }
        }
    }

    fn read<C: SolCall>(&mut self, to: Address, request: C) -> C::Return {
        let input = request.abi_encode();
        let output = call(to, &Call { caller: Address::ZERO, value: U256::ZERO, input: &input }, &mut self.host);
        C::abi_decode_returns(&output.unwrap()).unwrap()
    }

    fn delegate(&mut self, caller: Address, id: u32, amount: u128) {
        if self.balance(caller) < amount {
            return;
        }
        let expected = self.model.delegate(caller, id, amount);
        self.send("delegate", caller, STAKING_ADDRESS, amount, &IStaking::delegateCall { id }, expected);
    }

    fn balance(&self, account: Address) -> u128 {
        self.host.balances.get(&account).map_or(0, |balance| balance.to())
    }

    fn create(&mut self, owner: Address) {
        self.created += 1;
        let (consensus, bridge) = (key(1, 1_000 + self.created), key(2, self.created));
        let commission = self.rng.random_range(0..=10_000u16);
        let stake = wei(self.rng.random_range(900_000..6_000_000)).min(self.balance(owner));
        let proof =
            |key: &SecretKey, role| key.sign(key_digest(&self.host.env.domain, owner, role)).as_bytes().to_vec();
        let request = IStaking::createValidatorCall {
            consensusKey: consensus.address(),
            consensusProof: proof(&consensus, CONSENSUS_ROLE).into(),
            bridgeKey: bridge.address(),
            bridgeProof: proof(&bridge, BRIDGE_ROLE).into(),
            commissionBps: commission,
            name: "a validator".into(),
        };
        let expected = self.model.create(owner, consensus.address(), commission.into(), stake);
        if expected.is_ok() {
            self.keys.push(consensus);
        }
        self.send("create", owner, STAKING_ADDRESS, stake, &request, expected);
    }

    fn withdraw(&mut self, delegator: Address) {
        let (mature, logs) = (self.model.mature(delegator), self.host.logs.len());
        self.send("withdraw", delegator, STAKING_ADDRESS, 0, &IStaking::withdrawCall { delegator }, Ok(()));
        let paid: Vec<IStaking::Withdrawn> = self.host.logs[logs..]
            .iter()
            .filter_map(|(_, log)| IStaking::Withdrawn::decode_log_data(log).ok())
            .collect();
        assert_eq!(paid.len(), mature, "entries of {delegator} that are mature");
        for event in paid {
            let moved = event.target != 0;
            self.done.entry(if moved { "moved" } else { "paid out" }).or_default()[0] += 1;
            self.model.withdrawn(delegator, event.id, event.amount.to(), event.target);
        }
    }

    fn claim(&mut self, caller: Address, id: u32) {
        let before = self.balance(caller);
        let expected = self.model.claim(caller, id);
        self.send("claim", caller, STAKING_ADDRESS, 0, &IStaking::claimRewardsCall { id }, Ok(()));
        let paid = self.balance(caller) - before;
        assert!(near(paid, expected), "{caller} is paid {paid}, the model says {}", naive::floor(expected));
        self.model.outstanding -= fine(paid);
        self.model.add_balance(caller, fine(paid));
    }

    fn evidence(&mut self, reporter: Address) {
        let signer = self.keys.choose(&mut self.rng).unwrap().clone();
        let height = self.host.env.height.saturating_sub(self.rng.random_range(0..120)).max(1);
        let domain = self.host.env.domain.clone();
        let vote = |block_hash: Option<B256>| {
            let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block_hash, validator: signer.address() };
            let signature = signer.sign(domain.vote_digest(&vote));
            SignedVote { vote, signature }
        };
        let honest = self.rng.random_bool(0.3);
        let other = if honest { None } else { Some(B256::repeat_byte(1)) };
        let evidence = Evidence::from_votes(vote(None), vote(other), &domain);
        let request = IStaking::submitEvidenceCall { evidence: alloy_rlp::encode(evidence).into() };
        let expected =
            if honest { Err("the votes agree") } else { self.model.evidence(reporter, signer.address(), height) };
        self.send("evidence", reporter, STAKING_ADDRESS, 0, &request, expected);
    }

    fn random_operation(&mut self) {
        let count = self.model.pools.len() as u32;
        let id = self.rng.random_range(1..=count);
        // Half of the time somebody who is at this validator, or nothing would ever be taken back.
        let range = (id, Address::ZERO)..=(id, Address::repeat_byte(255));
        let there: Vec<Address> =
            self.model.stakes.range(range).filter(|(_, stake)| stake.shares > 0).map(|(key, _)| key.1).collect();
        let stranger = *self.accounts.choose(&mut self.rng).unwrap();
        let caller = match there.choose(&mut self.rng) {
            Some(known) if self.rng.random_bool(0.9) => *known,
            _ => stranger,
        };
        let owner = self.model.pools[&id].owner;
        let held = self.model.stakes.get(&(id, caller)).map_or(0, |stake| stake.shares);
        let amount = wei(self.rng.random_range(1..400_000)) + u128::from(self.rng.random::<u32>());
        match self.rng.random_range(0..100) {
            0..=19 => {
                let caller = if self.rng.random_bool(0.2) { owner } else { stranger };
                self.delegate(caller, id, amount);
            }
            20..=36 => {
                let caller = if self.rng.random_bool(0.15) { owner } else { caller };
                let all = self.rng.random_bool(0.3);
                let amount = if held > 1 { self.rng.random_range(1..=held) } else { amount };
                let wanted = if all { None } else { Some(amount) };
                let expected = self.model.undelegate(caller, id, wanted, 0);
                let request = IStaking::undelegateCall { id, amount: wanted.map_or(U256::MAX, big) };
                self.send("undelegate", caller, STAKING_ADDRESS, 0, &request, expected);
            }
            37..=46 => {
                let to = self.rng.random_range(1..=count);
                let amount = if held > 1 { self.rng.random_range(1..=held) } else { amount };
                let expected = self.model.redelegate(caller, id, to, amount);
                let request = IStaking::redelegateCall { from: id, to, amount: big(amount) };
                self.send("redelegate", caller, STAKING_ADDRESS, 0, &request, expected);
            }
            47..=62 => {
                let someone = self.model.leaving.choose(&mut self.rng).map_or(caller, |entry| entry.delegator);
                self.withdraw(someone);
            }
            63..=72 => {
                let caller = if self.rng.random_bool(0.3) { owner } else { caller };
                self.claim(caller, id);
            }
            73..=76 => {
                let jailed: Vec<Address> =
                    self.model.pools.values().filter(|pool| pool.jail != Jail::Free).map(|pool| pool.owner).collect();
                let owner = jailed.choose(&mut self.rng).copied().unwrap_or(owner);
                let expected = self.model.unjail(owner);
                self.send("unjail", owner, STAKING_ADDRESS, 0, &IStaking::unjailCall {}, expected);
            }
            77 if self.rng.random_bool(0.3) => {
                let expected = self.model.exit(owner);
                self.send("exit", owner, STAKING_ADDRESS, 0, &IStaking::exitCall {}, expected);
            }
            78 => self.evidence(stranger),
            79 => self.create(stranger),
            80..=81 => {
                let commission = self.rng.random_range(0..=10_000u16);
                let now = self.model.pools[&id].commission_bps;
                // A rise has a rule of its own, about days.
                let commission = if u64::from(commission) > now { now as u16 } else { commission };
                let expected = self.model.lower_commission(owner, commission.into());
                let request = IStaking::editValidatorCall { commissionBps: commission, name: "lower".into() };
                self.send("edit", owner, STAKING_ADDRESS, 0, &request, expected);
            }
            82..=84 => self.propose(stranger),
            85..=91 => self.vote(caller, id),
            92..=95 => self.vote_of_validators(),
            96..=97 => self.deposit(stranger),
            _ => {
                let amount = amount.min(self.balance(stranger));
                self.model.add_balance(caller, fine(amount));
                let left = self.model.balances.get_mut(&stranger).unwrap();
                *left -= fine(amount);
                let request = IBtt::transferCall { to: caller, value: big(amount) };
                self.send("transfer", stranger, BTT_ADDRESS, 0, &request, Ok(()));
            }
        }
    }

    fn propose(&mut self, caller: Address) {
        let deposit = wei([5, 10, 50, 100, 150][self.rng.random_range(0..5)]);
        if self.balance(caller) < deposit {
            return;
        }
        let (title, description) = ("a proposal".to_owned(), String::new());
        match self.rng.random_range(0..3) {
            0 => {
                let expected = self.model.propose(caller, deposit, Matter::Text);
                let request = IGovernance::proposeTextCall { title, description };
                self.send("propose", caller, GOVERNANCE_ADDRESS, deposit, &request, expected);
            }
            1 => {
                let (value, expedited) = (self.rng.random_range(1..1_000_000), self.rng.random_bool(0.5));
                let expected = self.model.propose(caller, deposit, Matter::Fee { value, expedited });
                let changes = vec![IGovernance::Change { parameter: Parameter::min_base_fee as u16, value }];
                let request = IGovernance::proposeParametersCall { changes, expedited, title, description };
                self.send("propose", caller, GOVERNANCE_ADDRESS, deposit, &request, expected);
            }
            _ => {
                let amount = wei(self.rng.random_range(1..1_000));
                let expected = self.model.propose(caller, deposit, Matter::Payment(caller, amount));
                let request =
                    IGovernance::proposePaymentCall { recipient: caller, amount: big(amount), title, description };
                self.send("propose", caller, GOVERNANCE_ADDRESS, deposit, &request, expected);
            }
        }
    }

    /// A proposal's position, now and then one that does not exist.
    fn some_proposal(&mut self) -> usize {
        let open: Vec<usize> = (0..self.model.proposals.len())
            .filter(|index| self.model.proposals[*index].status == Status::Voting)
            .collect();
        let any = self.rng.random_range(0..=self.model.proposals.len());
        if self.rng.random_bool(0.8) { open.choose(&mut self.rng).copied().unwrap_or(any) } else { any }
    }

    fn some_split(&mut self) -> (Split, IGovernance::Split) {
        let parts: [u16; 4] = [[10_000, 0, 0, 0], [7_000, 1_000, 1_500, 500], [0, 10_000, 0, 0], [0, 0, 0, 10_000]]
            [[0, 0, 0, 1, 1, 2, 3][self.rng.random_range(0..7)]];
        let [yes, no, abstain, veto] = parts;
        (Split(parts.map(u64::from)), IGovernance::Split { yes, no, abstain, veto })
    }

    fn vote(&mut self, caller: Address, id: u32) {
        let (index, (split, words)) = (self.some_proposal(), self.some_split());
        let validators = if self.rng.random_bool(0.4) { vec![id] } else { vec![] };
        let expected = self.model.vote(caller, index, &validators, split);
        let request = IGovernance::voteCall { id: index as u64 + 1, validators, split: words };
        self.send("vote", caller, GOVERNANCE_ADDRESS, 0, &request, expected);
    }

    /// Many owners of one mind, so that something is decided.
    fn vote_of_validators(&mut self) {
        let (index, (split, words)) = (self.some_proposal(), self.some_split());
        let owners: Vec<Address> = self.model.pools.values().map(|pool| pool.owner).collect();
        for owner in owners {
            if self.rng.random_bool(0.1) {
                continue;
            }
            let expected = self.model.vote_as_validator(owner, index, split);
            if expected.is_err() && self.rng.random_bool(0.98) {
                continue;
            }
            let request = IGovernance::voteAsValidatorCall { id: index as u64 + 1, split: words.clone() };
            self.send("validator vote", owner, GOVERNANCE_ADDRESS, 0, &request, expected);
        }
    }

    fn deposit(&mut self, caller: Address) {
        let index = self.rng.random_range(0..=self.model.proposals.len());
        let id = index as u64 + 1;
        if self.rng.random_bool(0.5) {
            let value = wei(self.rng.random_range(1..100));
            if self.balance(caller) >= value {
                let expected = self.model.deposit(caller, index, value);
                self.send("deposit", caller, GOVERNANCE_ADDRESS, value, &IGovernance::depositCall { id }, expected);
            }
            return;
        }
        let proposer = if index < self.model.proposals.len() {
            self.read(GOVERNANCE_ADDRESS, IGovernance::proposalCall { id }).proposer
        } else {
            caller
        };
        let expected = self.model.deposit_back(proposer, index);
        let request = IGovernance::withdrawDepositCall { id };
        self.send("deposit back", proposer, GOVERNANCE_ADDRESS, 0, &request, expected);
    }

    fn begin(&mut self) {
        let env = &mut self.host.env;
        env.parent_time_ms = env.time_ms;
        env.height += 1;
        env.time_ms += 500;
        (self.model.height, self.model.parent, self.model.now) = (env.height, env.parent_time_ms, env.time_ms);
        let signed = self.model.epoch_of(self.model.height - 1) as usize;
        let set = self.model.sets[signed].clone();
        let height = self.model.height;
        // Every fourth validator is away half of the time.
        let signers: BTreeSet<u16> = (0u16..)
            .zip(&set)
            .filter(|(_, member)| member.id % 4 != 0 || (height / 60).is_multiple_of(2) || self.rng.random_bool(0.2))
            .map(|(index, _)| index)
            .collect();
        // The proposer of an epoch's first block may be new.
        let proposer = *self.model.sets[self.model.epoch() as usize].choose(&mut self.rng).unwrap();
        let commit = LastCommit { signers: signers.iter().copied().collect(), proposer: proposer.key };
        begin_block(&mut self.host, &commit).unwrap();
        self.model.begin_block(&signers, proposer.id);
    }

    fn end(&mut self) {
        let fees = wei(self.rng.random_range(0..50)) + u128::from(self.rng.random::<u16>());
        let payer = *self.accounts.choose(&mut self.rng).unwrap();
        let fees = fees.min(self.balance(payer));
        *self.host.balances.get_mut(&payer).unwrap() -= big(fees);
        *self.model.balances.get_mut(&payer).unwrap() -= fine(fees);
        end_block(&mut self.host, big(fees)).unwrap();
        self.model.end_block(fees);
        self.compare();
    }
}

fn run(seed: u64, validators: u32, delegators: u32, blocks: u32, operations: u32) -> BTreeMap<&'static str, [u32; 2]> {
    let mut run = Run::new(seed, validators, delegators);
    for _ in 0..blocks {
        run.begin();
        for _ in 0..run.rng.random_range(0..=2 * operations) {
            run.random_operation();
        }
        run.end();
    }
    run.compare_accounts();
    let statuses: BTreeSet<Status> = run.model.proposals.iter().map(|proposal| proposal.status).collect();
    println!("seed {seed}: {:?}", run.done);
    println!(
        "  proposals ended as {statuses:?}; {} slashes of double signers",
        run.model.pools.values().filter(|p| p.jail == Jail::Tombstoned).count()
    );
    run.done
}

/// Every operation must have worked, and have been refused, some time: or the comparison shows nothing of it.
fn assert_all_happened(done: &BTreeMap<&'static str, [u32; 2]>) {
    for (name, both) in [
        ("delegate", true),
        ("undelegate", true),
        ("redelegate", true),
        ("withdraw", false),
        ("paid out", false),
        ("moved", false),
        ("claim", false),
        ("unjail", true),
        ("exit", false),
        ("evidence", true),
        ("create", true),
        ("edit", false),
        ("propose", true),
        ("deposit", true),
        ("deposit back", true),
        ("vote", true),
        ("validator vote", true),
        ("transfer", false),
    ] {
        let [worked, refused] = done.get(name).copied().unwrap_or_default();
        assert!(worked > 0 && (!both || refused > 0), "{name}: worked {worked}, refused {refused}");
    }
}

#[test]
fn a_naive_model_comes_to_the_same_result() {
    let mut done: BTreeMap<&'static str, [u32; 2]> = BTreeMap::new();
    for seed in 0..3 {
        for (name, [worked, refused]) in run(seed, 20, 200, 300, 8) {
            let entry = done.entry(name).or_default();
            entry[0] += worked;
            entry[1] += refused;
        }
    }
    assert_all_happened(&done);
}

#[test]
fn a_hundred_validators_and_ten_thousand_delegators() {
    assert_all_happened(&run(100, 100, 10_000, 200, 25));
}

#[test]
fn a_loss_that_is_cut_in_several_epochs_unbonds_from_the_last_one() {
    let mut run = Run::new(7, 20, 0);
    // Most of all stake comes to the first validator, and leaves it when it has become power.
    let large: Vec<Address> = (10..16).map(account).collect();
    for delegator in &large {
        run.delegate(*delegator, 1, wei(START_BALANCE * 4 / 5));
    }
    let epochs = |run: &mut Run, count: u64| {
        for _ in 0..count * run.model.params.epoch_blocks {
            run.begin();
            run.end();
        }
    };
    epochs(&mut run, 20);
    let power = |run: &Run| run.model.sets.last().unwrap().iter().find(|member| member.id == 1).unwrap().power;
    let before = power(&run);
    run.begin();
    for delegator in &large {
        let expected = run.model.undelegate(*delegator, 1, None, 0);
        run.send(
            "undelegate",
            *delegator,
            STAKING_ADDRESS,
            0,
            &IStaking::undelegateCall { id: 1, amount: U256::MAX },
            expected,
        );
    }
    run.end();
    let mut cuts = 0;
    for _ in 0..7 {
        let earlier = power(&run);
        epochs(&mut run, 1);
        cuts += u32::from(power(&run) < earlier);
        run.compare_accounts();
    }
    assert!(cuts >= 3 && power(&run) * 10 < before, "{cuts} cuts from {before} to {}", power(&run));
    assert!(run.model.leaving.iter().all(|entry| entry.start.is_some()), "all clocks run");
}

#[test]
fn a_set_that_nobody_can_follow_stays_as_it_is() {
    let mut run = Run::new(4, 20, 0);
    for _ in 0..2 * run.model.params.epoch_blocks {
        run.begin();
        run.end();
    }
    run.begin();
    let owners: Vec<Address> = run.model.pools.values().map(|pool| pool.owner).collect();
    for owner in owners {
        let id = run.model.own(owner).unwrap();
        let expected = run.model.undelegate(owner, id, None, 0);
        let request = IStaking::undelegateCall { id, amount: U256::MAX };
        run.send("undelegate", owner, STAKING_ADDRESS, 0, &request, expected);
    }
    run.end();
    let before = run.model.sets.last().unwrap().clone();
    for _ in 0..8 * run.model.params.epoch_blocks {
        run.begin();
        run.end();
    }
    run.compare_accounts();
    // But for those who are in jail: they go at once, and only their stake has a clock that runs.
    let jailed = |id: u32| run.model.pools[&id].jail != Jail::Free;
    let left: Vec<_> = before.into_iter().filter(|member| !jailed(member.id)).collect();
    assert!(left.len() >= 5);
    assert_eq!(run.model.sets.last(), Some(&left));
    for entry in &run.model.leaving {
        let member = left.iter().any(|member| member.id == entry.validator);
        assert_eq!(entry.start.is_none(), member, "validator {}", entry.validator);
    }
}
