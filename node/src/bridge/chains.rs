//! Root chains are read here, each by a task of its own: one that hangs or lies stops itself only.

use super::Bridge;
use super::settings::ChainSettings;
use bttc_root_chains::{Error, Quorum};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Bridge {
    /// Follows a root chain until the node ends.
    pub(crate) async fn follow(self: Arc<Self>, settings: ChainSettings) {
        let name = settings.quorum.name.clone();
        let mut quorum = match Quorum::new(settings.quorum) {
            Ok(quorum) => quorum,
            Err(error) => {
                self.alarm(&name, &error.to_string());
                return;
            }
        };
        let mut identified = false;
        let mut wait = settings.poll;
        loop {
            tokio::time::sleep(wait).await;
            let result = if identified { Ok(()) } else { quorum.identify().await };
            let result = match result {
                Ok(()) => {
                    identified = true;
                    self.read_chain(&mut quorum).await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    self.calm(&name);
                    wait = settings.poll;
                }
                Err(error) => {
                    self.metrics.bridge_failures.with_label_values(&[&name]).inc();
                    if error.is_alarm() {
                        self.alarm(&name, &error.to_string());
                    } else {
                        tracing::debug!(chain = %name, %error, "the root chain could not be read");
                    }
                    wait = (wait * 2).min(LONGEST_WAIT).max(settings.poll);
                }
            }
        }
    }

    /// Reads on at all gateways of a chain.
    async fn read_chain(&self, quorum: &mut Quorum) -> Result<(), Error> {
        let Some(view) = self.view.read().clone() else { return Ok(()) };
        let chain_id = quorum.config().chain_id;
        let mut first_error = None;
        for gateway in view.gateways.iter().filter(|gateway| gateway.at.root_chain_id == chain_id) {
            let at = gateway.at;
            let Some((mut progress, halted)) = self
                .followers
                .read()
                .get(&at)
                .map(|follower| (follower.progress().clone(), follower.halted().map(str::to_owned)))
            else {
                continue;
            };
            if let Some(reason) = halted {
                self.alarm(&gateway.name, &reason);
                continue;
            }
            match quorum.read_deposits(view.bridge_id, at, &mut progress).await {
                Ok((found, state)) => {
                    for log in &found {
                        tracing::info!(
                            chain = %gateway.name, nonce = log.deposit.nonce, token = %log.deposit.token,
                            amount = %log.deposit.amount, recipient = %log.deposit.recipient, "deposit final on the root chain"
                        );
                    }
                    let labels = &[gateway.name.as_str()];
                    self.metrics.bridge_height.with_label_values(labels).set(as_i64(progress.block.height));
                    self.metrics.bridge_deposits.with_label_values(labels).set(as_i64(progress.nonce));
                    if let Some(follower) = self.followers.write().get_mut(&at)
                        && let Err(error) = follower.advance(progress, found, state, gateway.deposit_nonce)
                    {
                        tracing::error!(%error, "what was read could not be kept");
                    }
                    if state.frozen {
                        self.alarm(
                            &gateway.name,
                            "the gateway is frozen: it was shown two certificates that contradict each other",
                        );
                    }
                }
                Err(error) => {
                    if matches!(error, Error::FinalityChanged { .. })
                        && let Some(follower) = self.followers.write().get_mut(&at)
                        && let Err(failure) = follower.halt(error.to_string())
                    {
                        tracing::error!(error = %failure, "the halt could not be kept");
                    }
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
