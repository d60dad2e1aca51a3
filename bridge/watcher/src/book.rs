//! Everybody's signatures.
//!
//! Roots are cumulative: of checkpoints, the latest and those by which a set hands over are needed for ever. Others go after
//! [`KEPT_CHECKPOINTS`].

use crate::Error;
use crate::due::LedgerView;
use alloy_primitives::{Address, B256};
use bttc_bridge_types::{BridgeSet, BridgeVote, GatewayId, Subject};
use bttc_types::Signature;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Subjects of one signer: more are not taken until older ones are gone.
const PER_SIGNER: usize = 4_096;
/// Checkpoints whose signatures are held in memory without a certificate.
const OPEN_CHECKPOINTS: u64 = 256;
/// Latest checkpoints whose signatures are kept, hand-over or not.
const KEPT_CHECKPOINTS: u64 = 4_096;
/// Records of the file that count no more, before it is written anew.
const STALE: usize = 10_000;
/// A record of the file: length, signer, vote.
const RECORD_HEAD: usize = 22;
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
    /// Signatures of checkpoints and commands go here too.
    file: Option<(PathBuf, File)>,
    /// Records of the file that count no more.
    stale: usize,
}

/// A record of the file.
fn record(vote: &BridgeVote, signer: Address) -> Vec<u8> {
    let body = vote.encode();
    let mut bytes = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(signer.as_slice());
    bytes.extend_from_slice(&body);
    bytes
}

/// Whether a subject's signatures are kept on disk.
const fn is_kept(subject: &Subject) -> bool {
    !matches!(subject, Subject::Deposits { .. })
}

impl VoteBook {
    /// A book that keeps what counts for ever in a file, and takes back what it holds.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file(path, error)),
        };
        let mut book = Self::default();
        let mut at = 0usize;
        // Whoever wrote the file recovered the signers: years of them are not recovered again.
        while let Some(head) = bytes.get(at..at + RECORD_HEAD) {
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let Some(body) = bytes.get(at + RECORD_HEAD..at + RECORD_HEAD + length) else { break };
            at += RECORD_HEAD + length;
            if let Ok(vote) = BridgeVote::decode(body) {
                book.put(&vote, Address::from_slice(&head[2..]));
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| Error::file(path, error))?;
        // A torn end would swallow the next record.
        file.set_len(at as u64).map_err(|error| Error::file(path, error))?;
        book.file = Some((path.to_owned(), file));
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
            && is_kept(&vote.subject)
            && let Some((path, file)) = &mut self.file
        {
            file.write_all(&record(vote, signer)).map_err(|error| Error::file(path, error))?;
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

    /// Whether a signer has said this of a subject.
    pub fn holds(&self, subject: &Subject, signer: Address, value: B256) -> bool {
        let said = self.votes.get(subject).and_then(|said| said.get(&signer));
        said.is_some_and(|said| said.iter().any(|(other, _)| *other == value))
    }

    /// What a signer said of a gateway's deposits up to a number.
    pub fn attested(&self, signer: Address, at: GatewayId, up_to: u64) -> Vec<(Subject, B256)> {
        let first = Subject::Deposits { at, to_nonce: 0 };
        let last = Subject::Deposits { at, to_nonce: up_to };
        let found = self.votes.range(first..=last).filter_map(|(subject, said)| {
            said.get(&signer).and_then(|said| said.first()).map(|(value, _)| (*subject, *value))
        });
        found.collect()
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

    /// Drops what counts no more. `is_hand_over` tells of a checkpoint whether a set hands over by it.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written anew.
    pub fn prune(&mut self, view: &LedgerView, is_hand_over: impl Fn(u64) -> bool) -> Result<(), Error> {
        let mut spare = BTreeSet::new();
        for gateway in &view.gateways {
            let applied = self.votes.keys().filter(|subject| {
                matches!(subject, Subject::Deposits { at, to_nonce } if *at == gateway.at && *to_nonce <= gateway.deposit_nonce)
            });
            let list: Vec<Subject> = applied.copied().collect();
            spare.extend(list.iter().take(list.len().saturating_sub(APPLIED)).copied());
        }
        // Those that were looked at before and stay are hand-overs, one a day.
        let old = Subject::Checkpoint { seq: view.checkpoints.saturating_sub(KEPT_CHECKPOINTS) };
        for subject in self.votes.range(Subject::Checkpoint { seq: 0 }..old).map(|(subject, _)| *subject) {
            if matches!(subject, Subject::Checkpoint { seq } if !is_hand_over(seq)) {
                spare.insert(subject);
            }
        }
        for subject in spare {
            if is_kept(&subject) {
                self.stale += self.votes.get(&subject).map_or(0, BTreeMap::len);
            }
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
        if self.stale > STALE { self.rewrite() } else { Ok(()) }
    }

    /// Writes the file anew, without what counts no more.
    fn rewrite(&mut self) -> Result<(), Error> {
        let Some((path, _)) = &self.file else { return Ok(()) };
        let (path, part) = (path.clone(), path.with_extension("part"));
        let fail = |error: std::io::Error| Error::file(&path, error);
        let mut bytes = Vec::new();
        for subject in self.votes.keys().filter(|subject| is_kept(subject)) {
            for (signer, vote) in self.votes_on(subject) {
                bytes.extend_from_slice(&record(&vote, signer));
            }
        }
        std::fs::write(&part, &bytes).map_err(fail)?;
        std::fs::rename(&part, &path).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        self.file = Some((path, file));
        self.stale = 0;
        Ok(())
    }
}

/// Whether a vote on a checkpoint or command is about that one. Its signature does not name it: an old one about something else
/// could be passed off as a vote on it, and stand in the way of the true one. A vote that comes before this node knows what it
/// is about comes again.
fn is_about(vote: &BridgeVote, view: &LedgerView) -> bool {
    match vote.subject {
        Subject::Deposits { .. } => true,
        Subject::Checkpoint { seq } => view.digests.get(&seq).is_some_and(|(digest, _)| *digest == vote.value),
        Subject::Command { at, nonce } => {
            view.gateways.iter().any(|gateway| gateway.at == at && gateway.commands.get(&nonce) == Some(&vote.value))
        }
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
        Subject::Command { at, nonce } => {
            view.gateways.iter().any(|gateway| gateway.at == *at && gateway.commands.contains_key(nonce))
        }
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
            commands: BTreeMap::from([(1, B256::repeat_byte(5))]),
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
            let mut book = VoteBook::open(&path).unwrap();
            for key in &keys {
                let vote = vote(key, &view, subject, 4);
                book.insert(&vote, key.address(), &members, &view).unwrap();
            }
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[0, 200, 1]);
        std::fs::write(&path, bytes).unwrap();
        let mut book = VoteBook::open(&path).unwrap();
        assert_eq!(book.certificate(&subject, B256::repeat_byte(4), &view.set, 1).unwrap().len(), 3);
        // Long ago: a hand-over stays, another one goes.
        let later = LedgerView { checkpoints: KEPT_CHECKPOINTS + 10, ..view.clone() };
        book.prune(&later, |seq| seq == 3).unwrap();
        assert!(!book.votes_on(&subject).is_empty());
        book.stale = STALE;
        book.prune(&later, |_| false).unwrap();
        assert!(book.votes_on(&subject).is_empty());
        assert_eq!(std::fs::read(&path).unwrap().len(), 0, "the file is written anew");
    }
}
