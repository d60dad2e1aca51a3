//! Amounts of BTT as people write and read them.

use alloy_primitives::U256;
pub(crate) use bttc_genesis::format_btt as btt;
use std::str::FromStr;

/// Digits after the point of one BTT.
const DECIMALS: usize = 18;

/// An amount that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// So many wei.
    Wei(U256),
    /// Everything there is.
    All,
}

impl Amount {
    /// The wei, with the largest number for everything, as the staking module has it.
    pub(crate) fn or_all(self) -> U256 {
        match self {
            Self::Wei(wei) => wei,
            Self::All => U256::MAX,
        }
    }

    /// The wei.
    ///
    /// # Errors
    /// When `all` has no meaning here.
    pub(crate) fn wei(self) -> eyre::Result<U256> {
        match self {
            Self::Wei(wei) => Ok(wei),
            Self::All => Err(eyre::eyre!("`all` has no meaning here: write an amount")),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no amount: write BTT like 1000 or 0.5, or wei like 10wei");
        if text == "all" {
            return Ok(Self::All);
        }
        // Not commas: half the world writes 0,5 for a half.
        let clean: String = text.chars().filter(|c| *c != '_').collect();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let wei = if let Some(wei) = clean.strip_suffix("wei") {
            let wei = wei.trim();
            digits(wei).then(|| wei.to_owned())
        } else {
            let clean = clean.strip_suffix("BTT").unwrap_or(&clean).trim();
            let (whole, part) = clean.split_once('.').unwrap_or((clean, "0"));
            if part.len() > DECIMALS {
                return Err(format!("{text:?} has more than {DECIMALS} digits after the point"));
            }
            (digits(whole) && digits(part)).then(|| format!("{whole}{part:0<DECIMALS$}"))
        };
        U256::from_str_radix(&wei.ok_or_else(wrong)?, 10).map(Self::Wei).map_err(|_| wrong())
    }
}

/// A share that was typed in percent, kept in 1/10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u16);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no share: write percent like 5 or 2.25, at most two digits after the point");
        let clean = text.trim().trim_end_matches('%').trim();
        let (whole, part) = clean.split_once('.').unwrap_or((clean, "0"));
        let digits = |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(wrong());
        }
        let points: u32 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
        // What is above a hundred is refused by who is asked, with the reason.
        u16::try_from(points).map(Self).map_err(|_| wrong())
    }
}

/// `2.5 %` from 1/10,000.
pub(crate) fn percent(points: u64) -> String {
    let text = format!("{}.{:02}", points / 100, points % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_are_written() {
        let one = U256::from(10u64).pow(U256::from(18));
        for (text, wei, shown) in [
            ("1", one, "1 BTT"),
            ("1_000_000.5", one * U256::from(1_000_000u64) + one / U256::from(2), "1,000,000.5 BTT"),
            ("0.000000000000000001 BTT", U256::ONE, "0.000000000000000001 BTT"),
            ("123456wei", U256::from(123_456), "0.000000000000123456 BTT"),
            ("0", U256::ZERO, "0 BTT"),
        ] {
            assert_eq!(text.parse(), Ok(Amount::Wei(wei)), "{text}");
            assert_eq!(btt(wei), shown);
        }
        assert_eq!("all".parse(), Ok(Amount::All));
        for wrong in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e18",
            "1.0000000000000000001",
            "0x10",
            "1 000",
            "wei",
            "1.5wei",
            "0,5",
            "1,000",
        ] {
            assert!(wrong.parse::<Amount>().is_err(), "{wrong}");
        }
        let huge = format!("1{}", "0".repeat(70));
        assert!(huge.parse::<Amount>().is_err());
    }

    #[test]
    fn shares_are_percent() {
        for (text, points, shown) in
            [("5", 500, "5 %"), ("2.25%", 225, "2.25 %"), ("0.1", 10, "0.1 %"), ("101", 10_100, "101 %")]
        {
            assert_eq!(text.parse(), Ok(Share(points)), "{text}");
            assert_eq!(percent(u64::from(points)), shown);
        }
        for wrong in ["", "%", "2.255", "-1", "999999", "a", "1.", "66000"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
