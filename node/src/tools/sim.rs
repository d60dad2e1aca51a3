//! `tron-sim`.

use super::args::TronSimArgs;
use bttc_tron_sim::SimConfig;

/// Sun of a funded account: a billion TRX.
const FUND: u64 = 1_000_000_000_000_000;

/// Runs the simulator until it is stopped.
pub(crate) fn run(args: &TronSimArgs) -> eyre::Result<()> {
    super::runtime()?.block_on(async {
        let config = SimConfig {
            chain_id: args.chain_id,
            block_time_ms: args.block_time_ms,
            solid_lag: args.solid_lag,
            funded: args.funded.iter().map(|address| (*address, FUND)).collect(),
            state: args.state.clone(),
            ..SimConfig::default()
        };
        let server = bttc_tron_sim::serve(config, args.listen).await?;
        crate::logging::say(&format!("TRON simulator on http://{}", server.address));
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result?,
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
