//! Everybody's signatures.

use crate::Error;
use crate::due::LedgerView;
use alloy_primitives::{Address, B256};
use bttc_bridge_types::{BridgeSet, BridgeVote, Subject};
use bttc_types::Signature;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Subjects of one signer: more are not taken until older ones are gone.
const PER_SIGNER: usize = 4_096;
/// Checkpoints whose signatures are held in memory without a certificate.
const OPEN_CHECKPOINTS: u64 = 256;
/// Boundaries behind the ledger's cursor whose signatures stay, so that late ones can be added.
const APPLIED: usize = 64;
/// How far ahead of the ledger a number may lie.
const FAR: u64 = 1_000_000;

/// What became of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// It is known, or of no use.
    Known,
    /// Its signer said something else before.
    Contradiction(Box<Contradiction>),
}

/// Two things said by one key of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What was said first.
    pub first: BridgeVote,
    /// What was said then.
    pub second: BridgeVote,
}

type Said = Vec<(B256, Signature)>;

/// The book.
#[derive(Debug, Default)]
pub struct VoteBook {
    votes: BTreeMap<Subject, BTreeMap<Address, Said>>,
    count: BTreeMap<Address, usize>,
    /// Signatures of checkpoints and commands go here too, for ever.
    file: Option<File>,
}

impl VoteBook {
    /// A book that keeps what counts for ever in a file, and takes back what it holds.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(path: &Path, bridge: B256) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file(path, error)),
        };
        let mut book = Self::default();
        let mut at = 0usize;
        while let Some(head) = bytes.get(at..at + 2) {
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let Some(body) = bytes.get(at + 2..at + 2 + length) else { break };
            at += 2 + length;
            let Ok(vote) = BridgeVote::decode(body) else { continue };
            if let Ok(signer) = vote.signer(bridge) {
                book.put(&vote, signer);
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| Error::file(path, error))?;
        // A torn end would swallow the next record.
        file.set_len(at as u64).map_err(|error| Error::file(path, error))?;
        book.file = Some(file);
        Ok(book)
    }

    fn put(&mut self, vote: &BridgeVote, signer: Address) -> Inserted {
        let said = self.votes.entry(vote.subject).or_default().entry(signer).or_default();
        if said.iter().any(|(value, _)| *value == vote.value) {
            return Inserted::Known;
        }
        let Some((value, signature)) = said.first().copied() else {
            said.push((vote.value, vote.signature));
            *self.count.entry(signer).or_default() += 1;
            return Inserted::New;
        };
        // Two are proof enough.
        if said.len() >= 2 {
            return Inserted::Known;
        }
        said.push((vote.value, vote.signature));
        let first = BridgeVote { subject: vote.subject, value, signature };
        Inserted::Contradiction(Box::new(Contradiction { first, second: *vote }))
    }

    /// Takes in a vote whose signer was recovered. `members` are those whose word counts.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be kept.
    pub fn insert(
        &mut self,
        vote: &BridgeVote,
        signer: Address,
        members: &BTreeSet<Address>,
        view: &LedgerView,
    ) -> Result<Inserted, Error> {
        if !members.contains(&signer) || !is_near(&vote.subject, view) || !is_about(vote, view) {
            return Ok(Inserted::Known);
        }
        let known = self.votes.get(&vote.subject).is_some_and(|said| said.contains_key(&signer));
        if !known && self.count.get(&signer).is_some_and(|count| *count >= PER_SIGNER) {
            return Ok(Inserted::Known);
        }
        let inserted = self.put(vote, signer);
        if inserted == Inserted::New
            && !matches!(vote.subject, Subject::Deposits { .. })
            && let Some(file) = &mut self.file
        {
            let body = vote.encode();
            let mut bytes = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            file.write_all(&bytes)
                .map_err(|error| Error::File { path: "the bridge's votes".into(), reason: error.to_string() })?;
        }
        Ok(inserted)
    }

    /// The signatures of a set's members for a value, by place.
    pub fn signatures(&self, subject: &Subject, value: B256, set: &BridgeSet) -> Vec<(u8, Signature)> {
        let Some(said) = self.votes.get(subject) else { return Vec::new() };
        let mut found = Vec::new();
        for (signer, list) in said {
            let Some(index) = set.index_of(*signer) else { continue };
            if let Some((_, signature)) = list.iter().find(|(other, _)| *other == value) {
                found.push((index, *signature));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        found
    }

    /// A certificate: the lightest signatures that suffice.
    pub fn certificate(
        &self,
        subject: &Subject,
        value: B256,
        set: &BridgeSet,
        least: usize,
    ) -> Option<Vec<(u8, Signature)>> {
        set.select(&self.signatures(subject, value, set), least)
    }

    /// All votes on a subject.
    pub fn votes_on(&self, subject: &Subject) -> Vec<(Address, BridgeVote)> {
        let Some(said) = self.votes.get(subject) else { return Vec::new() };
        said.iter()
            .flat_map(|(signer, list)| {
                list.iter().map(|(value, signature)| {
                    (*signer, BridgeVote { subject: *subject, value: *value, signature: *signature })
                })
            })
            .collect()
    }

    /// Votes of a signer, the latest subjects of each kind first.
    pub fn of(&self, signer: Address, most: usize) -> Vec<BridgeVote> {
        let list = self.votes.iter().rev().filter_map(|(subject, said)| {
            let (value, signature) = said.get(&signer)?.first()?;
            Some(BridgeVote { subject: *subject, value: *value, signature: *signature })
        });
        list.take(most).collect()
    }

    /// Everything on subjects that are still open, for a peer that may have none of it.
    pub fn open_votes(&self, view: &LedgerView, most: usize) -> Vec<BridgeVote> {
        let open = self.votes.iter().filter(|(subject, _)| match subject {
            Subject::Deposits { at, to_nonce } => {
                view.gateways.iter().any(|gateway| gateway.at == *at && *to_nonce > gateway.deposit_nonce)
            }
            Subject::Checkpoint { seq } => seq.saturating_add(16) > view.checkpoints,
            Subject::Command { .. } => true,
        });
        let all = open.flat_map(|(subject, said)| {
            said.values().filter_map(|list| list.first()).map(|(value, signature)| BridgeVote {
                subject: *subject,
                value: *value,
                signature: *signature,
            })
        });
        all.take(most).collect()
    }

    /// Drops what counts no more.
    pub fn prune(&mut self, view: &LedgerView) {
        let mut spare = BTreeSet::new();
        for gateway in &view.gateways {
            let applied = self.votes.keys().filter(|subject| {
                matches!(subject, Subject::Deposits { at, to_nonce } if *at == gateway.at && *to_nonce <= gateway.deposit_nonce)
            });
            let list: Vec<Subject> = applied.copied().collect();
            spare.extend(list.iter().take(list.len().saturating_sub(APPLIED)).copied());
        }
        for subject in self.votes.keys() {
            if matches!(subject, Subject::Checkpoint { seq } if *seq > view.checkpoints + OPEN_CHECKPOINTS) {
                spare.insert(*subject);
            }
        }
        for subject in spare {
            for signer in self.votes.remove(&subject).unwrap_or_default().into_keys() {
                if let Some(count) = self.count.get_mut(&signer) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        // Checkpoints with their signatures stay for ever, but do not fill a signer's share.
        for (signer, count) in &mut self.count {
            if *count >= PER_SIGNER {
                *count = self
                    .votes
                    .iter()
                    .filter(|(subject, said)| {
                        said.contains_key(signer)
                            && !matches!(subject, Subject::Checkpoint { seq } if *seq <= view.checkpoints)
                    })
                    .count();
            }
        }
    }
}

/// Whether a vote on a checkpoint or command is about that one. Its signature does not name it: an old one about something else
/// could be passed off as a vote on it, and stand in the way of the true one. A vote that comes before this node knows what it
/// is about comes again.
fn is_about(vote: &BridgeVote, view: &LedgerView) -> bool {
    match vote.subject {
        Subject::Deposits { .. } => true,
        Subject::Checkpoint { seq } => view.digests.get(&seq).is_some_and(|(digest, _)| *digest == vote.value),
        Subject::Command { at, nonce } => view.gateways.iter().any(|gateway| {
            let place = nonce.checked_sub(1).and_then(|place| usize::try_from(place).ok());
            gateway.at == at && place.and_then(|place| gateway.commands.get(place)) == Some(&vote.value)
        }),
    }
}

/// Whether a subject is about something that is, or will soon be.
fn is_near(subject: &Subject, view: &LedgerView) -> bool {
    match subject {
        Subject::Deposits { at, to_nonce } => view
            .gateways
            .iter()
            .any(|gateway| gateway.at == *at && *to_nonce > 0 && *to_nonce <= gateway.deposit_nonce + FAR),
        Subject::Checkpoint { seq } => *seq > 0 && *seq <= view.checkpoints + OPEN_CHECKPOINTS,
        Subject::Command { at, nonce } => view.gateways.iter().any(|gateway| {
            gateway.at == *at && *nonce > 0 && *nonce <= gateway.commands.len() as u64 + OPEN_CHECKPOINTS
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::due::LedgerGateway;
    use bttc_bridge_types::{BridgeMember, GatewayId};
    use bttc_types::SecretKey;

    const AT: GatewayId = GatewayId { root_chain_id: 1, gateway: Address::repeat_byte(7) };

    fn world() -> (Vec<SecretKey>, LedgerView, BTreeSet<Address>) {
        let keys: Vec<SecretKey> = (1..=4u8).map(|n| SecretKey::from_bytes(&[n; 32]).unwrap()).collect();
        let members = keys.iter().map(|key| BridgeMember { key: key.address(), power: 1 }).collect();
        let set = BridgeSet::new(1, members).unwrap();
        let gateway = LedgerGateway {
            at: AT,
            name: "x".into(),
            deposit_nonce: 0,
            deposit_acc: B256::ZERO,
            commands: vec![B256::repeat_byte(5)],
        };
        let view = LedgerView {
            bridge_id: B256::repeat_byte(9),
            least_signers: 1,
            set,
            next_set: 0,
            gateways: vec![gateway],
            checkpoints: 3,
            digests: BTreeMap::from([(3, (B256::repeat_byte(4), 1))]),
        };
        let members = keys.iter().map(SecretKey::address).collect();
        (keys, view, members)
    }

    fn vote(key: &SecretKey, view: &LedgerView, subject: Subject, value: u8) -> BridgeVote {
        let value = B256::repeat_byte(value);
        let mut vote = BridgeVote { subject, value, signature: Signature::from_bytes([0; 65]) };
        vote.signature = key.sign(vote.digest(view.bridge_id));
        vote
    }

    #[test]
    fn certificates_form_and_contradictions_show() {
        let (keys, view, members) = world();
        let mut book = VoteBook::default();
        let subject = Subject::Deposits { at: AT, to_nonce: 3 };
        let good = B256::repeat_byte(1);
        for key in &keys[..2] {
            let vote = vote(key, &view, subject, 1);
            assert_eq!(book.insert(&vote, key.address(), &members, &view).unwrap(), Inserted::New);
            assert_eq!(book.insert(&vote, key.address(), &members, &view).unwrap(), Inserted::Known);
        }
        assert!(book.certificate(&subject, good, &view.set, 1).is_none());
        let liar = vote(&keys[1], &view, subject, 2);
        assert!(matches!(book.insert(&liar, keys[1].address(), &members, &view).unwrap(), Inserted::Contradiction(_)));
        let third = vote(&keys[2], &view, subject, 1);
        book.insert(&third, keys[2].address(), &members, &view).unwrap();
        assert_eq!(book.certificate(&subject, good, &view.set, 1).unwrap().len(), 3);
        // An attestation that is passed off as a vote on a checkpoint stands in nobody's way.
        let seq = Subject::Checkpoint { seq: 3 };
        let replayed = BridgeVote { subject: seq, value: third.digest(view.bridge_id), signature: third.signature };
        assert_eq!(replayed.signer(view.bridge_id).unwrap(), keys[2].address());
        assert_eq!(book.insert(&replayed, keys[2].address(), &members, &view).unwrap(), Inserted::Known);
        assert!(book.votes_on(&seq).is_empty());
        let true_one = vote(&keys[2], &view, seq, 4);
        assert_eq!(book.insert(&true_one, keys[2].address(), &members, &view).unwrap(), Inserted::New);
        // Strangers and far numbers fill nothing.
        let stranger = SecretKey::from_bytes(&[9; 32]).unwrap();
        let theirs = vote(&stranger, &view, subject, 1);
        assert_eq!(book.insert(&theirs, stranger.address(), &members, &view).unwrap(), Inserted::Known);
        let far = vote(&keys[0], &view, Subject::Checkpoint { seq: 9_999 }, 1);
        assert_eq!(book.insert(&far, keys[0].address(), &members, &view).unwrap(), Inserted::Known);
    }

    #[test]
    fn checkpoints_are_kept_on_disk() {
        let (keys, view, members) = world();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes");
        let subject = Subject::Checkpoint { seq: 3 };
        {
            let mut book = VoteBook::open(&path, view.bridge_id).unwrap();
            for key in &keys {
                let vote = vote(key, &view, subject, 4);
                book.insert(&vote, key.address(), &members, &view).unwrap();
            }
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[0, 200, 1]);
        std::fs::write(&path, bytes).unwrap();
        let book = VoteBook::open(&path, view.bridge_id).unwrap();
        assert_eq!(book.certificate(&subject, B256::repeat_byte(4), &view.set, 1).unwrap().len(), 3);
    }
}
