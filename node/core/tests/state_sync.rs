//! Joining by a snapshot under virtual time, from sources of which some lie, are slow, silent, or forget.

use alloy_consensus::{EMPTY_ROOT_HASH, Header};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use bttc_node::{
    Offer, PeerRequest, StateSync, SyncAction, Trust, decode_contents, decode_tail, encode_answer, finish_import,
    offers, pieces, tail,
};
use bttc_state::snapshot::{Content, Import};
use bttc_state::{
    Account, AccountChange, BlockRecord, Head, MemoryStore, StateDiff, StateRead, StateStore, StoreOptions, check_full,
};
use bttc_types::{Block, Certificate};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// How a source behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Changes a byte of every answer of this kind: 0 offers, 1 pieces, 2 tail.
    Liar(u8),
    /// Sends the first account of a piece twice: first with a storage that nobody has, then as it is.
    Twofold,
    /// Bytes that are no answer.
    Garbage,
    /// Answers at the last moment.
    Slow,
    Silent,
    /// Has dropped its snapshots since it offered them.
    Forgetful,
    /// Gives a piece now and then, a moment before it would count as silent.
    Miser,
}

struct Chain {
    store: Arc<StateStore>,
    genesis: Block,
}

/// A chain of `heights` empty blocks over `accounts`; each block changes an account.
fn chain(accounts: u64, heights: u64) -> Chain {
    let store = StateStore::open(Arc::new(MemoryStore::new()), StoreOptions::default()).unwrap();
    let mut diff = StateDiff::default();
    for index in 0..accounts {
        let address = Address::from_slice(&keccak256(index.to_be_bytes())[12..]);
        let mut change = AccountChange {
            account: Some(Account { balance: U256::from(index + 1), ..Account::default() }),
            ..AccountChange::default()
        };
        if index % 50 == 3 {
            let code = Bytes::from(keccak256((index % 1_000).to_be_bytes()).to_vec());
            change.account.as_mut().unwrap().code_hash = keccak256(&code);
            diff.code.insert(keccak256(&code), code);
            change.storage = (0..20).map(|slot| (U256::from(slot), U256::from(index + slot))).collect();
        }
        diff.accounts.insert(address, change);
    }
    let mut parent: Option<Header> = None;
    let mut last_commit = Certificate::genesis(B256::ZERO);
    let mut genesis = None;
    for height in 0..=heights {
        let prepared = store.prepare(height, &diff).unwrap();
        let header = Header {
            number: height,
            parent_hash: parent.as_ref().map_or(B256::ZERO, Header::hash_slow),
            state_root: prepared.root(),
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            // The later fields of a header are encoded only when those before them are there.
            base_fee_per_gas: Some(1),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(last_commit.hash()),
            ..Header::default()
        };
        let block = Block { header: header.clone(), transactions: Vec::new(), last_commit: last_commit.clone() };
        let certificate = certificate(&header);
        let record = BlockRecord {
            header: &header,
            hash: block.hash(),
            block: &block.encode(),
            receipts: &[0xc0],
            senders: &[],
            transactions: &[],
            certificate: (height > 0).then_some(&certificate),
            events: &[],
        };
        store.commit(record, prepared, true).unwrap();
        genesis.get_or_insert(block);
        last_commit = certificate;
        parent = Some(header);
        let account = Account { nonce: height, ..Account::default() };
        let change = AccountChange { account: Some(account), ..AccountChange::default() };
        diff = StateDiff { accounts: BTreeMap::from([(Address::repeat_byte(1), change)]), ..StateDiff::default() };
    }
    Chain { store: Arc::new(store), genesis: genesis.unwrap() }
}

fn certificate(header: &Header) -> Certificate {
    Certificate { height: header.number, round: 0, block_hash: header.hash_slow(), signatures: Vec::new() }
}

/// Trusts the certificates of one set, whatever the epoch.
struct FixedSet;

impl Trust for FixedSet {
    fn wants(&self, _: &Header) -> Option<u64> {
        None
    }

    fn verify(&self, header: &Header, certificate: &Certificate) -> Result<(), String> {
        verify(header, certificate)
    }

    fn learn(&mut self, _: u64, _: &[u8]) -> Result<usize, String> {
        Err("nothing was asked".into())
    }
}

fn verify(header: &Header, found: &Certificate) -> Result<(), String> {
    if *found == certificate(header) && header.number > 0 { Ok(()) } else { Err("forged".into()) }
}

fn answer(store: &Arc<StateStore>, request: &PeerRequest) -> Vec<u8> {
    // As it goes over the wire.
    match PeerRequest::decode(&request.encode()).unwrap() {
        PeerRequest::Blocks(_) | PeerRequest::SetChanges(_) => unreachable!(),
        PeerRequest::Offers => encode_answer::<Offer>(&offers(&[Arc::clone(store)]).unwrap()),
        PeerRequest::Pieces(height, wanted) if Some(height) == store.head().map(|head| head.height) => {
            encode_answer::<Content>(&pieces(store, &wanted).unwrap())
        }
        PeerRequest::Pieces(..) => encode_answer::<Content>(&[]),
        PeerRequest::Tail(_) => alloy_rlp::encode(tail(store).unwrap()),
    }
}

/// A leaf of a piece, as it goes over the wire.
#[derive(Clone, RlpEncodable, RlpDecodable)]
struct WireLeaf {
    key: Bytes,
    value: Bytes,
}

/// What a piece is, as it goes over the wire.
#[derive(RlpEncodable, RlpDecodable)]
struct WireContent {
    leaves: Vec<WireLeaf>,
    bytes: Bytes,
}

/// An answer with pieces in which a false account comes before the true one.
fn twofold(bytes: &[u8]) -> Vec<u8> {
    let mut contents = Vec::<WireContent>::decode(&mut &bytes[..]).unwrap();
    for content in &mut contents {
        let Some(first) = content.leaves.first().cloned() else { continue };
        let Ok(account) = Account::decode(&mut first.value.as_ref()) else { continue };
        let lying = Account { storage_root: B256::repeat_byte(7), ..account };
        content.leaves.insert(0, WireLeaf { value: alloy_rlp::encode(lying).into(), ..first });
    }
    encode_answer::<WireContent>(&contents)
}

/// What is under way at a moment: a peer's answer.
type Pending = BinaryHeap<Reverse<(u64, u64, Vec<u8>, u64)>>;

struct World {
    rng: ChaCha8Rng,
    now: u64,
    sources: BTreeMap<u64, (Arc<StateStore>, Manner)>,
    kv: Arc<MemoryStore>,
    blamed: Vec<u64>,
    requests: BTreeMap<u64, u64>,
    opened: Vec<u64>,
}

impl World {
    fn new(seed: u64, sources: Vec<(Arc<StateStore>, Manner)>) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 1,
            sources: (1..).zip(sources).collect(),
            kv: Arc::new(MemoryStore::new()),
            blamed: Vec::new(),
            requests: BTreeMap::new(),
            opened: Vec::new(),
        }
    }

    /// Runs one process until it is done (true) or has taken `answers`, and then dies.
    fn run(&mut self, answers: u64, genesis: &Block, mut on_tick: impl FnMut(&mut Self)) -> bool {
        let resume = Import::pivot_in(self.kv.as_ref()).unwrap();
        let mut sync = StateSync::new(Box::new(FixedSet), resume);
        for peer in self.sources.keys().filter(|peer| !self.blamed.contains(peer)) {
            sync.connected(*peer);
        }
        let mut pending: Pending = BinaryHeap::new();
        let (mut taken, deadline) = (0, self.now + 600_000);
        loop {
            assert!(self.now < deadline, "ten minutes, and {:?}", sync.progress());
            on_tick(self);
            let mut actions = Vec::new();
            while pending.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, tag, bytes, _))) = pending.pop() else { break };
                actions.extend(sync.answered(tag, Ok(bytes), self.now).unwrap());
                taken += 1;
            }
            actions.extend(sync.tick(self.now));
            for action in actions {
                match action {
                    SyncAction::Ask { peer, tag, request } => self.ask(peer, tag, &request, &mut pending),
                    SyncAction::Blame { peer, reason } => {
                        assert!(!reason.is_empty());
                        self.blamed.push(peer);
                        sync.gone(peer);
                    }
                    SyncAction::Open(pivot) => {
                        if Import::pivot_in(self.kv.as_ref()).unwrap().is_some_and(|found| found != pivot) {
                            self.kv = Arc::new(MemoryStore::new());
                        }
                        self.opened.push(pivot.height);
                        sync.opened(Import::open(self.kv.clone(), pivot).unwrap());
                    }
                    SyncAction::Finish(finished) => {
                        let certificate = &finished.offer.certificate;
                        finish_import(finished.import, certificate, &finished.tail, genesis).unwrap();
                        return true;
                    }
                }
            }
            if taken > answers {
                if self.rng.random_bool(0.5) {
                    self.kv.crash();
                }
                return false;
            }
            self.now += 50;
        }
    }

    fn ask(&mut self, peer: u64, tag: u64, request: &PeerRequest, pending: &mut Pending) {
        *self.requests.entry(peer).or_default() += 1;
        let Some((store, manner)) = self.sources.get(&peer) else { return };
        let mut bytes = answer(store, request);
        let mut delay = self.rng.random_range(20..200);
        match manner {
            Manner::Honest => {}
            Manner::Liar(kind) => {
                let asked = match request {
                    PeerRequest::Offers => 0,
                    PeerRequest::Pieces(..) => 1,
                    PeerRequest::Tail(_) | PeerRequest::Blocks(_) | PeerRequest::SetChanges(_) => 2,
                };
                if *kind == asked {
                    let at = bytes.len() - 1 - self.rng.random_range(0..bytes.len().min(40));
                    bytes[at] ^= 1 << self.rng.random_range(0..8);
                }
            }
            Manner::Twofold => {
                if matches!(request, PeerRequest::Pieces(..)) {
                    bytes = twofold(&bytes);
                }
            }
            Manner::Garbage => bytes = vec![0xff; 300],
            Manner::Slow => delay = 18_000,
            Manner::Silent => return,
            Manner::Miser => {
                if let PeerRequest::Pieces(height, wanted) = request {
                    let one = wanted.get(..1).unwrap_or_default().to_vec();
                    bytes = answer(store, &PeerRequest::Pieces(*height, one));
                }
                if !matches!(request, PeerRequest::Offers) {
                    delay = 18_000;
                }
            }
            Manner::Forgetful => match request {
                PeerRequest::Pieces(..) => bytes = encode_answer::<Content>(&[]),
                PeerRequest::Tail(_) => {
                    bytes = alloy_rlp::encode(bttc_node::Tail {
                        block: Bytes::new(),
                        receipts: Bytes::new(),
                        headers: Vec::new(),
                    });
                }
                PeerRequest::Offers | PeerRequest::Blocks(_) | PeerRequest::SetChanges(_) => {}
            },
        }
        pending.push(Reverse((self.now + delay, tag, bytes, peer)));
    }

    fn assert_joined(&self, chain: &Chain) {
        let store = StateStore::open(self.kv.clone(), StoreOptions::default()).unwrap();
        let head = chain.store.head().unwrap();
        assert_eq!(store.head(), Some(head));
        assert_eq!(store.genesis_hash().unwrap(), Some(chain.genesis.hash()));
        assert_eq!((store.lowest_state().unwrap(), store.lowest_block().unwrap()), (head.height, head.height));
        for height in head.height.saturating_sub(256)..=head.height {
            assert_eq!(store.block_hash(height).unwrap(), chain.store.block_hash(height).unwrap(), "{height}");
        }
        assert_eq!(store.block_bytes(head.height).unwrap(), chain.store.block_bytes(head.height).unwrap());
        assert_eq!(store.certificate(head.height).unwrap(), chain.store.certificate(head.height).unwrap());
        let report = check_full(self.kv.as_ref()).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report, check_full(chain.store.kv().as_ref()).unwrap());
    }
}

#[test]
fn joins_from_honest_sources_and_shares_the_load() {
    let chain = chain(20_000, 300);
    let mut world = World::new(1, vec![(Arc::clone(&chain.store), Manner::Honest); 3]);
    assert!(world.run(u64::MAX, &chain.genesis, |_| {}));
    world.assert_joined(&chain);
    let most = world.requests.values().max().unwrap();
    let least = world.requests.values().min().unwrap();
    assert!(*least * 4 > *most, "{:?}", world.requests);
}

/// A fresh node, killed twice and more, with one lying source among others that are slow, silent or forgetful.
fn join_the_hard_way(accounts: u64, seed: u64, answers: u64) {
    let chain = chain(accounts, 5);
    let manners = [
        Manner::Liar((seed % 3) as u8),
        Manner::Honest,
        Manner::Slow,
        Manner::Silent,
        Manner::Forgetful,
        if seed.is_multiple_of(2) { Manner::Garbage } else { Manner::Liar(1) },
    ];
    let mut world = World::new(seed, manners.map(|manner| (Arc::clone(&chain.store), manner)).to_vec());
    let mut kills = 0;
    while !world.run(if kills < 2 { answers } else { u64::MAX }, &chain.genesis, |_| {}) {
        kills += 1;
    }
    assert!(kills >= 2, "killed {kills} times");
    world.assert_joined(&chain);
    for peer in &world.blamed {
        let manner = world.sources[peer].1;
        assert!(matches!(manner, Manner::Liar(_) | Manner::Garbage), "{manner:?} was blamed");
    }
    assert!(!world.blamed.is_empty(), "nobody was blamed");
}

#[test]
fn joins_despite_kills_and_lies() {
    for seed in 0..12 {
        join_the_hard_way(6_000, seed, 3 + seed % 4);
    }
}

#[test]
#[ignore = "a million accounts: scripts/state-sync runs it in release mode"]
fn joins_a_million_accounts_despite_kills_and_lies() {
    join_the_hard_way(1_000_000, 7, 60);
}

#[test]
fn takes_the_newest_and_begins_anew_when_it_is_offered_no_more() {
    let (old, new) = (chain(4_000, 10), chain(4_000, 20));
    let mut world = World::new(5, vec![(Arc::clone(&old.store), Manner::Honest); 2]);
    // The only sources drop the snapshot for a newer one when some of it is loaded.
    world.sources.insert(1, (Arc::clone(&old.store), Manner::Slow));
    world.sources.remove(&2);
    let later = Arc::clone(&new.store);
    let done = world.run(u64::MAX, &new.genesis, |world| {
        if world.now > 30_000 {
            world.sources.insert(1, (Arc::clone(&later), Manner::Honest));
        }
    });
    assert!(done);
    assert_eq!(world.opened, [10, 20]);
    world.assert_joined(&new);
    let mut both = World::new(6, vec![(old.store, Manner::Honest), (Arc::clone(&new.store), Manner::Honest)]);
    assert!(both.run(u64::MAX, &new.genesis, |_| {}));
    assert_eq!(both.opened, [20]);
}

#[test]
fn a_source_that_names_an_account_twice_is_blamed_and_spoils_nothing() {
    let chain = chain(6_000, 5);
    let manners = [Manner::Twofold, Manner::Honest];
    let mut world = World::new(9, manners.map(|manner| (Arc::clone(&chain.store), manner)).to_vec());
    assert!(world.run(u64::MAX, &chain.genesis, |_| {}));
    assert_eq!(world.blamed, [1]);
    world.assert_joined(&chain);
}

/// Offers cost nothing: a header and its certificate are public. Whoever offers the newest and gives nothing, or hardly anything, or comes
/// again and again, is left alone, and so are many of them.
#[test]
fn whoever_offers_and_does_not_give_holds_nobody_up() {
    let (old, new) = (chain(4_000, 10), chain(40_000, 20));
    for (seed, manner) in [(1, Manner::Forgetful), (2, Manner::Miser)] {
        let sources = |count: usize| vec![(Arc::clone(&new.store), manner); count];
        for liars in [1, 4] {
            let mut all = sources(liars);
            all.extend(vec![(Arc::clone(&old.store), Manner::Honest); 2]);
            let mut world = World::new(seed, all);
            assert!(world.run(u64::MAX, &old.genesis, |_| {}), "{manner:?}");
            assert!(world.opened.ends_with(&[10]), "{:?}", world.opened);
            assert!(world.blamed.is_empty());
            // One who gives a little is left after one or two times in which its pace is judged.
            assert!(world.now < 300_000, "{} ms with {liars} of {manner:?}", world.now);
            world.assert_joined(&old);
        }
    }
}

#[test]
fn nothing_happens_without_offers() {
    let mut sync =
        StateSync::new(Box::new(FixedSet), Some(Head { height: 5, hash: B256::ZERO, state_root: B256::ZERO }));
    assert!(sync.tick(1).is_empty());
    sync.connected(1);
    let actions = sync.tick(2);
    assert!(matches!(actions.as_slice(), [SyncAction::Ask { peer: 1, request: PeerRequest::Offers, .. }]));
    assert!(sync.answered(1, Ok(encode_answer::<Offer>(&[])), 3).unwrap().is_empty());
    assert!(sync.tick(1_000_000).iter().all(|action| matches!(action, SyncAction::Ask { .. })));
    assert!(!sync.is_offered());
}

#[test]
fn malformed_requests_and_answers_are_refused() {
    for bytes in [&[][..], &[9], &[2, 0], &[3, 1], &[4], &[4, 0x81], &[1, 0xc0]] {
        assert!(PeerRequest::decode(bytes).is_err(), "{bytes:?}");
    }
    assert!(decode_contents(&[0xc0, 0]).is_err());
    let most = encode_answer::<u64>(&vec![1; 4 << 20]);
    assert!(decode_contents(&most).unwrap_err().contains("limit"), "it is refused before it is decoded");
    assert!(decode_tail(&[0xc0]).is_err());
}
