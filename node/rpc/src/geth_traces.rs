//! geth's tracers: the library's, where they differ brought to what geth takes and gives.

use crate::errors;
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::geth::{
    CallFrame, CallLogFrame, DefaultFrame, DiffMode, GethDebugBuiltInTracerType, GethDebugTracerType,
    GethDebugTracingOptions, GethTrace, PreStateFrame,
};
use alloy_rpc_types_trace::parity::{LocalizedTransactionTrace, TraceOutput};
use bttc_executor::replay::Inspected;
use bttc_executor::watchdog::Watchdog;
use jsonrpsee::types::ErrorObjectOwned;
use revm::context::result::ResultAndState;
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, ErrorObjectOwned>;

/// The tracer that these options ask for.
pub(crate) fn inspector(mut options: GethDebugTracingOptions) -> Result<DebugInspector> {
    let mux = GethDebugTracerType::BuiltInTracer(GethDebugBuiltInTracerType::MuxTracer);
    if options.tracer == Some(mux)
        && let Value::Object(tracers) = &mut options.tracer_config.0
    {
        // geth takes an empty object or nothing for every tracer; the library one or the other.
        for (name, config) in tracers {
            let unconfigured = matches!(name.as_str(), "noopTracer" | "4byteTracer" | "erc7562Tracer");
            if unconfigured && config.as_object().is_some_and(|config| config.is_empty()) {
                *config = Value::Null;
            } else if !unconfigured && config.is_null() {
                *config = json!({});
            }
        }
    }
    DebugInspector::new(options).map_err(|error| errors::invalid_params(error.to_string()))
}

/// The trace of what was seen. `logs_before` is the number of logs that the block's transactions before it have.
pub(crate) fn geth_trace(
    seen: Inspected<'_, '_, Watchdog<DebugInspector>>,
    info: &TransactionInfo,
    logs_before: u64,
) -> Result<GethTrace> {
    let place = TransactionContext {
        block_hash: info.block_hash,
        tx_index: info.index.map(|index| index as usize),
        tx_hash: info.hash,
    };
    let Inspected { inspector, result, transaction, block, mut before } = seen;
    let mut inspector = inspector.inner;
    let trace = inspector.get_result(Some(place), transaction, block, &result, &mut before);
    let mut trace = trace.map_err(errors::internal)?;
    match &mut trace {
        GethTrace::Default(frame) => name_failures(frame),
        GethTrace::CallTracer(frame) => as_in_geth(frame, logs_before),
        GethTrace::PreStateTracer(PreStateFrame::Diff(diff)) => tell_cleared_code(diff, &result),
        GethTrace::FlatCallTracer(calls) => tell_gas_used(calls, &result),
        GethTrace::MuxTracer(all) => {
            for trace in all.0.values_mut() {
                match trace {
                    GethTrace::CallTracer(frame) => as_in_geth(frame, logs_before),
                    GethTrace::FlatCallTracer(calls) => tell_gas_used(calls, &result),
                    GethTrace::PreStateTracer(PreStateFrame::Diff(diff)) => tell_cleared_code(diff, &result),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(trace)
}

/// In a flat list of calls, too, the outermost one has used what the transaction has.
fn tell_gas_used(calls: &mut [LocalizedTransactionTrace], result: &ResultAndState) {
    let gas_used = result.result.tx_gas_used();
    let outermost = calls.iter_mut().find(|call| call.trace.trace_address.is_empty());
    match outermost.and_then(|call| call.trace.result.as_mut()) {
        Some(TraceOutput::Call(output)) => output.gas_used = gas_used,
        Some(TraceOutput::Create(output)) => output.gas_used = gas_used,
        None => {}
    }
}

fn as_in_geth(frame: &mut CallFrame, logs_before: u64) {
    count_logs_in_block(frame, logs_before);
    name_call_failures(frame);
}

fn name_call_failures(frame: &mut CallFrame) {
    if let Some(error) = &mut frame.error {
        in_geths_words(error);
    }
    frame.calls.iter_mut().for_each(name_call_failures);
}

/// As geth shows logs: none of calls that failed or that a failed one made, and each with its index in the block, as in the receipt.
/// The library keeps them all and counts within the transaction.
fn count_logs_in_block(frame: &mut CallFrame, before: u64) {
    let mut kept = Vec::new();
    keep_logs(frame, false, &mut kept);
    // By the library's count: in the order of their making.
    kept.sort_by_key(|log| log.index);
    for (index, log) in (before..).zip(kept) {
        log.index = Some(index);
    }
}

fn keep_logs<'f>(frame: &'f mut CallFrame, failed: bool, kept: &mut Vec<&'f mut CallLogFrame>) {
    let failed = failed || frame.error.is_some();
    if failed {
        frame.logs.clear();
    }
    kept.extend(frame.logs.iter_mut());
    for call in &mut frame.calls {
        keep_logs(call, failed, kept);
    }
}

/// An account whose delegation was cleared has code before and none after; the library leaves out the latter, and who applied the
/// difference would keep the delegation.
fn tell_cleared_code(diff: &mut DiffMode, result: &ResultAndState) {
    for (address, before) in &diff.pre {
        let had_code = before.code.as_ref().is_some_and(|code| !code.is_empty());
        let cleared = result.state.get(address).is_some_and(|account| account.info.is_empty_code_hash());
        if let Some(after) = diff.post.get_mut(address).filter(|_| had_code && cleared) {
            after.code.get_or_insert_default();
        }
    }
}

/// Why a call failed, in geth's words.
fn in_geths_words(error: &mut String) {
    if error == "out of gas: invalid operand" {
        *error = "gas uint64 overflow".into();
    } else if ["out of gas: out of memory", "out of gas: reach memory limit"].contains(&error.as_str()) {
        *error = "out of gas".into();
    } else if error == "Out of stack" {
        *error = "stack limit reached 1024 (1023)".into();
    }
}

/// Why an instruction failed. The library gives its own names of failures; and geth names none where the instruction itself ends the
/// call.
fn name_failures(frame: &mut DefaultFrame) {
    for log in &mut frame.struct_logs {
        let Some(error) = log.error.take() else { continue };
        let name = error.trim_start_matches("Some(").trim_end_matches(')');
        let words = match name {
            "Revert" => continue,
            "OutOfGas" | "MemoryOOG" | "MemoryLimitOOG" | "PrecompileOOG" => "out of gas",
            "ReentrancySentryOOG" => "out of gas: not enough gas for reentrancy sentry",
            "InvalidOperandOOG" => "gas uint64 overflow",
            "StackUnderflow" => "stack underflow",
            "StackOverflow" => "stack limit reached 1024 (1023)",
            "InvalidJump" => "invalid jump destination",
            "OpcodeNotFound" | "NotActivated" => "invalid opcode",
            "InvalidFEOpcode" => "invalid opcode: INVALID",
            "StateChangeDuringStaticCall" | "CallNotAllowedInsideStatic" => "write protection",
            "OutOfOffset" => "return data out of bounds",
            "CallTooDeep" => "max call depth exceeded",
            "OutOfFunds" => "insufficient balance for transfer",
            "CreateInitCodeSizeLimit" => "max initcode size exceeded",
            other => other,
        };
        log.error = Some(words.to_owned());
    }
}
