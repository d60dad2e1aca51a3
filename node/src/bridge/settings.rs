//! Root chains in the configuration: a line of words for each. What is wrong with a line is said without repeating it: it may hold keys.

use crate::secrets;
use bttc_root_chains::{ChainKind, EndpointAddress, QuorumConfig};
use eyre::{Context, bail, ensure, eyre};
use std::time::Duration;

/// A root chain that this node follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainSettings {
    /// Its endpoints.
    pub(crate) quorum: QuorumConfig,
    /// Between two looks.
    pub(crate) poll: Duration,
}

/// How a line is written.
const FORM: &str = "a root chain is written `NAME evm|tron CHAIN_ID ENDPOINT [ENDPOINT ...] [quorum=N] [depth=BLOCKS] [poll=MS] \
                    [timeout=MS]`, an endpoint `https://host/path`, `https://host|Header: value`, `env:NAME` or `file:PATH`";

/// Reads `NAME evm|tron CHAIN_ID ENDPOINT [ENDPOINT ...] [quorum=N] [depth=BLOCKS] [poll=MS] [timeout=MS]`.
///
/// A header's value ends before the next endpoint or option, or at the end; whoever needs those in it puts the endpoint in double quotes.
///
/// # Errors
/// With what is wrong.
pub(crate) fn chain_settings(line: &str) -> eyre::Result<ChainSettings> {
    let chain = ChainLine::parse(line)?;
    let endpoints = (1..).zip(&chain.endpoints).map(|(number, text)| {
        let place = || format!("endpoint {number} of the root chain {:?}", chain.name);
        let address = endpoint_text(text).wrap_err_with(place)?;
        address.parse().wrap_err_with(place)
    });
    let endpoints: Vec<EndpointAddress> = endpoints.collect::<eyre::Result<_>>()?;
    // BNB Chain finalizes fast and has stood still and gone back before: some seconds more.
    let extra_depth = chain.depth.unwrap_or(if chain.chain_id == 56 { 34 } else { 0 });
    let majority = endpoints.len() / 2 + 1;
    let quorum = QuorumConfig {
        name: chain.name,
        kind: chain.kind,
        chain_id: chain.chain_id,
        quorum: chain.quorum.map_or(Ok(majority), usize::try_from)?,
        endpoints,
        extra_depth,
        timeout: Duration::from_millis(chain.timeout.unwrap_or(10_000).max(100)),
    };
    bttc_root_chains::Quorum::new(quorum.clone()).wrap_err_with(|| format!("the root chain {:?}", quorum.name))?;
    Ok(ChainSettings { quorum, poll: Duration::from_millis(chain.poll.unwrap_or(1_000).max(10)) })
}

/// An endpoint with its header, each given as it is or by a reference. A reference may also stand for both.
fn endpoint_text(text: &str) -> eyre::Result<String> {
    let (place, beside) = text.split_once('|').map_or((text, None), |(place, header)| (place, Some(header)));
    let place = secrets::resolve(place)?;
    let (url, header) = match (place.split_once('|'), beside) {
        (Some(_), Some(_)) => {
            bail!("an endpoint has one header, and there are two: one where it points to, one beside it")
        }
        (Some((url, header)), None) => (url, Some(header)),
        (None, beside) => (place.as_str(), beside),
    };
    let Some(header) = header else { return Ok(url.to_owned()) };
    let (name, value) = header.split_once(':').unwrap_or((header, ""));
    Ok(format!("{url}|{name}:{}", secrets::resolve(value.trim())?))
}

/// An endpoint as it may be shown.
fn shown_endpoint(text: &str) -> String {
    let (place, header) = text.split_once('|').map_or((text, ""), |(place, _)| (place, "|…"));
    match secrets::reference(place) {
        Some(_) => format!("{place}{header}"),
        None => {
            text.parse::<EndpointAddress>().map_or_else(|_| "(an endpoint)".to_owned(), |address| address.to_string())
        }
    }
}

/// A line as it may be shown.
pub(crate) fn shown(line: &str) -> String {
    match ChainLine::parse(line) {
        Ok(chain) => chain.shown(),
        Err(error) => format!("(not shown: {error})"),
    }
}

/// The entries of a list that was given as one text, with commas between them. A comma that no chain follows belongs to a header.
pub(crate) fn split_chains(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for part in text.split(',') {
        match entries.last_mut() {
            Some(last) if !begins_chain(part) || last.matches('"').count() % 2 == 1 => {
                last.push(',');
                last.push_str(part);
            }
            _ => entries.push(part.to_owned()),
        }
    }
    entries
        .into_iter()
        .map(|entry| entry.trim().trim_end_matches(',').to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

fn begins_chain(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let kind = words.nth(1);
    matches!(kind, Some("evm" | "tron")) && words.next().is_some_and(|id| id.parse::<u64>().is_ok())
}

/// A line, taken apart.
struct ChainLine {
    name: String,
    kind: ChainKind,
    chain_id: u64,
    /// As they are written.
    endpoints: Vec<String>,
    quorum: Option<u64>,
    depth: Option<u64>,
    poll: Option<u64>,
    timeout: Option<u64>,
}

/// A piece of a line.
enum Word<'a> {
    Plain(&'a str),
    Quoted(&'a str),
}

impl ChainLine {
    fn parse(line: &str) -> eyre::Result<Self> {
        let [name, kind, chain_id, rest] = head(line).ok_or_else(|| eyre!("a line of words is missing: {FORM}"))?;
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(name.len() <= 32 && name.chars().all(good), "a root chain's name is letters, digits, - and _: {FORM}");
        let kind = match kind {
            "evm" => ChainKind::Evm,
            "tron" => ChainKind::Tron,
            _ => bail!("the root chain {name:?} is neither evm nor tron: {FORM}"),
        };
        let chain_id = chain_id.parse().map_err(|_| eyre!("the id of the root chain {name:?} is no number: {FORM}"))?;
        let (name, endpoints) = (name.to_owned(), Vec::new());
        let mut chain = Self { name, kind, chain_id, endpoints, quorum: None, depth: None, poll: None, timeout: None };
        for item in items(rest)? {
            match item {
                Word::Plain(word) => match option(word) {
                    Some((option, value)) => *chain.option(option)? = Some(value),
                    None => chain.endpoints.push(word.to_owned()),
                },
                Word::Quoted(word) => chain.endpoints.push(word.to_owned()),
            }
        }
        ensure!(!chain.endpoints.is_empty(), "the root chain {:?} has no endpoint: {FORM}", chain.name);
        Ok(chain)
    }

    fn option(&mut self, name: &str) -> eyre::Result<&mut Option<u64>> {
        Ok(match name {
            "quorum" => &mut self.quorum,
            "depth" => &mut self.depth,
            "poll" => &mut self.poll,
            "timeout" => &mut self.timeout,
            _ => bail!("the root chain {:?} has an option that there is not: {FORM}", self.name),
        })
    }

    fn shown(&self) -> String {
        let kind = match self.kind {
            ChainKind::Evm => "evm",
            ChainKind::Tron => "tron",
        };
        let mut words = vec![self.name.clone(), kind.to_owned(), self.chain_id.to_string()];
        words.extend(self.endpoints.iter().map(|text| shown_endpoint(text)));
        let options = [("quorum", self.quorum), ("depth", self.depth), ("poll", self.poll), ("timeout", self.timeout)];
        words.extend(options.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))));
        words.join(" ")
    }
}

/// The first three words and the rest.
fn head(line: &str) -> Option<[&str; 4]> {
    let (name, rest) = line.trim().split_once(char::is_whitespace)?;
    let (kind, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (chain_id, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some([name, kind, chain_id, rest])
}

/// `name=number`, where that is what it is. A word of another form is an endpoint, and refused there if it is none.
fn option(word: &str) -> Option<(&str, u64)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
    is_name.then_some(())?;
    Some((name, value.parse().ok()?))
}

fn begins_item(word: &str) -> bool {
    word.starts_with('"')
        || word.starts_with("http://")
        || word.starts_with("https://")
        || secrets::reference(word).is_some()
        || option(word).is_some()
}

/// Endpoints, with the whole of their headers, and options.
fn items(text: &str) -> eyre::Result<Vec<Word<'_>>> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (item, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (word, after) =
                    quoted.split_once('"').ok_or_else(|| eyre!("a double quote of a root chain has no end: {FORM}"))?;
                (Word::Quoted(word), after)
            }
            None => {
                let (word, after) = rest.split_at(plain_length(rest));
                (Word::Plain(word.trim_end()), after)
            }
        };
        items.push(item);
        rest = after.trim_start();
    }
    Ok(items)
}

/// Length of a word; with a header, of all words up to the next item.
fn plain_length(text: &str) -> usize {
    let word = |from: &str| from.find(char::is_whitespace).unwrap_or(from.len());
    let mut length = word(text);
    let (first, _) = text.split_at(length);
    if !first.contains('|') {
        return length;
    }
    // What follows the colon is the value, also when it looks like a reference or an address.
    let mut needs_value = first.ends_with(':') || first.ends_with('|');
    loop {
        let (_, after) = text.split_at(length);
        let next = after.trim_start();
        let end = word(next);
        let (value, _) = next.split_at(end);
        if value.is_empty() || (!needs_value && begins_item(value)) {
            return length;
        }
        needs_value = value.ends_with(':') && needs_value;
        length += after.len() - next.len() + end;
    }
}

/// The address of a node, or a reference to where it stands.
///
/// # Errors
/// With what is wrong.
pub(crate) fn node_address(text: &str) -> eyre::Result<EndpointAddress> {
    endpoint_text(text)?.parse().wrap_err("the address of the node")
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
