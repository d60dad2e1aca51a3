//! EXTCODEHASH for accounts whose code hash is hidden from revm (see `block_state.rs`, EIP-7610).

use alloy_primitives::{KECCAK256_EMPTY, U256};
use revm::bytecode::opcode::EXTCODEHASH;
use revm::context_interface::Host;
use revm::context_interface::cfg::gas::WARM_STORAGE_READ_COST;
use revm::handler::instructions::EthInstructions;
use revm::interpreter::instructions::host;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::{Instruction, InstructionContext, InstructionExecResult};
use revm::primitives::hardfork::SpecId;

/// Replaces the instruction, from the fork on from which its price is that of a warm read.
pub(crate) fn install<H: Host>(instructions: &mut EthInstructions<EthInterpreter, H>, spec: SpecId) {
    if spec.is_enabled_in(SpecId::BERLIN) {
        let price = u16::try_from(WARM_STORAGE_READ_COST).unwrap_or(100);
        instructions.insert_instruction(EXTCODEHASH, Instruction::new(ext_code_hash::<H>), price);
    }
}

fn ext_code_hash<H: Host>(context: InstructionContext<'_, H, EthInterpreter>) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let address = interpreter.stack.peek(0).ok();
    host::extcodehash(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    // Zero: the account does not exist or is empty, or its code hash is the hidden one. The second look is warm.
    if let Some(address) = address
        && interpreter.stack.peek(0).is_ok_and(|hash| hash.is_zero())
    {
        let address = alloy_primitives::Address::from_word(address.into());
        if let Ok(account) = host.load_account_info_skip_cold_load(address, false, false)
            && !account.is_empty
        {
            let _ = interpreter.stack.set(0, U256::from_be_bytes(KECCAK256_EMPTY.0));
        }
    }
    Ok(())
}
