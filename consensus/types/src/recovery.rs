//! Counting recoveries of a thread and, where many nodes share one, making each only once.
//!
//! Recovery is a pure function, so remembering its results changes nothing but the time it takes. A node does not turn
//! this on: it sees a signature once or twice. The simulation, in which a hundred nodes verify the same votes, does, and
//! charges each node for what it would have computed.

use crate::{Error, Signature};
use alloy_primitives::{Address, B256};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

type Results = HashMap<(B256, Signature), Result<Address, Error>>;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static MEMORY: RefCell<Option<(usize, Results)>> = const { RefCell::new(None) };
}

/// Remembers the results of this thread's recoveries from now on, about `capacity` of them; zero: no longer.
pub fn remember_recoveries(capacity: usize) {
    MEMORY.with_borrow_mut(|memory| *memory = (capacity > 0).then(|| (capacity, Results::new())));
}

/// How many recoveries this thread was asked for.
pub fn recoveries() -> u64 {
    COUNT.get()
}

pub(crate) fn remembered(
    digest: B256,
    signature: &Signature,
    recover: impl FnOnce() -> Result<Address, Error>,
) -> Result<Address, Error> {
    COUNT.set(COUNT.get().wrapping_add(1));
    MEMORY.with_borrow_mut(|memory| {
        let Some((capacity, results)) = memory else { return recover() };
        if let Some(known) = results.get(&(digest, *signature)) {
            return known.clone();
        }
        if results.len() >= *capacity {
            results.clear();
        }
        let result = recover();
        results.insert((digest, *signature), result.clone());
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, recover};

    #[test]
    fn remembering_changes_no_result_and_counts_every_call() {
        let key = SecretKey::from_bytes(&[5; 32]).unwrap();
        let digest = B256::repeat_byte(9);
        let (good, bad) = (key.sign(digest), Signature::from_bytes([7; 65]));
        let before = [recover(digest, &good), recover(digest, &bad)];
        remember_recoveries(1);
        let count = recoveries();
        for _ in 0..3 {
            assert_eq!([recover(digest, &good), recover(digest, &bad)], before);
        }
        assert_eq!(recoveries() - count, 6);
        remember_recoveries(0);
    }
}
