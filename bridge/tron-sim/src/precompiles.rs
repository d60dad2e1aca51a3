//! TRON's precompiled contracts where they differ from Ethereum's.

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue;
use bttc_types::{Signature, recover};
use revm::context_interface::{Cfg, ContextTr};
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, Gas, InstructionResult, InterpreterResult};
use revm::primitives::hardfork::SpecId;
use sha2::{Digest, Sha256};

/// Energy of a signature in a batch.
const BATCH_ENERGY: u64 = 1_500;
/// Signatures in a batch.
const BATCH: usize = 16;

/// Ethereum's contracts with TRON's changes. Counts the signatures that were recovered one by one.
#[derive(Debug)]
pub(crate) struct TronPrecompiles {
    ethereum: EthPrecompiles,
    /// Signatures recovered one after the other: each takes its time.
    pub(crate) recoveries: u64,
}

impl TronPrecompiles {
    pub(crate) fn new() -> Self {
        Self { ethereum: EthPrecompiles::new(SpecId::CANCUN), recoveries: 0 }
    }
}

fn done(gas_limit: u64, cost: u64, output: Vec<u8>) -> InterpreterResult {
    let mut gas = Gas::new(gas_limit);
    if gas.record_regular_cost(cost) {
        InterpreterResult::new(InstructionResult::Return, output.into(), gas)
    } else {
        gas.spend_all();
        InterpreterResult::new(InstructionResult::PrecompileOOG, Bytes::new(), gas)
    }
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for TronPrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, _: SpecId) -> bool {
        false
    }

    fn run(&mut self, context: &mut CTX, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let number = inputs.bytecode_address.into_word();
        if number[..30] != [0; 30] {
            return Ok(None);
        }
        match u16::from_be_bytes([number[30], number[31]]) {
            1 => {
                self.recoveries += 1;
                let mut result = self.ethereum.run(context, inputs)?;
                // The word carries a 21-byte address.
                if let Some(result) = &mut result
                    && result.output.len() == 32
                {
                    let mut word = result.output.to_vec();
                    word[11] = 0x41;
                    result.output = word.into();
                }
                Ok(result)
            }
            3 => {
                // Not RIPEMD: SHA-256 of the first 20 bytes of SHA-256.
                let input = inputs.input.bytes(context);
                let inner = Sha256::digest(&input);
                let output = Sha256::digest(&inner[..20]).to_vec();
                let cost = 600 + 120 * (input.len() as u64).div_ceil(32);
                Ok(Some(done(inputs.gas_limit, cost, output)))
            }
            9 => {
                let input = inputs.input.bytes(context);
                let (count, output) = batch_validate(&input);
                Ok(Some(done(inputs.gas_limit, BATCH_ENERGY * count as u64, output.to_vec())))
            }
            // No proofs of blobs.
            10 => Ok(None),
            2 | 4..=8 => self.ethereum.run(context, inputs),
            _ => Ok(None),
        }
    }

    fn warm_addresses(&self) -> &alloy_primitives::map::AddressSet {
        <EthPrecompiles as PrecompileProvider<CTX>>::warm_addresses(&self.ethereum)
    }
}

/// `batchValidateSign(bytes32, bytes[], address[])`: a byte of 1 for each signature that is its address's. Nothing is valid
/// unless the input has exactly the length of that many signatures of 65 bytes (TIP-854).
fn batch_validate(input: &[u8]) -> (usize, [u8; 32]) {
    let mut output = [0u8; 32];
    let words = input.len() / 32;
    let count = words.saturating_sub(5) / 6;
    if count == 0 || count > BATCH || input.len() != (5 + 6 * count) * 32 {
        return (count.min(BATCH), output);
    }
    let Ok((digest, signatures, signers)) = <(B256, Vec<Bytes>, Vec<Address>)>::abi_decode_params(input) else {
        return (count, output);
    };
    if signatures.len() != count || signers.len() != count {
        return (count, output);
    }
    for ((slot, signature), signer) in output.iter_mut().zip(&signatures).zip(&signers) {
        let Ok(mut bytes) = <[u8; 65]>::try_from(signature.as_ref()) else { continue };
        if bytes[64] >= 27 {
            bytes[64] -= 27;
        }
        *slot = u8::from(recover(digest, &Signature::from_bytes(bytes)).is_ok_and(|found| found == *signer));
    }
    (count, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bttc_types::SecretKey;

    #[test]
    fn batches_tell_each_signature_and_take_no_other_length() {
        let digest = B256::repeat_byte(7);
        let keys: Vec<SecretKey> = (1..=16u8).map(|n| SecretKey::from_bytes(&[n; 32]).unwrap()).collect();
        let mut signatures: Vec<Bytes> =
            keys.iter().map(|key| Bytes::from(key.sign(digest).as_bytes().to_vec())).collect();
        signatures[3] = keys[4].sign(digest).as_bytes().to_vec().into();
        let signers: Vec<Address> = keys.iter().map(SecretKey::address).collect();
        let input = (digest, signatures.clone(), signers.clone()).abi_encode_params();
        let (count, output) = batch_validate(&input);
        assert_eq!(count, 16);
        for (index, byte) in output.iter().enumerate() {
            assert_eq!(*byte, u8::from(index < 16 && index != 3), "{index}");
        }
        let mut longer = input.clone();
        longer.extend_from_slice(&[0; 32]);
        assert_eq!(batch_validate(&longer).1, [0; 32]);
        signatures[0] = vec![0; 64].into();
        let short = (digest, signatures[..2].to_vec(), signers[..2].to_vec()).abi_encode_params();
        assert_eq!(batch_validate(&short).1[0], 0);
    }
}
