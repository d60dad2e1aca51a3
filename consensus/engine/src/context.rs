//! Our types in the shape that the Malachite core asks for.
//!
//! A value is a block hash: the block itself travels in parts and is kept beside the core.

use alloy_primitives::{Address, B256};
use bttc_types::{Mutant, Proposal, Signature, Turns, ValidatorSet, Vote, VoteKind};
use malachitebft_core_types as core;
use malachitebft_core_types::{NilOrVal, Round, SignedExtension, VoteType};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CoreHeight(pub(crate) u64);

impl fmt::Display for CoreHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Height for CoreHeight {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// Address of a consensus key. Signatures recover to addresses, so it also stands for the public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CoreAddress(pub(crate) Address);

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Address for CoreAddress {}

/// A block's hash as value and as its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockId(pub(crate) B256);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Value for BlockId {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreValidator {
    pub(crate) address: CoreAddress,
    pub(crate) power: u64,
}

impl core::Validator<Ctx> for CoreValidator {
    fn address(&self) -> &CoreAddress {
        &self.address
    }

    fn public_key(&self) -> &CoreAddress {
        &self.address
    }

    fn voting_power(&self) -> u64 {
        if Mutant::QuorumByCount.active() {
            return 1;
        }
        self.power
    }
}

/// A validator set: ours for the rotation, with the core's view of each validator beside it. The core clones sets
/// often, so both are shared.
#[derive(Clone, Debug)]
pub(crate) struct CoreSet {
    pub(crate) set: Arc<ValidatorSet>,
    validators: Arc<[CoreValidator]>,
    /// Proposers found so far. They follow from the set, so this is no state: the lock is never held by two.
    turns: Arc<Mutex<Turns>>,
}

impl PartialEq for CoreSet {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set
    }
}

impl Eq for CoreSet {}

impl CoreSet {
    pub(crate) fn new(set: ValidatorSet) -> Self {
        let validators = set
            .validators()
            .iter()
            .map(|validator| CoreValidator { address: CoreAddress(validator.address), power: validator.power })
            .collect();
        let turns = Arc::new(Mutex::new(Turns::new(&set)));
        Self { set: Arc::new(set), validators, turns }
    }

    /// The proposer of a round.
    pub(crate) fn proposer(&self, round: u32) -> Address {
        let mut turns = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.proposer(round).address
    }

    /// Whether `power` is more than a third of the total: at least one of its holders is honest.
    pub(crate) fn has_honest(&self, power: u64) -> bool {
        u128::from(power).saturating_mul(3) > u128::from(self.set.total_power())
    }
}

impl core::ValidatorSet<Ctx> for CoreSet {
    fn count(&self) -> usize {
        self.validators.len()
    }

    fn total_voting_power(&self) -> u64 {
        if Mutant::QuorumByCount.active() {
            return self.validators.len() as u64;
        }
        self.set.total_power()
    }

    fn get_by_address(&self, address: &CoreAddress) -> Option<&CoreValidator> {
        let (index, _) = self.set.find(&address.0)?;
        self.validators.get(usize::from(index))
    }

    fn get_by_index(&self, index: usize) -> Option<&CoreValidator> {
        self.validators.get(index)
    }
}

/// Parts never reach the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoPart;

impl core::ProposalPart<Ctx> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreProposal {
    pub(crate) height: CoreHeight,
    pub(crate) round: Round,
    pub(crate) value: BlockId,
    pub(crate) pol_round: Round,
    pub(crate) proposer: CoreAddress,
}

impl CoreProposal {
    /// In our form; `None` for a nil round, which no valid proposal has.
    pub(crate) fn to_proposal(&self) -> Option<Proposal> {
        Some(Proposal {
            height: self.height.0,
            round: self.round.as_u32()?,
            pol_round: self.pol_round.as_u32(),
            block_hash: self.value.0,
            proposer: self.proposer.0,
        })
    }

    pub(crate) fn from_proposal(proposal: &Proposal) -> Self {
        Self {
            height: CoreHeight(proposal.height),
            round: Round::new(proposal.round),
            value: BlockId(proposal.block_hash),
            pol_round: proposal.pol_round.map_or(Round::Nil, Round::new),
            proposer: CoreAddress(proposal.proposer),
        }
    }
}

impl core::Proposal<Ctx> for CoreProposal {
    fn height(&self) -> CoreHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &BlockId {
        &self.value
    }

    fn take_value(self) -> BlockId {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &CoreAddress {
        &self.proposer
    }
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreVote {
    pub(crate) kind: VoteType,
    pub(crate) height: CoreHeight,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<BlockId>,
    pub(crate) validator: CoreAddress,
}

impl CoreVote {
    /// In our form; `None` for a nil round, which no valid vote has.
    pub(crate) fn to_vote(&self) -> Option<Vote> {
        Some(Vote {
            kind: match self.kind {
                VoteType::Prevote => VoteKind::Prevote,
                VoteType::Precommit => VoteKind::Precommit,
            },
            height: self.height.0,
            round: self.round.as_u32()?,
            block_hash: match &self.value {
                NilOrVal::Nil => None,
                NilOrVal::Val(id) => Some(id.0),
            },
            validator: self.validator.0,
        })
    }

    pub(crate) fn from_vote(vote: &Vote) -> Self {
        Self {
            kind: match vote.kind {
                VoteKind::Prevote => VoteType::Prevote,
                VoteKind::Precommit => VoteType::Precommit,
            },
            height: CoreHeight(vote.height),
            round: Round::new(vote.round),
            value: vote.block_hash.map_or(NilOrVal::Nil, |hash| NilOrVal::Val(BlockId(hash))),
            validator: CoreAddress(vote.validator),
        }
    }
}

impl core::Vote<Ctx> for CoreVote {
    fn height(&self) -> CoreHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &CoreAddress {
        &self.validator
    }

    fn extension(&self) -> Option<&SignedExtension<Ctx>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Ctx>> {
        None
    }

    /// Vote extensions are disabled, so the core never calls this.
    fn extend(self, _: SignedExtension<Ctx>) -> Self {
        self
    }
}

/// The signature scheme: recoverable secp256k1, keys named by their address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheme;

impl core::SigningScheme for Scheme {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = CoreAddress;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        <[u8; 65]>::try_from(bytes).map(Signature::from_bytes).map_err(|_| "a signature has 65 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.as_bytes().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<CoreAddress, &'static str> {
        Address::try_from(bytes).map(CoreAddress).map_err(|_| "an address has 20 bytes")
    }

    fn encode_public_key(key: &CoreAddress) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// The context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ctx;

impl core::Context for Ctx {
    type Address = CoreAddress;
    type Height = CoreHeight;
    type ProposalPart = NoPart;
    type Proposal = CoreProposal;
    type Validator = CoreValidator;
    type ValidatorSet = CoreSet;
    type Timeouts = core::LinearTimeouts;
    type Value = BlockId;
    type Vote = CoreVote;
    type Extension = ();
    type SigningScheme = Scheme;

    /// A set belongs to one height (its priorities are that height's), so the height is not needed.
    fn select_proposer<'a>(&self, set: &'a CoreSet, _: CoreHeight, round: Round) -> &'a CoreValidator {
        let proposer = set.proposer(round.as_u32().unwrap_or(0));
        let index = set.set.find(&proposer).map_or(0, |(index, _)| usize::from(index));
        // The proposer is a member of its set; sets are never empty.
        #[allow(clippy::indexing_slicing)]
        &set.validators[index]
    }

    fn new_proposal(
        &self,
        height: CoreHeight,
        round: Round,
        value: BlockId,
        pol_round: Round,
        proposer: CoreAddress,
    ) -> CoreProposal {
        CoreProposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(
        &self,
        height: CoreHeight,
        round: Round,
        value: NilOrVal<BlockId>,
        validator: CoreAddress,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Prevote, height, round, value, validator }
    }

    fn new_precommit(
        &self,
        height: CoreHeight,
        round: Round,
        value: NilOrVal<BlockId>,
        validator: CoreAddress,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Precommit, height, round, value, validator }
    }
}
