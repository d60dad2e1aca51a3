//! Evidence that a liar makes: forged against others, good against itself, and changed field by field.

use super::{Audience, Byzantine, Lie, Means, values, wire};
use alloy_primitives::B256;
use bttc_engine::Message;
use bttc_types::{Evidence, Proposal, SignedVote, Vote, VoteKind};
use rand::Rng;

/// Pieces of good evidence against itself with each vote: over sixty a second at two heights a second.
const PIECES: u64 = 30;

impl Byzantine {
    /// Our own signature, or the victim's from elsewhere, under a vote that it never cast.
    pub(super) fn forged_evidence(&self, means: &mut Means<'_>) -> Option<Evidence> {
        let own = means.key.address();
        let victims: Vec<&SignedVote> = self.votes().into_iter().filter(|heard| heard.vote.validator != own).collect();
        let victim = (*victims.get(means.rng.random_range(0..victims.len().max(1)))?).clone();
        let vote = Vote { block_hash: Some(means.random_hash()), ..victim.vote.clone() };
        let signature = match means.rng.random() {
            true => means.key.sign(means.domain.vote_digest(&vote)),
            false => victim.signature,
        };
        Some(Evidence::from_votes(victim, SignedVote { vote, signature }, means.domain))
    }

    /// Two votes or two proposals of its own that contradict each other, for `height`, unlike all before.
    pub fn against_itself(&mut self, height: u64, means: &mut Means<'_>) -> Evidence {
        self.serial += 1;
        let validator = means.key.address();
        let hashes = [B256::with_last_byte(1), B256::from(alloy_primitives::U256::from(self.serial + 1))];
        let round = means.rng.random_range(0..3);
        if means.rng.random_bool(0.2) {
            let [first, second] = hashes.map(|block_hash| {
                let proposal = Proposal { height, round, pol_round: None, block_hash, proposer: validator };
                let signature = means.key.sign(means.domain.proposal_digest(&proposal));
                (proposal, signature)
            });
            return Evidence::from_proposals(first, second, means.domain);
        }
        let kind = if means.rng.random() { VoteKind::Prevote } else { VoteKind::Precommit };
        let [first, second] =
            hashes.map(|hash| means.signed(Vote { kind, height, round, block_hash: Some(hash), validator }));
        Evidence::from_votes(first, second, means.domain)
    }

    /// Dozens of good pieces, of this height and of those before it.
    pub(super) fn self_evidence(&mut self, height: u64, means: &mut Means<'_>) -> Vec<Lie> {
        let pieces = (0..PIECES).map(|piece| {
            let height = height.saturating_sub(piece % 5).max(1);
            let evidence = self.against_itself(height, means);
            (Audience::One, piece * 10_000, Message::Evidence(Box::new(evidence)))
        });
        pieces.collect()
    }

    /// Evidence with one field changed: against itself at heights and in rounds that never were, or broken.
    pub(super) fn re_signed_evidence(&mut self, height: u64, known: &[B256], means: &mut Means<'_>) -> Lie {
        let heard = self.heard.iter().rev().find_map(|message| match message {
            Message::Evidence(evidence) => Some((**evidence).clone()),
            _ => None,
        });
        let evidence = match means.rng.random_range(0..3) {
            0 => {
                let height = values::number(height, means.rng);
                self.against_itself(height, means)
            }
            1 => {
                let good = self.against_itself(height, means);
                wire::evidence(&good, known, means)
            }
            _ => {
                let good = heard.unwrap_or_else(|| self.against_itself(height, means));
                wire::evidence(&good, known, means)
            }
        };
        (Audience::draw(means.rng), 0, Message::Evidence(Box::new(evidence)))
    }
}
