//! Building a store from the pieces of a snapshot.
//!
//! What is still wanted is kept in the store itself, and changes in the same batch as what has come: a process that
//! dies goes on where it was.

use super::{Content, Kind, Leaf, Piece, Refusal};
use crate::account::Account;
use crate::blocks::{BlockRecord, write_ancestor};
use crate::kv::{Batch, Kv, Table};
use crate::store::{Head, META_GENESIS, META_HEAD, META_LOWEST_BLOCK, META_LOWEST_STATE, META_SCHEMA, SCHEMA_VERSION};
use crate::trie::{NodeWrites, Trie, seal_below, storage_path};
use crate::{EMPTY_CODE_HASH, EMPTY_ROOT_HASH, Error, MemoryStore};
use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::Nibbles;
use alloy_trie::nodes::{RlpNode, TrieNode};
use std::collections::BTreeMap;
use std::sync::Arc;

const META_PIVOT: &[u8] = b"import_pivot";
const WANTED: &[u8] = b"import_wanted/";

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Accounts that are here, since this process started.
    pub accounts: u64,
    /// Slots that are here, since this process started.
    pub slots: u64,
    /// Share of the account trie that is here, 0 to 1.
    pub share: f64,
}

/// Order in which pieces are asked for: what hangs below accounts first, and deep before wide, so that the list of
/// what is wanted stays short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: Kind,
    shallow: usize,
    owner: B256,
    path: Vec<u8>,
}

impl Place {
    fn of(piece: &Piece) -> Self {
        Self {
            kind: piece.kind().unwrap_or(Kind::Accounts),
            shallow: 64usize.saturating_sub(piece.path.len()),
            owner: piece.owner,
            path: piece.path.to_vec(),
        }
    }

    fn piece(&self) -> Piece {
        match self.kind {
            Kind::Code => Piece::code(self.owner),
            Kind::Storage => Piece::storage(self.owner, &self.path),
            Kind::Accounts => Piece::accounts(&self.path),
        }
    }

    fn key(&self) -> Vec<u8> {
        [WANTED, &[self.kind as u8], self.owner.as_slice(), &self.path].concat()
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.strip_prefix(WANTED)?.split_first()?;
        let (owner, path) = rest.split_first_chunk::<32>()?;
        let kind = [Kind::Code, Kind::Storage, Kind::Accounts].into_iter().find(|known| *known as u8 == *kind)?;
        let shallow = 64usize.saturating_sub(path.len());
        Some(Self { kind, shallow, owner: B256::from(*owner), path: path.to_vec() })
    }

    /// Share of the account trie below this place.
    fn share(&self) -> f64 {
        match self.kind {
            Kind::Accounts => 16f64.powi(-i32::try_from(self.path.len()).unwrap_or(64)),
            Kind::Code | Kind::Storage => 0.0,
        }
    }
}

/// An import under way.
pub struct Import {
    kv: Arc<dyn Kv>,
    pivot: Head,
    /// What is wanted, with the reference by which its parent names it; of codes nothing.
    wanted: BTreeMap<Place, Vec<u8>>,
    /// What was asked for and has not come.
    asked: BTreeMap<Place, Vec<u8>>,
    progress: Progress,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("pivot", &self.pivot).field("wanted", &self.wanted.len()).finish_non_exhaustive()
    }
}

/// What one piece has brought.
#[derive(Default)]
struct Taken {
    batch: Batch,
    wanted: BTreeMap<Place, Vec<u8>>,
    accounts: u64,
    slots: u64,
    share: f64,
}

impl Import {
    /// The head to which a store is being brought; `None` when no import was begun in it.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn pivot_in(kv: &dyn Kv) -> Result<Option<Head>, Error> {
        kv.get(Table::Meta, META_PIVOT)?
            .map(|bytes| {
                Head::decode(&bytes).ok_or_else(|| Error::corrupt(Table::Meta, META_PIVOT, "not a head record"))
            })
            .transpose()
    }

    /// Whether an import into this store was finished.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Corrupt`].
    pub fn is_finished(kv: &dyn Kv) -> Result<bool, Error> {
        Ok(Head::read(kv)?.is_some())
    }

    /// Begins an import in an empty store, or goes on with the one that was begun in it for the same pivot.
    ///
    /// # Errors
    /// [`Error::OtherPivot`], [`Error::Database`] or [`Error::Corrupt`].
    pub fn open(kv: Arc<dyn Kv>, pivot: Head) -> Result<Self, Error> {
        let mut wanted = BTreeMap::new();
        match Self::pivot_in(kv.as_ref())? {
            Some(found) if found != pivot => return Err(Error::OtherPivot { found: found.height }),
            Some(_) => kv.scan(Table::Meta, WANTED, &mut |key, value| {
                if !key.starts_with(WANTED) {
                    return Ok(false);
                }
                let place = Place::from_key(key)
                    .ok_or_else(|| Error::corrupt(Table::Meta, key, "not a piece of a snapshot"))?;
                wanted.insert(place, value.to_vec());
                Ok(true)
            })?,
            None => {
                let mut batch = Batch::default();
                batch.put(Table::Meta, META_PIVOT, pivot.encode());
                if pivot.state_root != EMPTY_ROOT_HASH {
                    let root = Place::of(&Piece::accounts(&[]));
                    let reference = RlpNode::word_rlp(&pivot.state_root).to_vec();
                    batch.put(Table::Meta, root.key(), reference.clone());
                    wanted.insert(root, reference);
                }
                kv.write(batch, true)?;
            }
        }
        let share = 1.0 - wanted.keys().map(Place::share).sum::<f64>();
        let progress = Progress { share, ..Progress::default() };
        Ok(Self { kv, pivot, wanted, asked: BTreeMap::new(), progress })
    }

    /// The head to which the store is being brought.
    pub fn pivot(&self) -> Head {
        self.pivot
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Pieces that are wanted and have not been asked for.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// Whether every piece is here.
    pub fn is_complete(&self) -> bool {
        self.wanted.is_empty() && self.asked.is_empty()
    }

    /// The next pieces to ask for. They count as asked for until they are accepted or given back.
    pub fn next_pieces(&mut self, most: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while pieces.len() < most
            && let Some((place, reference)) = self.wanted.pop_first()
        {
            pieces.push(place.piece());
            self.asked.insert(place, reference);
        }
        pieces
    }

    /// These pieces will not come: they are wanted again.
    pub fn give_back(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            if let Some((place, reference)) = self.asked.remove_entry(&Place::of(piece)) {
                self.wanted.insert(place, reference);
            }
        }
    }

    /// Takes the answer to a request: contents for the first of its pieces. All pieces without content are given back;
    /// so are all when one is wrong.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] when the source is to blame, [`Refusal::Store`] when the disk is.
    pub fn accept(&mut self, pieces: &[Piece], contents: Vec<Content>) -> Result<(), Refusal> {
        let result = self.take(pieces, contents);
        self.give_back(pieces);
        result
    }

    fn take(&mut self, pieces: &[Piece], contents: Vec<Content>) -> Result<(), Refusal> {
        if contents.len() > pieces.len() {
            return Err(Refusal::Wrong("more pieces than were asked for".into()));
        }
        let mut taken = Taken::default();
        let mut done = Vec::new();
        for (piece, content) in pieces.iter().zip(contents) {
            let place = Place::of(piece);
            let Some(reference) = self.asked.get(&place) else { continue };
            taken.batch.delete(Table::Meta, place.key());
            taken.share += place.share();
            if !content.leaves.is_empty() && (place.kind == Kind::Code || !content.bytes.is_empty()) {
                return Err(wrong(&place, "leaves and something else"));
            }
            match place.kind {
                Kind::Code => take_code(&place, &content, &mut taken)?,
                Kind::Storage | Kind::Accounts if content.leaves.is_empty() => {
                    take_node(&place, reference, &content.bytes, &mut taken)?;
                }
                Kind::Storage | Kind::Accounts => take_leaves(&place, reference, &content.leaves, &mut taken)?,
            }
            done.push(place);
        }
        // Many accounts share a code.
        let mut known = Vec::new();
        for place in taken.wanted.keys().filter(|place| place.kind == Kind::Code) {
            if self.wanted.contains_key(place)
                || self.asked.contains_key(place)
                || self.kv.get(Table::Code, place.owner.as_slice())?.is_some()
            {
                known.push(place.clone());
            }
        }
        for place in known {
            taken.wanted.remove(&place);
        }
        let mut batch = taken.batch;
        for (place, reference) in &taken.wanted {
            batch.put(Table::Meta, place.key(), reference.clone());
        }
        self.kv.write(batch, false)?;
        for place in done {
            self.asked.remove(&place);
        }
        for (place, reference) in taken.wanted {
            self.progress.share -= place.share();
            self.wanted.insert(place, reference);
        }
        self.progress.share += taken.share;
        self.progress.accounts += taken.accounts;
        self.progress.slots += taken.slots;
        Ok(())
    }

    /// Keeps the record of the change to the set of an epoch.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn put_set_change(&self, epoch: u64, record: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(Table::SetChanges, epoch.to_be_bytes(), record);
        self.kv.write(batch, false)
    }

    /// Ends a complete import: the store is then the store of a node whose head is the pivot. `record` is the pivot's
    /// block, `ancestors` the headers before it, as far back as blocks can ask for their hashes, and `genesis` the
    /// genesis block. All must have been checked.
    ///
    /// # Errors
    /// [`Error::NotNext`] when the record is not the pivot's or pieces are missing; [`Error::Database`].
    pub fn finish(self, record: BlockRecord<'_>, ancestors: &[Header], genesis: BlockRecord<'_>) -> Result<(), Error> {
        if record.hash != self.pivot.hash || !self.is_complete() {
            return Err(Error::NotNext { height: record.header.number, head: self.pivot.height });
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, META_SCHEMA, SCHEMA_VERSION.to_be_bytes());
        batch.put(Table::Meta, META_GENESIS, genesis.hash.to_vec());
        batch.put(Table::Meta, META_LOWEST_STATE, self.pivot.height.to_be_bytes());
        batch.put(Table::Meta, META_LOWEST_BLOCK, self.pivot.height.to_be_bytes());
        batch.put(Table::Meta, META_HEAD, self.pivot.encode());
        batch.delete(Table::Meta, META_PIVOT);
        genesis.write(&mut batch);
        for header in ancestors {
            write_ancestor(header, &mut batch);
        }
        record.write(&mut batch);
        self.kv.write(batch, true)
    }
}

fn wrong(place: &Place, reason: &str) -> Refusal {
    Refusal::Wrong(format!("{:?} {} at {:?}: {reason}", place.kind, place.owner, place.path))
}

fn take_code(place: &Place, content: &Content, taken: &mut Taken) -> Result<(), Refusal> {
    if keccak256(&content.bytes) != place.owner {
        return Err(wrong(place, "the code has another hash"));
    }
    taken.batch.put(Table::Code, place.owner.to_vec(), content.bytes.to_vec());
    Ok(())
}

/// Whether a node is the one that its parent names. A root is named by its hash even when it is short.
fn is_named(place: &Place, reference: &[u8], rlp: &[u8]) -> bool {
    let named = RlpNode::from_rlp(rlp);
    let bytes: &[u8] = named.as_ref();
    bytes == reference || (place.path.is_empty() && RlpNode::word_rlp(&keccak256(rlp)).as_ref() as &[u8] == reference)
}

/// A subtree too large for one piece: keeps its topmost node and wants what is below.
fn take_node(place: &Place, reference: &[u8], rlp: &[u8], taken: &mut Taken) -> Result<(), Refusal> {
    if !is_named(place, reference, rlp) {
        return Err(wrong(place, "the node has another hash"));
    }
    let node = TrieNode::decode(&mut &rlp[..]).map_err(|error| wrong(place, &error.to_string()))?;
    let mut below = Vec::new();
    match node {
        TrieNode::Extension(extension) => below.push((extension.key.to_vec(), extension.child)),
        TrieNode::Branch(branch) => {
            let branch = branch.as_ref();
            below.extend(branch.children().filter_map(|(nibble, child)| Some((vec![nibble], child?.clone()))));
        }
        TrieNode::EmptyRoot | TrieNode::Leaf(_) => return Err(wrong(place, "a leaf is not sent as a node")),
    }
    for (nibbles, child) in below {
        let path = [place.path.as_slice(), &nibbles].concat();
        if path.len() > 64 {
            return Err(wrong(place, "the path is too long"));
        }
        let piece =
            if place.kind == Kind::Storage { Piece::storage(place.owner, &path) } else { Piece::accounts(&path) };
        taken.wanted.insert(Place::of(&piece), child.to_vec());
    }
    put_node(place, &Nibbles::from_nibbles(&place.path), rlp.to_vec(), &mut taken.batch);
    Ok(())
}

fn put_node(place: &Place, path: &Nibbles, rlp: Vec<u8>, batch: &mut Batch) {
    match place.kind {
        Kind::Storage => batch.put(Table::StorageTrie, storage_path(place.owner, path), rlp),
        Kind::Accounts | Kind::Code => batch.put(Table::AccountTrie, path.to_vec(), rlp),
    }
}

/// A whole subtree: builds it from its leaves, compares its top, keeps all of it.
fn take_leaves(place: &Place, reference: &[u8], leaves: &[Leaf], taken: &mut Taken) -> Result<(), Refusal> {
    let top = Nibbles::from_nibbles(&place.path);
    // A tree made from nothing reads no store.
    let nothing = MemoryStore::new();
    let source = crate::trie::AccountNodes(&nothing);
    let mut trie = Trie::default();
    let mut before = None;
    for leaf in leaves {
        let hashed = match (place.kind, leaf.key.len()) {
            (Kind::Accounts, 20) => {
                let hashed = keccak256(&leaf.key);
                taken.batch.put(Table::Preimages, hashed.to_vec(), leaf.key.to_vec());
                hashed
            }
            (_, 32) => B256::from_slice(&leaf.key),
            _ => return Err(wrong(place, "a key of another length")),
        };
        // A leaf that a later one replaces would be in no hash, and what it brings would be wanted for ever.
        if before.replace(hashed).is_some_and(|before| before >= hashed) {
            return Err(wrong(place, "the leaves do not ascend"));
        }
        let path = Nibbles::unpack(hashed);
        if !path.starts_with(&top) {
            return Err(wrong(place, "a leaf of another subtree"));
        }
        let value = if place.kind == Kind::Accounts {
            let account =
                Account::decode(&mut leaf.value.as_ref()).map_err(|error| wrong(place, &error.to_string()))?;
            want_parts(hashed, &account, taken);
            taken.batch.put(Table::Accounts, hashed.to_vec(), leaf.value.to_vec());
            taken.accounts += 1;
            leaf.value.to_vec()
        } else {
            let key = [place.owner.as_slice(), hashed.as_slice()].concat();
            taken.batch.put(Table::Storage, key, leaf.value.to_vec());
            taken.slots += 1;
            alloy_rlp::encode(leaf.value.as_ref())
        };
        trie.insert(&source, &path.slice(top.len()..), value.into())?;
    }
    let mut writes = NodeWrites::default();
    let sealed = seal_below(&trie, top, leaves.len(), &mut writes);
    let named = sealed.is_some_and(|sealed| {
        let bytes: &[u8] = sealed.as_ref();
        bytes == reference
            || (place.path.is_empty() && RlpNode::word_rlp(&keccak256(bytes)).as_ref() as &[u8] == reference)
    });
    if !named {
        return Err(wrong(place, "the leaves have another hash"));
    }
    for (path, rlp) in writes.puts {
        put_node(place, &path, rlp, &mut taken.batch);
    }
    Ok(())
}

/// An account brings its storage and its code.
fn want_parts(key: B256, account: &Account, taken: &mut Taken) {
    if account.storage_root != EMPTY_ROOT_HASH {
        let root = RlpNode::word_rlp(&account.storage_root).to_vec();
        taken.wanted.insert(Place::of(&Piece::storage(key, &[])), root);
    }
    if account.code_hash != EMPTY_CODE_HASH {
        taken.wanted.insert(Place::of(&Piece::code(account.code_hash)), Vec::new());
    }
}
