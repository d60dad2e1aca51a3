//! Whether gateways hold what the ledger says is locked in them.

use crate::Error;
use crate::node::NodeClient;
use alloy_primitives::{Address, U256};
use bttc_bridge_types::{GatewayId, NATIVE_COIN};
use bttc_root_chains::RootChain;
use bttc_root_chains::contracts::{EvmGateway, PlainToken};
use std::time::{Duration, Instant};

/// Between two looks: each asks twice for each token.
const PERIOD: Duration = Duration::from_secs(30);

/// The latest look at one root chain.
#[derive(Debug, Default)]
pub(crate) struct Reserves {
    looked: Option<Instant>,
    alarms: Vec<String>,
}

impl Reserves {
    /// What is missing at a gateway, one line a token. A token that cannot be read is an alarm too: it must not stop the rest.
    pub(crate) async fn alarms(&mut self, node: &NodeClient, chain: &RootChain, at: GatewayId) -> Vec<String> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= PERIOD) {
            self.alarms = match missing(node, chain, at).await {
                Ok(alarms) => alarms,
                Err(error) => vec![format!("what the gateway holds cannot be read: {error}")],
            };
            self.looked = Some(Instant::now());
        }
        self.alarms.clone()
    }
}

async fn missing(node: &NodeClient, chain: &RootChain, at: GatewayId) -> Result<Vec<String>, Error> {
    let tokens = |views: Vec<crate::node::GatewayView>| views.into_iter().find(|view| view.at() == at);
    let Some(view) = tokens(node.gateways().await?) else { return Ok(Vec::new()) };
    let mut held = Vec::new();
    for token in &view.tokens {
        held.push(holdings(chain, at.gateway, token.root).await?);
    }
    let Some(view) = tokens(node.gateways().await?) else { return Ok(Vec::new()) };
    let mut alarms = Vec::new();
    for (token, before) in view.tokens.iter().zip(held) {
        if before >= token.locked {
            continue;
        }
        // A deposit may have been made and credited since: then it is there now.
        let now = holdings(chain, at.gateway, token.root).await?.max(before);
        if now < token.locked {
            let short = token.locked - now;
            alarms.push(format!("the gateway lacks {short} smallest units of {} that the ledger counts", token.symbol));
        }
    }
    Ok(alarms)
}

/// What a gateway can pay of a token: what it counts, or what it has if that is less.
async fn holdings(chain: &RootChain, gateway: Address, token: Address) -> Result<U256, Error> {
    let counted = U256::from(chain.view(gateway, &EvmGateway::statesCall(token)).await?.locked);
    let owned = if token == NATIVE_COIN {
        chain.balance(gateway).await?
    } else {
        chain.view(token, &PlainToken::balanceOfCall { account: gateway }).await?
    };
    Ok(counted.min(owned))
}
