//! Where an endpoint is, kept apart from what gives access to it: everything that is shown goes through here.

use crate::Error;
use alloy_primitives::hex;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use std::fmt;
use std::str::FromStr;

/// What stands for something that is not shown.
const HIDDEN: &str = "…";
/// Shortest user, password, header or query value that is looked for in what an endpoint says; a shorter one is no secret, and would be found
/// everywhere.
const SHORTEST_WORD: usize = 4;
/// The same for a part of the path: `/v2/` and `/mainnet/` are none.
const SHORTEST_PATH: usize = 8;

/// The address of an endpoint: `https://host/path`, or `https://host/path|Header: value` with a header that carries a key. Shown without
/// user, password, path, query and the header's value: any of them may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointAddress {
    url: Url,
    header: Option<(HeaderName, HeaderValue)>,
}

impl FromStr for EndpointAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (url, header) = text.split_once('|').map_or((text, None), |(url, header)| (url, Some(header)));
        let url = Url::parse(url.trim()).map_err(|_| Error::BadAddress("it is no http or https address"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Error::BadAddress("it is no http or https address"));
        }
        let header = header.map(|text| {
            let (name, value) = text.split_once(':').ok_or(Error::BadAddress("after | it has no `Header: value`"))?;
            let name: HeaderName = name.trim().parse().map_err(|_| Error::BadAddress("the header's name is none"))?;
            let mut value: HeaderValue =
                value.trim().parse().map_err(|_| Error::BadAddress("the header's value is none"))?;
            if value.is_empty() {
                return Err(Error::BadAddress("the header has no value"));
            }
            value.set_sensitive(true);
            Ok((name, value))
        });
        Ok(Self { url, header: header.transpose()? })
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.url))?;
        match &self.header {
            Some((name, _)) => write!(f, "|{name}: {HIDDEN}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointAddress({self})")
    }
}

impl EndpointAddress {
    /// Where it is: scheme, host and port.
    pub(crate) fn place(&self) -> String {
        shown(&self.url)
    }

    /// The whole address, to be asked.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The header to be sent.
    pub(crate) const fn header(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.header.as_ref()
    }

    /// Everything that may be a key, the longest first: endpoints repeat in their answers what they were asked with.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut words = Vec::new();
        let password = self.url.password().unwrap_or_default();
        words.extend([self.url.username().to_owned(), password.to_owned()]);
        if !self.url.username().is_empty() || !password.is_empty() {
            let pair = format!("{}:{}", decoded(self.url.username()), decoded(password));
            words.push(base64(pair.as_bytes()));
        }
        words.extend(self.url.query_pairs().flat_map(|(name, value)| [name.into_owned(), value.into_owned()]));
        words.extend(self.url.query().unwrap_or_default().split(['&', '=']).map(str::to_owned));
        if let Some((_, value)) = &self.header {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            words.extend(value.split_whitespace().map(str::to_owned));
            words.push(value);
        }
        let parts = self.url.path().split('/').filter(|part| part.len() >= SHORTEST_PATH);
        words.extend(parts.map(str::to_owned));
        words.extend(words.clone().iter().map(|word| decoded(word)));
        words.retain(|word| word.len() >= SHORTEST_WORD);
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        words
    }
}

/// Text with every address in it shown as [`EndpointAddress`] is, and without what stands in a line after the `|` of an address. For
/// messages that quote what somebody has written.
pub fn redact(text: &str) -> String {
    text.split_inclusive('\n').map(redact_line).collect()
}

fn redact_line(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let (before, _) = rest.split_at(at);
        let begin = before.trim_end_matches(is_scheme).len();
        let (before, address) = rest.split_at(begin);
        out.push_str(before);
        let end = address.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        let address = address.trim_end_matches(['"', '\'', '`', ',', ';', ')', ':', '.']);
        out.push_str(&Url::parse(address).map_or_else(|_| "(an address)".to_owned(), |url| shown(&url)));
        if after.starts_with('|') {
            out.push('|');
            out.push_str(HIDDEN);
            rest = if line.ends_with('\n') { "\n" } else { "" };
        } else {
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Scheme, host and port, and whether there is more.
fn shown(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let rest = if url.path().len() > 1 || url.query().is_some() { "/…" } else { "" };
    format!("{}://{}{port}{rest}", url.scheme(), url.host_str().unwrap_or("?"))
}

/// Percent signs taken back.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) => {
                bytes.extend(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As user and password are sent.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let padded = chunk.iter().chain([0, 0].iter()).take(3).fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        for position in 0..4 {
            let index = (padded >> (18 - 6 * position)) & 63;
            let letter = LETTERS.get(index as usize).copied().unwrap_or(b'=');
            out.push(if position > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_credentials() {
        for (address, name) in [
            ("https://user:pass@host.example/v2/SECRET?key=1", "https://host.example/…"),
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://api.example|TRON-PRO-API-KEY: SECRET", "https://api.example|tron-pro-api-key: …"),
            ("https://api.example/x | Authorization: Bearer A, b=c", "https://api.example/…|authorization: …"),
        ] {
            let address: EndpointAddress = address.parse().unwrap();
            assert_eq!(address.to_string(), name);
            assert_eq!(format!("{address:?}"), format!("EndpointAddress({name})"));
        }
        for bad in [
            "ftp://canary",
            "canary:8545",
            "",
            "https://canary|no header",
            "https://canary|a b: c",
            "https://canary|a:",
        ] {
            let said = bad.parse::<EndpointAddress>().unwrap_err().to_string();
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn addresses_in_a_text_are_redacted() {
        for (text, shown) in [
            ("nothing", "nothing"),
            ("at https://u:p@h:1/KEY, and http://g", "at https://h:1/… and http://g"),
            ("string \"x evm 1 https://h/KEY\", expected", "string \"x evm 1 https://h/… expected"),
            ("https://h|Key: a b c https://h2/KEY\nnext", "https://h|…\nnext"),
            ("https://u:p|ass@h/KEY", "(an address)|…"),
            ("https://u:p\"ass@h/KEY end", "https://h/… end"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn everything_that_gives_access_is_known() {
        let address =
            "https://us%40er:pass%2Fword@h/v2/0123456789abcdef?apikey=K%20EY1&b=22|Authorization: Bearer TOKEN";
        let secrets = address.parse::<EndpointAddress>().unwrap().secrets();
        for word in [
            "us%40er",
            "us@er",
            "pass%2Fword",
            "pass/word",
            "0123456789abcdef",
            "K%20EY1",
            "K EY1",
            "Bearer TOKEN",
            "TOKEN",
            "dXNAZXI6cGFzcy93b3Jk",
        ] {
            assert!(secrets.iter().any(|secret| secret == word), "{word}: {secrets:?}");
        }
        assert!(secrets.iter().all(|secret| secret.len() >= SHORTEST_WORD), "{secrets:?}");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
