//! Root chains in the configuration: a line of words for each.

use bttc_root_chains::{ChainKind, QuorumConfig};
use eyre::{Context, bail, eyre};
use std::time::Duration;

/// A root chain that this node follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainSettings {
    /// Its endpoints.
    pub(crate) quorum: QuorumConfig,
    /// Between two looks.
    pub(crate) poll: Duration,
}

/// Reads `NAME evm|tron CHAIN_ID URL [URL ...] [quorum=N] [depth=BLOCKS] [poll=MS] [timeout=MS]`.
///
/// # Errors
/// With what is wrong.
pub(crate) fn chain_settings(line: &str) -> eyre::Result<ChainSettings> {
    let explain = || format!("bridge.chains {line:?}: expected `NAME evm|tron CHAIN_ID URL [URL ...] [quorum=N] ...`");
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, kind, chain_id, rest @ ..] = words.as_slice() else { bail!(explain()) };
    let kind = match *kind {
        "evm" => ChainKind::Evm,
        "tron" => ChainKind::Tron,
        other => bail!("{}: {other:?} is no kind of chain", explain()),
    };
    let chain_id = chain_id.parse().wrap_err_with(explain)?;
    let (mut endpoints, mut quorum, mut extra_depth) = (Vec::new(), None, None);
    let (mut poll, mut timeout) = (1_000u64, 10_000u64);
    for word in rest {
        let option = word.split_once('=').filter(|_| !word.contains("://"));
        let Some((option, value)) = option else {
            endpoints.push((*word).to_owned());
            continue;
        };
        let value: u64 = value.parse().wrap_err_with(explain)?;
        match option {
            "quorum" => quorum = Some(usize::try_from(value)?),
            "depth" => extra_depth = Some(value),
            "poll" => poll = value.max(10),
            "timeout" => timeout = value.max(100),
            other => bail!("{}: there is no option {other:?}", explain()),
        }
    }
    if endpoints.is_empty() {
        return Err(eyre!("{}: it has no endpoint", explain()));
    }
    // BNB Chain finalizes fast and has stood still and gone back before: some seconds more.
    let extra_depth = extra_depth.unwrap_or(if chain_id == 56 { 34 } else { 0 });
    let quorum = quorum.unwrap_or(endpoints.len() / 2 + 1);
    let quorum = QuorumConfig {
        name: (*name).to_owned(),
        kind,
        chain_id,
        endpoints,
        quorum,
        extra_depth,
        timeout: Duration::from_millis(timeout),
    };
    bttc_root_chains::Quorum::new(quorum.clone()).wrap_err_with(explain)?;
    Ok(ChainSettings { quorum, poll: Duration::from_millis(poll) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_wrong_with_them() {
        let settings = chain_settings("bsc evm 56 http://a:1 http://b:1?x=1 http://c:1 poll=500").unwrap();
        assert_eq!((settings.quorum.quorum, settings.quorum.extra_depth), (2, 34));
        assert_eq!(settings.quorum.endpoints.len(), 3);
        for bad in [
            "",
            "bsc evm",
            "bsc evm x http://a",
            "bsc btc 56 http://a",
            "bsc evm 56",
            "bsc evm 56 http://a quorum=2",
            "bsc evm 56 http://a color=2",
            "bsc evm 56 ftp://a",
        ] {
            assert!(chain_settings(bad).is_err(), "{bad:?}");
        }
    }
}
