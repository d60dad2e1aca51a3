//! Where the engine starts: what the store and the signer's guard say.

use crate::Error;
use alloy_primitives::Address;
use bttc_engine::{HeadInfo, StartInfo};
use bttc_executor::Executor;
use bttc_state::LookedThrough;
use bttc_types::Certificate;
use std::ops::RangeInclusive;

/// What the engine starts from. `signer`: the address of the key that signs and the height at which its guard stands.
///
/// # Errors
/// [`Error::NoHead`], [`Error::NoCertificate`] or the store's.
pub fn start_info(executor: &Executor, signer: Option<(Address, u64)>) -> Result<StartInfo, Error> {
    let head = executor.store().head().ok_or(Error::NoHead)?;
    let head_certificate = match head.height {
        0 => Certificate::genesis(head.hash),
        height => executor.store().certificate(height)?.ok_or(Error::NoCertificate { height, hash: head.hash })?,
    };
    let own_signature_above_guard = match signer {
        Some((address, guard)) => own_signature_above(executor, address, guard)?,
        None => None,
    };
    Ok(StartInfo {
        head: HeadInfo { height: head.height, hash: head.hash },
        head_certificate,
        next_set: executor.validator_set(head.height + 1)?,
        following_set: executor.validator_set(head.height + 2)?,
        own_signature_above_guard,
    })
}

/// Looks for a signature of our own key above the guard: a sign that the key signs elsewhere. Gives the height of one.
///
/// The work is bounded, however old the guard and however long the chain:
/// - Certificates that are not kept any more cannot be looked at.
/// - Only epochs whose set holds the key are looked at, the newest height first: a key that signed at all is in nearly every
///   certificate of such an epoch, and one that did not is jailed and out of the next set.
/// - Heights without one are noted in the store, with the guard's height at which that was found, and are not looked at again, unless the
///   guard is set back below them. What is found is not noted: every start finds it.
///
/// # Errors
/// The store's.
pub fn own_signature_above(executor: &Executor, address: Address, guard: u64) -> Result<Option<u64>, Error> {
    let store = executor.store();
    let head = store.head().map_or(0, |head| head.height);
    let above = guard.saturating_add(1);
    let lowest = store.lowest_block()?.max(above);
    let known = store.looked_through()?.filter(|note| note.key == address);
    let unknown = match known {
        None => vec![lowest..=head],
        Some(note) => {
            vec![note.to.saturating_add(1).max(lowest)..=head, lowest..=head.min(note.from.saturating_sub(1))]
        }
    };
    for heights in unknown {
        if let Some(height) = newest_signature(executor, address, heights)? {
            return Ok(Some(height));
        }
    }
    // The head's own certificate may still be replaced by one with more signatures.
    let note = LookedThrough { key: address, from: above, to: head.saturating_sub(1) };
    if note.to >= note.from && known != Some(note) {
        store.put_looked_through(note)?;
    }
    Ok(None)
}

/// The newest height of a range whose certificate carries a signature of a key.
fn newest_signature(executor: &Executor, address: Address, heights: RangeInclusive<u64>) -> Result<Option<u64>, Error> {
    let spec = executor.spec();
    let mut end = *heights.end();
    while heights.contains(&end) {
        let begin = end.saturating_sub(spec.epoch_offset(end));
        // The order of a set is the same for all heights of its epoch.
        let set = executor.epoch_set(spec.epoch(end))?;
        if let Some((index, _)) = set.find(&address) {
            for height in (begin.max(*heights.start())..=end).rev() {
                if let Some(certificate) = executor.store().certificate(height)?
                    && certificate.signatures.iter().any(|entry| entry.index == index)
                {
                    return Ok(Some(height));
                }
            }
        }
        let Some(before) = begin.checked_sub(1) else { break };
        end = before;
    }
    Ok(None)
}
