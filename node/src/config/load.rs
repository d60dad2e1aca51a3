//! Reading the configuration: defaults, then the file, then the environment, then flags. Every key of the file is also a flag
//! (`--rpc.listen`) and an environment variable (`BTTC_RPC_LISTEN`); unknown keys are refused.

use super::Config;
use crate::bridge::split_chains;
use bttc_root_chains::redact;
use clap::parser::ValueSource;
use eyre::{Context, bail, eyre};
use std::path::Path;

/// All keys with their default values, as `section.key`.
fn leaves() -> Vec<(String, toml::Value)> {
    let mut leaves = Vec::new();
    if let Ok(toml::Value::Table(sections)) = toml::Value::try_from(Config::default()) {
        for (section, values) in sections {
            if let toml::Value::Table(values) = values {
                leaves.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
        }
    }
    leaves
}

fn variable(key: &str) -> String {
    format!("BTTC_{}", key.replace('.', "_").to_uppercase())
}

/// Adds a flag and an environment variable for each key.
pub(crate) fn add_flags(command: clap::Command) -> clap::Command {
    leaves().into_iter().fold(command, |command, (key, value)| {
        let shown = match &value {
            toml::Value::Array(_) => "LIST".to_owned(),
            toml::Value::Integer(_) => "NUMBER".to_owned(),
            toml::Value::Boolean(_) => "BOOL".to_owned(),
            _ => "TEXT".to_owned(),
        };
        let help = format!("Configuration key {key} (default {value})");
        command.arg(
            clap::Arg::new(key.clone())
                .long(key.clone())
                .env(variable(&key))
                .hide_env_values(true)
                .value_name(shown)
                .help(help)
                .help_heading("Configuration"),
        )
    })
}

/// Puts the configuration together.
///
/// # Errors
/// With what is wrong, without the values: they may be secret.
pub(crate) fn load(file: &Path, matches: Option<&clap::ArgMatches>) -> eyre::Result<Config> {
    let mut root = if file.exists() {
        let text = std::fs::read_to_string(file).wrap_err_with(|| format!("cannot read {}", file.display()))?;
        toml::from_str::<toml::Table>(&text).map_err(|error| eyre!("{}", place_of(file, &text, &error)))?
    } else {
        toml::Table::new()
    };
    if let Some(matches) = matches {
        for (key, default) in leaves() {
            let given = matches!(matches.value_source(&key), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
            let Some(text) = matches.get_one::<String>(&key).filter(|_| given) else { continue };
            let value = parse(&key, &default, text).wrap_err_with(|| format!("--{key}"))?;
            let (section, name) = key.split_once('.').ok_or_else(|| eyre!("{key} has no section"))?;
            let table = root.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(table) = table.as_table_mut() else { bail!("{section} is not a section") };
            table.insert(name.to_owned(), value);
        }
    }
    toml::Value::Table(root)
        .try_into()
        .map_err(|error: toml::de::Error| eyre!(without_value(error.message())))
        .wrap_err_with(|| format!("the configuration ({} with environment and flags) is wrong", file.display()))
}

/// Where a file does not parse. The library's own text would show the whole line.
fn place_of(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("{} does not parse, at line {line}: {}", file.display(), without_value(error.message()))
}

/// A message without the text that has the wrong type.
fn without_value(message: &str) -> String {
    let value = message.find("string \"").zip(message.rfind('"'));
    let clean = match value.and_then(|(begin, end)| message.get(..begin).zip(message.get(end + 1..))) {
        Some((before, after)) => format!("{before}a text{after}"),
        None => message.to_owned(),
    };
    redact(&clean)
}

/// A value of the same type as the default. Lists have commas between their entries, or are written as in the file: `["a", "b"]`.
fn parse(key: &str, default: &toml::Value, text: &str) -> eyre::Result<toml::Value> {
    Ok(match default {
        toml::Value::Integer(_) => toml::Value::Integer(
            text.replace('_', "").parse().wrap_err_with(|| format!("{text:?} is no whole number"))?,
        ),
        toml::Value::Boolean(_) => {
            toml::Value::Boolean(text.parse().wrap_err_with(|| format!("{text:?} is neither true nor false"))?)
        }
        toml::Value::Array(_) if text.trim_start().starts_with('[') => {
            let written = toml::from_str::<toml::Table>(&format!("list = {text}"));
            written.ok().and_then(|mut table| table.remove("list")).ok_or_else(|| eyre!("the list does not parse"))?
        }
        toml::Value::Array(_) => {
            let items = match key {
                "bridge.chains" => split_chains(text),
                _ => text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
            };
            toml::Value::Array(items.into_iter().map(toml::Value::String).collect())
        }
        _ => toml::Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(arguments: &[&str]) -> clap::ArgMatches {
        add_flags(clap::Command::new("test")).get_matches_from([&["test"], arguments].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[rpc]\nlisten = \"127.0.0.1:1\"\nmax_batch = 7\n").unwrap();
        let config = load(&file, Some(&matches(&["--rpc.listen", "127.0.0.1:2", "--rpc.cors", "a, b"]))).unwrap();
        assert_eq!((config.rpc.listen.as_str(), config.rpc.max_batch), ("127.0.0.1:2", 7));
        assert_eq!(config.rpc.cors, ["a", "b"]);
        std::fs::write(&file, "[rpc]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:#}", load(&file, None).unwrap_err());
        assert!(error.contains("listen_on"), "{error}");
        assert!(load(&file, Some(&matches(&["--rpc.max_batch", "many"]))).is_err());
    }

    #[test]
    fn the_default_configuration_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn chains_are_given_as_flags_with_commas_in_their_headers_and_shown_without_keys() {
        let file = Path::new("/no/such/file");
        let line = "ethereum evm 1 https://u:canary@h/canary|Authorization: Bearer canary, x quorum=1";
        let other = "tron tron 728126428 http://t:1";
        let toml = format!("[{line:?}, {other:?}]");
        for given in [format!("{line}, {other}"), toml] {
            let config = load(file, Some(&matches(&["--bridge.chains", &given]))).unwrap();
            assert_eq!(config.bridge.chains, [line, other]);
            assert_eq!(config.bridge.settings().unwrap().len(), 2);
            let shown = config.shown().unwrap();
            assert!(!shown.contains("canary"), "{shown}");
            assert!(shown.contains("ethereum evm 1 https://h/…|authorization: … quorum=1"), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        for text in [
            "[bridge]\nchains = \"ethereum evm 1 https://canary@h|x: canary\"\n",
            "[bridge]\nchains = [\"ethereum evm 1 https://canary@h|x: \"canary\"\"]\n",
            "[bridge]\nchains = [\"ethereum evm 1 https://canary@h|x: canary\n",
            "[bridge]\nchains = { a = \"canary\" }\n",
            "[bridge]\nchains = \"https//canary@h \\\" x\"\n",
        ] {
            std::fs::write(&file, text).unwrap();
            let said = format!("{:#}", load(&file, None).unwrap_err());
            assert!(!said.contains("canary"), "{text} gives {said}");
            assert!(said.contains("config.toml"), "{said}");
        }
        let said = format!("{:#}", load(&file, Some(&matches(&["--bridge.chains", "[canary"]))).unwrap_err());
        assert!(!said.contains("canary"), "{said}");
    }
}
