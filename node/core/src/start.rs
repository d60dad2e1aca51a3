//! Where the engine starts: what the store and the signer's guard say.

use crate::Error;
use alloy_primitives::Address;
use bttc_engine::{HeadInfo, StartInfo};
use bttc_executor::Executor;
use bttc_types::Certificate;

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

/// Looks for a signature of our own key above the guard: a sign that the key signs elsewhere.
///
/// # Errors
/// The store's.
pub fn own_signature_above(executor: &Executor, address: Address, guard: u64) -> Result<Option<u64>, Error> {
    let head = executor.store().head().map_or(0, |head| head.height);
    for height in guard.saturating_add(1)..=head {
        let Some((index, _)) = executor.validator_set(height)?.find(&address).map(|(index, own)| (index, *own)) else {
            continue;
        };
        if let Some(certificate) = executor.store().certificate(height)?
            && certificate.signatures.iter().any(|entry| entry.index == index)
        {
            return Ok(Some(height));
        }
    }
    Ok(None)
}
