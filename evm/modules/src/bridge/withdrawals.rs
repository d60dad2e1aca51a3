//! Withdrawals: burned here, a leaf in the tree of their gateway.

use super::records::{Gateway, TreeRecord, bridge};
use super::{emit, id_of, units};
use crate::interfaces::IBridge;
use crate::numbers::Checked;
use crate::{Fault, Host, wrapped};
use alloy_primitives::{Address, B256, U256};
use bttc_bridge_types::{MAX_LEAVES, TREE_DEPTH, Tree, Withdrawal, join};
use bttc_genesis::BTT_ADDRESS;

/// Who withdraws how much to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Whose coins are burned.
    pub(crate) owner: Address,
    /// Who gets them on the root chain.
    pub(crate) recipient: Address,
    /// Smallest units, the fee included.
    pub(crate) amount: U256,
    /// Of it for whoever claims.
    pub(crate) fee: U256,
}

/// `withdraw`: at the token's newest gateway.
pub(crate) fn withdraw_newest(
    host: &mut dyn Host,
    owner: Address,
    token: Address,
    amount: U256,
    recipient: Address,
    fee: U256,
) -> Result<u64, Fault> {
    let place = if token == BTT_ADDRESS {
        bridge().native_place().get(host)?.checked_sub(1)
    } else if wrapped::exists(host, token)? {
        Some(wrapped::at(token).place().get(host)?)
    } else {
        None
    };
    let place = place.ok_or_else(|| Fault::revert(IBridge::UnknownToken { token }))?;
    withdraw(host, place, token, &Order { owner, recipient, amount, fee })
}

/// `withdrawAt`.
pub(crate) fn withdraw(host: &mut dyn Host, place: u32, here: Address, order: &Order) -> Result<u64, Fault> {
    if bridge().halted().get(host)? {
        return Err(Fault::revert(IBridge::BridgeHalted {}));
    }
    let gateway = bridge().gateways().entry(u64::from(place));
    if gateway.paused().get(host)? {
        return Err(Fault::revert(IBridge::GatewayPaused {}));
    }
    let unknown = || Fault::revert(IBridge::UnknownToken { token: here });
    let root = wrapped::root_of(host, here)?.ok_or_else(unknown)?;
    let token = gateway.tokens().entry(root);
    if token.wrapped().get(host)? != here {
        return Err(unknown());
    }
    let minimum = U256::from(token.minimum().get(host)?);
    if order.amount < minimum || order.amount.is_zero() {
        return Err(Fault::revert(IBridge::AmountTooSmall { amount: order.amount, minimum }));
    }
    if order.fee >= order.amount {
        return Err(Fault::revert(IBridge::FeeTooLarge { fee: order.fee, amount: order.amount }));
    }
    let at = gateway.gateway().get(host)?;
    // None of these could be paid out: tokens to nobody, the gateway to itself, a token to its own contract.
    if order.recipient == Address::ZERO || order.recipient == at || order.recipient == root {
        return Err(Fault::revert(IBridge::BadRecipient { recipient: order.recipient }));
    }
    let (locked, minted) = (token.locked().get(host)?, token.minted().get(host)?);
    // What is parked belongs to others.
    if order.amount > U256::from(minted) {
        let locked = U256::from(minted.min(locked));
        return Err(Fault::revert(IBridge::NotEnoughLocked { amount: order.amount, locked }));
    }
    let amount = units(order.amount)?;
    if here == BTT_ADDRESS {
        let balance = host.balance(order.owner)?;
        if balance < order.amount {
            return Err(Fault::revert(IBridge::NotEnough { balance, amount: order.amount }));
        }
        host.burn(order.owner, order.amount)?;
        let reserve = bridge().reserve().get(host)?.plus(order.amount)?;
        bridge().reserve().set(host, reserve)?;
    } else {
        wrapped::burn(host, here, order.owner, order.amount)?;
    }
    token.locked().set(host, locked.minus(amount)?)?;
    token.minted().set(host, minted.minus(amount)?)?;
    append(host, &gateway, root, order)
}

/// Key of a full subtree.
fn node_key(height: u8, place: u64) -> u64 {
    (u64::from(height) << 40) | place
}

/// Root of a subtree as it was when the tree had so many leaves.
fn subtree(host: &mut dyn Host, record: &TreeRecord, height: u8, place: u64, count: u64) -> Result<B256, Fault> {
    if place.checked_shl(u32::from(height)).is_none_or(|first| first >= count) {
        return Ok(B256::ZERO);
    }
    let end = u128::from(place.plus(1)?) << height;
    if end <= u128::from(count) {
        return record.nodes().entry(node_key(height, place)).get(host);
    }
    let Some(below) = height.checked_sub(1) else { return Ok(B256::ZERO) };
    let left = subtree(host, record, below, place.times(2)?, count)?;
    let right = subtree(host, record, below, place.times(2)?.plus(1)?, count)?;
    Ok(join(left, right))
}

/// A leaf with its siblings in the tree as it was when it had so many leaves; nothing when it has no such leaf.
pub(crate) fn prove(
    host: &mut dyn Host,
    record: &TreeRecord,
    index: u64,
    count: u64,
) -> Result<Option<(B256, [B256; TREE_DEPTH])>, Fault> {
    if index >= count || count > record.count().get(host)? {
        return Ok(None);
    }
    let leaf = record.nodes().entry(node_key(0, index)).get(host)?;
    let mut proof = [B256::ZERO; TREE_DEPTH];
    for (height, slot) in (0u8..).zip(proof.iter_mut()) {
        *slot = subtree(host, record, height, (index >> height) ^ 1, count)?;
    }
    Ok(Some((leaf, proof)))
}

/// Gas of an appended leaf, whichever index it gets: two new slots (a leaf and the subtree that it completes, on
/// average), five changed ones, ten read ones, and the hashes of every height.
const APPEND_GAS: u64 = 2 * 22_100 + 5 * 5_000 + 10 * 2_100 + 100 * TREE_DEPTH as u64;

/// Appends a leaf to the gateway's tree. The price is flat: with the tree's own slots it would hang on who withdrew
/// since the wallet asked for an estimate, and every other withdrawal would fail.
pub(crate) fn append(host: &mut dyn Host, gateway: &Gateway, root: Address, order: &Order) -> Result<u64, Fault> {
    host.charge(APPEND_GAS)?;
    host.set_metered(false);
    let at = id_of(host, gateway)?;
    let mut tree_id = gateway.tree_id().get(host)?;
    if gateway.trees().entry(tree_id).count().get(host)? >= MAX_LEAVES {
        tree_id = tree_id.plus(1)?;
        gateway.tree_id().set(host, tree_id)?;
    }
    let record = gateway.trees().entry(tree_id);
    let index = record.count().get(host)?;
    let withdrawal = Withdrawal {
        at,
        tree_id,
        index,
        token: root,
        sender: order.owner,
        recipient: order.recipient,
        amount: order.amount,
        relayer_fee: order.fee,
    };
    let leaf = withdrawal.leaf(host.env().bridge_id);
    let mut tree = Tree { count: index, branch: [B256::ZERO; TREE_DEPTH] };
    for (height, slot) in (0u8..).zip(tree.branch.iter_mut()) {
        // Only full left subtrees are read.
        if (index >> height) & 1 == 1 {
            *slot = record.nodes().entry(node_key(height, (index >> height).minus(1)?)).get(host)?;
        }
    }
    // The new leaf, and every subtree that it completes.
    let mut node = leaf;
    for (height, left) in (0u8..).zip(tree.branch) {
        record.nodes().entry(node_key(height, index >> height)).set(host, node)?;
        if (index >> height) & 1 == 0 {
            break;
        }
        node = join(left, node);
    }
    tree.append(leaf).map_err(|_| Fault::Broken("a withdrawal tree is full"))?;
    record.count().set(host, tree.count)?;
    record.root().set(host, tree.root())?;
    bridge().unsaid().set(host, true)?;
    host.set_metered(true);
    emit(
        host,
        &IBridge::Withdrawn {
            rootChainId: at.root_chain_id,
            gateway: at.gateway,
            index,
            treeId: tree_id,
            token: root,
            sender: order.owner,
            recipient: order.recipient,
            amount: order.amount,
            relayerFee: order.fee,
        },
    )?;
    Ok(index)
}
