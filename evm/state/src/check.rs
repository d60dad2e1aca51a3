//! Does the store agree with itself? A cheap check at every start, and a full one on demand.

use crate::account::Account;
use crate::kv::{KvRead, Table};
use crate::store::{Head, META_HEAD};
use crate::trie::{AccountNodes, NodeSource};
use crate::view::decode_account;
use crate::{EMPTY_ROOT_HASH, Error};
use alloy_primitives::{B256, U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles};

/// Checks what every start needs: the head's header, block and certificate are there and are the head's, and the
/// trie's root node (or its only leaf) is there.
pub(crate) fn check_head<R: KvRead + ?Sized>(reader: &R, head: &Head) -> Result<(), Error> {
    let key = head.height.to_be_bytes();
    let damaged = |reason: &str| Error::corrupt(Table::Meta, META_HEAD, reason);
    let header = reader.get(Table::Headers, &key)?.ok_or_else(|| damaged("the head's header is missing"))?;
    if keccak256(&header) != head.hash {
        return Err(Error::corrupt(Table::Headers, &key, "the header is not the head's"));
    }
    let block = reader.get(Table::Blocks, &key)?.ok_or_else(|| damaged("the head's block is missing"))?;
    if bttc_types::block_hash_of(&block).ok() != Some(head.hash) {
        return Err(Error::corrupt(Table::Blocks, &key, "the block is not the head's"));
    }
    if head.height > 0 && reader.get(Table::Certificates, &key)?.is_none() {
        return Err(damaged("the head's certificate is missing"));
    }
    if head.state_root != EMPTY_ROOT_HASH {
        let nodes = AccountNodes(reader);
        let root = Nibbles::new();
        let stored = nodes.node(&root)?.is_some_and(|rlp| keccak256(rlp) == head.state_root);
        if !stored && nodes.leaf(&root)?.is_none() {
            return Err(Error::corrupt(Table::AccountTrie, &[], "the root node is missing"));
        }
    }
    Ok(())
}

/// What a full check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Accounts read.
    pub accounts: u64,
    /// Storage slots read.
    pub slots: u64,
    /// Everything that does not fit, in words.
    pub problems: Vec<String>,
}

/// Recomputes the head's state root from the flat records, from nothing, and compares storage roots and code. Reads
/// the whole state; use it on a stopped node or a snapshot.
///
/// # Errors
/// [`Error::Database`] or a record that does not decode.
pub fn check_full(reader: &dyn KvRead) -> Result<CheckReport, Error> {
    let mut report = CheckReport::default();
    let Some(head) = Head::read(reader)? else { return Ok(report) };
    if let Err(error) = check_head(reader, &head) {
        report.problems.push(error.to_string());
    }
    let mut builder = HashBuilder::default();
    let mut accounts: Vec<(B256, Account)> = Vec::new();
    reader.scan(Table::Accounts, &[], &mut |key, value| {
        let key = B256::try_from(key).map_err(|_| Error::corrupt(Table::Accounts, key, "the key has not 32 bytes"))?;
        builder.add_leaf(Nibbles::unpack(key), value);
        accounts.push((key, decode_account(key, value)?));
        Ok(true)
    })?;
    report.accounts = accounts.len() as u64;
    let root = builder.root();
    if root != head.state_root {
        report.problems.push(format!("the flat accounts hash to {root}, the head's state root is {}", head.state_root));
    }
    for (key, account) in accounts {
        let mut builder = HashBuilder::default();
        let mut slots = 0;
        reader.scan(Table::Storage, key.as_slice(), &mut |slot, value| {
            let Some(hashed) = slot.strip_prefix(key.as_slice()) else { return Ok(false) };
            let number = U256::try_from_be_slice(value)
                .ok_or_else(|| Error::corrupt(Table::Storage, slot, "more than 32 bytes"))?;
            builder.add_leaf(Nibbles::unpack(hashed), &alloy_rlp::encode(number));
            slots += 1;
            Ok(true)
        })?;
        report.slots += slots;
        let root = builder.root();
        if root != account.storage_root {
            report
                .problems
                .push(format!("account {key}: its slots hash to {root}, its storage root is {}", account.storage_root));
        }
        if account.code_hash != crate::EMPTY_CODE_HASH {
            match reader.get(Table::Code, account.code_hash.as_slice())? {
                None => report.problems.push(format!("account {key}: code {} is missing", account.code_hash)),
                Some(code) if keccak256(&code) != account.code_hash => {
                    report.problems.push(format!("account {key}: code {} is damaged", account.code_hash));
                }
                Some(_) => {}
            }
        }
    }
    Ok(report)
}
