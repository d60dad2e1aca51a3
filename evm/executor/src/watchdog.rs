//! Ends an inspected run that takes too long, records too much, or that nobody waits for any more.

use revm::Inspector;
use revm::context::ContextError;
use revm::context_interface::ContextTr;
use revm::handler::FrameResult;
use revm::interpreter::interpreter_types::LoopControl;
use revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, Interpreter};
use revm::primitives::{Address, Log, U256};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps between two looks at the clock.
const STRIDE: u64 = 4_096;

/// What a run may cost.
#[derive(Clone, Debug)]
pub struct Budget {
    /// When it must have ended.
    pub deadline: Instant,
    /// EVM instructions that may be looked at.
    pub steps: u64,
    /// Set when nobody waits for the result any more.
    pub abandoned: Arc<AtomicBool>,
}

impl Budget {
    /// Why the run must end, if it must; `steps` are those made so far.
    pub fn exceeded(&self, steps: u64) -> Option<&'static str> {
        if steps > self.steps {
            Some("the trace has too many steps: trace calls instead of instructions, or a shorter transaction")
        } else if self.abandoned.load(Ordering::Relaxed) {
            Some("the request was abandoned")
        } else if Instant::now() >= self.deadline {
            Some("the trace takes too long")
        } else {
            None
        }
    }
}

/// An inspector within a budget.
#[derive(Clone, Debug)]
pub struct Watchdog<I> {
    /// The inspector.
    pub inner: I,
    budget: Budget,
    steps: u64,
}

impl<I> Watchdog<I> {
    /// Watches over an inspector.
    pub const fn new(inner: I, budget: Budget) -> Self {
        Self { inner, budget, steps: 0 }
    }
}

impl<CTX: ContextTr, I: Inspector<CTX>> Inspector<CTX> for Watchdog<I> {
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.initialize_interp(interp, context);
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.steps += 1;
        let look = self.steps > self.budget.steps || self.steps.is_multiple_of(STRIDE);
        if look && let Some(reason) = self.budget.exceeded(self.steps) {
            if context.error().is_ok() {
                *context.error() = Err(ContextError::Custom(reason.into()));
            }
            interp.bytecode.action().take();
            interp.bytecode.reset_action();
            interp.halt_fatal();
            return;
        }
        self.inner.step(interp, context);
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.inner.step_end(interp, context);
    }

    fn log(&mut self, context: &mut CTX, log: Log) {
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut CTX, log: Log) {
        self.inner.log_full(interp, context, log);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut CTX, inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.inner.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut CTX, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.inner.selfdestruct(contract, target, value);
    }

    fn frame_start(&mut self, context: &mut CTX, input: &mut FrameInput) -> Option<FrameResult> {
        self.inner.frame_start(context, input)
    }

    fn frame_end(&mut self, context: &mut CTX, input: &FrameInput, result: &mut FrameResult) {
        self.inner.frame_end(context, input, result);
    }
}
