//! Deploying gateways, and bringing lost ones back.

use super::args::{DeployArgs, FundArgs, RecoverArgs};
use super::root_wallet::RootWallet;
use crate::home::Home;
use crate::wallet::Client;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::{SolCall, SolConstructor};
use bttc_bridge_types::{BridgeMember, BridgeSet, NATIVE_COIN};
use bttc_genesis::{ChainSpec, GenesisGateway, GenesisToken, Preset};
use bttc_root_chains::contracts::{
    BlacklistToken, EvmGateway, FalseReturnToken, FeeToken, GatewayProxy, IGateway, NoReturnToken, PlainToken,
    TronGateway, TronSettings,
};
use eyre::{Context, bail, eyre};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};
use std::path::Path;

/// TRON's contract that checks signatures in batches.
const BATCH_VERIFIER: Address = Address::with_last_byte(9);

/// The first set: what the ledger computes from the same file.
fn first_set(spec: &ChainSpec) -> eyre::Result<BridgeSet> {
    let members = spec
        .bttc
        .validators
        .iter()
        .filter_map(|entry| entry.bridge.map(|key| BridgeMember { key, power: entry.power }))
        .collect();
    BridgeSet::new(1, members).wrap_err("the genesis file's validators are no bridge set")
}

/// The network's durations as the settings of one of the contracts: the two types come from one Solidity struct.
macro_rules! settings {
    ($kind:path, $spec:expr) => {{
        let times = $spec.bttc.preset.bridge();
        $kind {
            bridgeId: $spec.bttc.bridge.bridge_id,
            minSigners: times.min_signers,
            minRotation: times.min_rotation,
            overlap: times.overlap,
            expiry: times.expiry,
            largeDelay: times.large_delay,
            bucketWindow: times.bucket_window,
            upgradeDelay: times.upgrade_delay,
            recoveryDelay: times.recovery_delay,
            pauseSeconds: times.pause_seconds,
            pauseRest: times.pause_rest,
        }
    }};
}

/// Init code: the contract's, then its arguments.
fn init_code(code: &Bytes, arguments: Vec<u8>) -> Bytes {
    let mut bytes = code.to_vec();
    bytes.extend(arguments);
    bytes.into()
}

fn read_spec(file: &Path) -> eyre::Result<ChainSpec> {
    let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
    Ok(ChainSpec::from_json(&text)?)
}

/// `bridge deploy`.
pub(crate) fn run(args: &DeployArgs) -> eyre::Result<()> {
    let mut spec = read_spec(&args.genesis)?;
    if spec.bttc.bridge.bridge_id.is_zero() {
        bail!("the genesis file has no bttc.bridge.bridgeId: its network has no bridge");
    }
    if !args.test_tokens.is_empty() && spec.bttc.preset != Preset::Local {
        bail!("test tokens are for local networks");
    }
    let key = super::root_key(&args.home.home, args.root.key_file.as_deref(), &args.root.password)?;
    super::runtime()?.block_on(async {
        let wallet = RootWallet::connect(&args.root.chain, key).await?;
        let gateway = deploy_gateway(&wallet, &spec, args).await?;
        let mut entry = GenesisGateway {
            name: wallet.name.clone(),
            root_chain_id: wallet.chain_id,
            gateway,
            tokens: Vec::new(),
        };
        if !args.test_tokens.is_empty() {
            entry.tokens = test_tokens(&wallet, &args.test_tokens).await?;
        }
        let tokens: Vec<Value> = entry
            .tokens
            .iter()
            .map(|token| {
                json!({
                    "symbol": token.symbol, "root": wallet.shown(token.root),
                    "wrapped": if token.native { bttc_genesis::BTT_ADDRESS } else { bttc_genesis::wrapped_address(wallet.chain_id, token.root) },
                    "decimals": token.decimals, "name": token.name, "native": token.native,
                })
            })
            .collect();
        let shown = json!({
            "name": wallet.name, "chainId": wallet.chain_id, "gateway": wallet.shown(gateway), "tokens": tokens,
            "genesis": entry,
        });
        if args.write {
            spec.bttc.bridge.gateways.push(entry);
            spec.validate()?;
            let part = args.genesis.with_extension("part");
            std::fs::write(&part, spec.to_json()?)?;
            std::fs::rename(&part, &args.genesis)?;
        }
        println!("{}", serde_json::to_string_pretty(&shown)?);
        Ok(())
    })
}

/// `bridge fund`: with the gateway and the token of a genesis file.
pub(crate) fn fund(args: &FundArgs) -> eyre::Result<()> {
    let spec = read_spec(&args.genesis)?;
    let key = super::root_key(&args.home.home, args.root.key_file.as_deref(), &args.root.password)?;
    super::runtime()?.block_on(async {
        let wallet = RootWallet::connect(&args.root.chain, key).await?;
        let gateways = &spec.bttc.bridge.gateways;
        let entry = gateways
            .iter()
            .find(|entry| entry.root_chain_id == wallet.chain_id)
            .ok_or_else(|| eyre!("the genesis file has no gateway on chain {}", wallet.chain_id))?;
        let token = entry
            .tokens
            .iter()
            .find(|token| token.symbol == args.token)
            .ok_or_else(|| eyre!("the genesis file maps no {:?} there", args.token))?;
        let amount = match args.amount {
            Some(amount) => amount,
            None if token.native => spec.bttc.supply.tron_locked,
            None => bail!("--amount is needed for other tokens than BTT"),
        };
        if amount.is_zero() {
            bail!("there is nothing to fund: the amount is zero");
        }
        let call = EvmGateway::fundCall { token: token.root, amount };
        let value = if token.root == NATIVE_COIN {
            u64::try_from(amount).map_err(|_| eyre!("so much at once is not supported here"))?
        } else {
            super::user::allow(&wallet, token.root, entry.gateway, amount).await?;
            0
        };
        let done = wallet.call(entry.gateway, value, &call).await?;
        let state = wallet.look(entry.gateway, &EvmGateway::statesCall(token.root)).await?;
        println!("{} smallest units of {} are locked at {}", state.locked, token.symbol, wallet.shown(entry.gateway));
        eprintln!("funded in {}", done.hash);
        Ok(())
    })
}

async fn deploy_gateway(wallet: &RootWallet, spec: &ChainSpec, args: &DeployArgs) -> eyre::Result<Address> {
    let set = first_set(spec)?;
    let implementation = if wallet.is_tron() {
        let arguments =
            TronGateway::constructorCall { settings: settings!(TronSettings, spec), batchVerifier: BATCH_VERIFIER };
        let code = init_code(&TronGateway::BYTECODE, arguments.abi_encode());
        wallet.deploy("TronGateway", code).await?
    } else {
        let arguments = EvmGateway::constructorCall { settings: settings!(IGateway::Settings, spec) };
        wallet.deploy("EvmGateway", init_code(&EvmGateway::BYTECODE, arguments.abi_encode())).await?
    };
    let begin = EvmGateway::initializeCall {
        firstSet: set.encode().into(),
        setTimestamp: spec.genesis.timestamp,
        firstPausers: args.pausers.clone(),
        signers: args.recoverers.clone(),
        threshold: U256::from(args.recovery_threshold),
    };
    let arguments = GatewayProxy::constructorCall { implementation, initialization: begin.abi_encode().into() };
    let gateway = wallet.deploy("GatewayProxy", init_code(&GatewayProxy::BYTECODE, arguments.abi_encode())).await?;
    // What was deployed is asked for: a set or an id that differs would never accept a checkpoint.
    let found = wallet.look(gateway, &EvmGateway::setHashCall {}).await?;
    let bridge_id = wallet.look(gateway, &EvmGateway::BRIDGE_IDCall {}).await?;
    if found != set.hash(spec.bttc.bridge.bridge_id) || bridge_id != spec.bttc.bridge.bridge_id {
        bail!("the gateway at {} has another set or bridge id than it was given", wallet.shown(gateway));
    }
    // Nothing is claimed by a proof of nothing.
    let nothing = EvmGateway::claimCall {
        treeId: 1,
        index: 0,
        token: NATIVE_COIN,
        sender: Address::ZERO,
        recipient: wallet.address(),
        amount: U256::from(1),
        relayerFee: U256::ZERO,
        proof: [B256::ZERO; 32],
    };
    if wallet.look(gateway, &nothing).await.is_ok() {
        bail!("the gateway at {} pays a claim without a root", wallet.shown(gateway));
    }
    Ok(gateway)
}

/// Tokens for local networks, some of each for these accounts: a plain one, one like USDT there, one that takes a fee, one
/// that can refuse a holder; on TRON also BTT.
async fn test_tokens(wallet: &RootWallet, accounts: &[Address]) -> eyre::Result<Vec<GenesisToken>> {
    let (suffix, chain) = match wallet.name.as_str() {
        "tron" => ("t", "TRON"),
        "bsc" => ("b", "BSC"),
        _ => ("e", "Ethereum"),
    };
    let unit = |decimals: u8| U256::from(10u64).pow(U256::from(decimals));
    let supply = |decimals: u8| U256::from(1_000_000_000_000u64) * unit(decimals);
    let mut list = Vec::new();
    let mut add = |root: Address, symbol: &str, name: &str, decimals: u8, native: bool| {
        list.push(GenesisToken {
            root,
            symbol: if native { symbol.to_owned() } else { format!("{symbol}_{suffix}") },
            name: if native { name.to_owned() } else { format!("{name}_{chain}") },
            decimals,
            minimum: U256::from(1),
            floor: U256::from(1_000_000_000u64) * unit(decimals),
            native,
        });
    };
    macro_rules! token {
        ($contract:ident, $name:expr, $symbol:expr, $decimals:expr) => {{
            let arguments = ($name.to_owned(), $symbol.to_owned(), U256::from($decimals as u8), supply($decimals));
            let encoded = alloy_sol_types::SolValue::abi_encode_params(&arguments);
            wallet.deploy($symbol, init_code(&$contract::BYTECODE, encoded)).await?
        }};
    }
    let (coin, coin_name, coin_decimals) = match wallet.name.as_str() {
        "tron" => ("TRX", "TRON", 6),
        "bsc" => ("BNB", "BNB", 18),
        _ => ("ETH", "Ether", 18),
    };
    add(NATIVE_COIN, coin, coin_name, coin_decimals, false);
    let plain = token!(PlainToken, "Test Token", "TEST", 18);
    add(plain, "TEST", "Test Token", 18, false);
    let usdt = if wallet.is_tron() {
        token!(FalseReturnToken, "Tether USD", "USDT", 6)
    } else {
        token!(NoReturnToken, "Tether USD", "USDT", 6)
    };
    add(usdt, "USDT", "Tether USD", 6, false);
    let fee = token!(FeeToken, "Fee Token", "FEE", 18);
    add(fee, "FEE", "Fee Token", 18, false);
    let black = token!(BlacklistToken, "Choosy Token", "BLACK", 18);
    add(black, "BLACK", "Choosy Token", 18, false);
    let mut gifts = vec![(plain, 18), (usdt, 6), (fee, 18), (black, 18)];
    if wallet.is_tron() {
        let btt = token!(PlainToken, "BitTorrent", "BTT", 18);
        add(btt, "BTT", "BitTorrent", 18, true);
        gifts.push((btt, 18));
    }
    for account in accounts.iter().filter(|account| **account != wallet.address()) {
        for (token, decimals) in &gifts {
            let value = U256::from(10_000_000u64) * unit(*decimals);
            wallet.call(*token, 0, &PlainToken::transferCall { to: *account, value }).await?;
        }
    }
    Ok(list)
}

/// `bridge recover`: with the key of a recovery signer. Approves, or finishes what was approved long enough ago.
pub(crate) fn recover(args: &RecoverArgs) -> eyre::Result<()> {
    let home = Home::new(&args.read.home.home);
    let client = Client::new(args.read.rpc.as_deref(), &home)?;
    let key = super::root_key(&args.read.home.home, args.root.key_file.as_deref(), &args.root.password)?;
    let state: Value = client.ask("bttc_bridgeState", rpc_params![])?;
    let set_id: U64 = serde_json::from_value(state.get("setId").cloned().unwrap_or_default())?;
    let last: U64 = serde_json::from_value(state.get("checkpoints").cloned().unwrap_or_default())?;
    let bridge_id: B256 = serde_json::from_value(state.get("bridgeId").cloned().unwrap_or_default())?;
    let set: Option<Bytes> = client.ask("bttc_bridgeSet", rpc_params![set_id])?;
    let set = set.ok_or_else(|| eyre!("the node does not know the set in force"))?;
    let hash = BridgeSet::decode(&set)?.hash(bridge_id);
    let chains: Vec<Value> = client.ask("bttc_rootChains", rpc_params![])?;
    super::runtime()?.block_on(async {
        let wallet = RootWallet::connect(&args.root.chain, key).await?;
        let wanted = U64::from(wallet.chain_id);
        let gateway = chains
            .iter()
            .find(|chain| {
                chain.get("rootChainId").and_then(|id| serde_json::from_value(id.clone()).ok()) == Some(wanted)
            })
            .and_then(|chain| serde_json::from_value::<Address>(chain.get("gateway")?.clone()).ok())
            .ok_or_else(|| eyre!("the ledger has no gateway on chain {}", wallet.chain_id))?;
        let waiting = wallet.look(gateway, &EvmGateway::recoverySetHashCall {}).await?;
        if waiting == hash {
            let done = wallet.call(gateway, 0, &EvmGateway::finishRecoveryCall {}).await?;
            eprintln!("the set in force speaks for {} again ({})", wallet.shown(gateway), done.hash);
        } else {
            let call = EvmGateway::approveRecoveryCall { set, seq: last.to() };
            let done = wallet.call(gateway, 0, &call).await?;
            let ready = wallet.look(gateway, &EvmGateway::recoveryReadyAtCall {}).await?;
            eprintln!("approved ({}); ready at {ready} once enough signers agree: run it again then", done.hash);
        }
        Ok(())
    })
}
