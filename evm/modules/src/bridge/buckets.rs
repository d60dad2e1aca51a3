//! What may cross in a window: per token, the larger of a floor and a tenth of what is locked, refilled steadily; a quarter
//! of it is kept for transfers below a hundredth of it. Gateways have the same on their side.

use super::records::Token;
use crate::numbers::{Checked, mul_div};
use crate::{Fault, Host};

/// What a bucket holds now, and what it can hold.
fn level(host: &mut dyn Host, token: &Token) -> Result<(u128, u128), Fault> {
    let capacity = token.floor().get(host)?.max(token.locked().get(host)?.over(10)?);
    let now = host.env().time_ms;
    let window = u64::from(host.env().preset.bridge().bucket_window).times(1_000)?;
    let elapsed = now.saturating_sub(token.level_ms().get(host)?).min(window);
    let gained = mul_div(capacity, u128::from(elapsed), u128::from(window))?;
    Ok((token.level().get(host)?.saturating_add(gained).min(capacity), capacity))
}

/// How much of an amount the bucket gives.
pub(crate) fn available(host: &mut dyn Host, token: &Token, amount: u128) -> Result<u128, Fault> {
    let (level, capacity) = level(host, token)?;
    let small = amount.saturating_mul(100) < capacity;
    let kept = if small { 0 } else { capacity.over(4)? };
    Ok(amount.min(level.saturating_sub(kept)))
}

/// Takes as much of an amount as the bucket gives.
pub(crate) fn take(host: &mut dyn Host, token: &Token, amount: u128) -> Result<u128, Fault> {
    let taken = available(host, token, amount)?;
    let (level, _) = level(host, token)?;
    token.level().set(host, level.minus(taken)?)?;
    let now = host.env().time_ms;
    token.level_ms().set(host, now)?;
    Ok(taken)
}
