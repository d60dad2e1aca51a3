//! Which blocks a log filter or an address search has to look at: by the search index where it reaches, by the headers' blooms behind it.

use crate::context::RpcContext;
use crate::errors;
use alloy_primitives::U256;
use alloy_rpc_types_eth::Filter;
use bttc_state::{SECTION_BLOCKS, SearchKind, search_name};
use jsonrpsee::types::ErrorObjectOwned;
use std::ops::RangeInclusive;

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// Values of one position that are looked up. With more the position is not used to narrow: reading blocks is cheaper then.
const MAX_LOOKUPS: usize = 64;
/// Entries of the index that one search reads: a fraction of a second.
const MAX_INDEX_READS: usize = 100_000;

/// What the blocks of a filter contain: one of the names of each group.
pub(crate) struct Wanted(Vec<Vec<u64>>);

impl Wanted {
    /// By address and topics.
    pub(crate) fn of(filter: &Filter) -> Self {
        let addresses = filter.address.iter().map(|address| search_name(SearchKind::LogAddress, address.as_slice()));
        let mut groups: Vec<Vec<u64>> = vec![addresses.collect()];
        for (position, topics) in (0u8..).zip(&filter.topics) {
            groups
                .push(topics.iter().map(|topic| search_name(SearchKind::Topic(position), topic.as_slice())).collect());
        }
        groups.retain(|names| (1..=MAX_LOOKUPS).contains(&names.len()));
        Self(groups)
    }

    /// By what happened to an account.
    pub(crate) fn account(name: u64) -> Self {
        Self(vec![vec![name]])
    }
}

/// The blocks of a section, as bits, that may contain what is wanted.
fn in_section(context: &RpcContext, section: u64, wanted: &Wanted) -> Result<U256> {
    let store = context.executor.store();
    if wanted.0.is_empty() {
        return Ok(U256::MAX);
    }
    let mut found = U256::MAX;
    for names in &wanted.0 {
        let mut group = U256::ZERO;
        for name in names {
            group |= store.search(section, *name).map_err(errors::store)?;
        }
        found &= group;
        if found.is_zero() {
            break;
        }
    }
    Ok(found | store.search_everything(section).map_err(errors::store)?)
}

/// Calls `visit` with every height of a range that may contain what is wanted, the flag saying whether the index knows; from the
/// last on downwards if `newest_first`. It ends when `visit` says false, or when it has read much of the index: then it gives the
/// height that it has not come to.
pub(crate) fn candidates(
    context: &RpcContext,
    range: RangeInclusive<u64>,
    wanted: &Wanted,
    newest_first: bool,
    mut visit: impl FnMut(u64, bool) -> Result<bool>,
) -> Result<Option<u64>> {
    let indexed = context.executor.store().searchable().map_err(errors::store)?;
    if range.is_empty() {
        return Ok(None);
    }
    let cost = 1 + wanted.0.iter().map(Vec::len).sum::<usize>();
    let mut read = 0;
    let sections = range.start() / SECTION_BLOCKS..=range.end() / SECTION_BLOCKS;
    for section in ordered(sections, newest_first) {
        let known = indexed.contains(&section);
        read += if known { cost } else { 0 };
        if read > MAX_INDEX_READS {
            let first = section.saturating_mul(SECTION_BLOCKS);
            let next = if newest_first { first.saturating_add(SECTION_BLOCKS - 1) } else { first };
            return Ok(Some(next.clamp(*range.start(), *range.end())));
        }
        let bits = if known { in_section(context, section, wanted)? } else { U256::MAX };
        if bits.is_zero() {
            continue;
        }
        for place in ordered(0..=SECTION_BLOCKS - 1, newest_first) {
            let height = section.saturating_mul(SECTION_BLOCKS).saturating_add(place);
            let bit = usize::try_from(place).is_ok_and(|place| bits.bit(place));
            if bit && range.contains(&height) && !visit(height, known)? {
                return Ok(None);
            }
        }
    }
    Ok(None)
}

fn ordered(range: RangeInclusive<u64>, reversed: bool) -> impl Iterator<Item = u64> {
    let (first, last) = range.into_inner();
    (first..=last).map(move |number| if reversed { last - (number - first) } else { number })
}
