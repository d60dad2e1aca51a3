//! Lines of root chains: right ones, wrong ones, and what is said of them.

use super::*;

const CANARY: &str = "canary5ecret";

/// What people read of a line, right or wrong.
fn said(result: eyre::Result<ChainSettings>) -> String {
    result.map_or_else(|error| format!("{error:#}"), |settings| format!("{settings:?}"))
}

fn endpoints(line: &str) -> Vec<String> {
    let settings = chain_settings(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
    settings.quorum.endpoints.iter().map(ToString::to_string).collect()
}

#[test]
fn lines_have_endpoints_and_options() {
    let settings = chain_settings("bsc evm 56 http://a:1 http://b:1?x=1 http://c:1 poll=500").unwrap();
    assert_eq!((settings.quorum.quorum, settings.quorum.extra_depth), (2, 34));
    assert_eq!(settings.quorum.endpoints.len(), 3);
    assert_eq!(settings.poll, Duration::from_millis(500));
    for bad in [
        "",
        "bsc evm",
        "bsc evm x http://a",
        "bsc btc 56 http://a",
        "bsc evm 56",
        "bsc evm 56 http://a quorum=2",
        "bsc evm 56 http://a color=2",
        "bsc evm 56 ftp://a",
        "bsc evm 56 \"http://a",
        "bsc evm 56 http://a|",
        "bsc evm 56 http://a|x-key",
    ] {
        assert!(chain_settings(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn headers_may_hold_blanks_and_commas() {
    for line in [
        "e evm 1 https://h|Authorization: Bearer X, y=z quorum=1",
        "e evm 1 https://h|Authorization: Bearer X, y=z quorum=1 poll=20 depth=3",
        "e evm 1 https://h|Authorization:Bearer X, y=z quorum=1",
        "e evm 1 \"https://h|Authorization: Bearer X, y=z\" quorum=1",
    ] {
        let direct: EndpointAddress = "https://h|Authorization: Bearer X, y=z".parse().unwrap();
        let settings = chain_settings(line).unwrap();
        assert_eq!(settings.quorum.endpoints, [direct], "{line}");
        assert_eq!(settings.quorum.quorum, 1, "{line}");
    }
    let line = "e evm 1 https://h/v2|x-api-key: topsecret https://other|A: b c \"https://third|D: quorum=3 https://x\" quorum=2";
    assert_eq!(endpoints(line), ["https://h/…|x-api-key: …", "https://other|a: …", "https://third|d: …"]);
    assert_eq!(chain_settings(line).unwrap().quorum.quorum, 2);
}

#[test]
fn lists_of_chains_are_split_at_chains() {
    let first = "ethereum evm 1 https://h|x-key: a,b quorum=1";
    let second = "tron tron 728126428 \"https://t|K: x, y evm 5\"";
    assert_eq!(split_chains(&format!("{first},{second}")), [first, second]);
    assert_eq!(split_chains(&format!(" {first} , {second},")), [first, second]);
    assert_eq!(split_chains(first), [first]);
    assert!(split_chains(" ").is_empty());
}

#[test]
fn values_may_be_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let whole = path("whole", "https://h/v2/KEY|Authorization: Bearer X\n");
    let value = path("value", "Bearer X\n");
    let place = path("place", "https://h/v2/KEY\n");
    let direct: EndpointAddress = "https://h/v2/KEY|Authorization: Bearer X".parse().unwrap();
    for line in [
        format!("e evm 1 file:{whole}"),
        format!("e evm 1 https://h/v2/KEY|Authorization: file:{value}"),
        format!("e evm 1 https://h/v2/KEY|Authorization: file:{value} quorum=1 poll=20"),
        format!("e evm 1 \"https://h/v2/KEY|Authorization:file:{value}\""),
        format!("e evm 1 file:{place}|Authorization: file:{value}"),
        format!("e evm 1 file:{place}|Authorization: Bearer X quorum=1"),
    ] {
        assert_eq!(chain_settings(&line).unwrap().quorum.endpoints, std::slice::from_ref(&direct), "{line}");
    }
    // The environment of a test belongs to all tests: one that is always there, and is no address.
    let said = format!("{:#}", chain_settings("e evm 1 env:PATH").unwrap_err());
    assert!(said.contains("https://host") && !said.contains(&std::env::var("PATH").unwrap()), "{said}");
    for (line, word) in [
        ("e evm 1 env:BTTC_NO_SUCH_VARIABLE", "BTTC_NO_SUCH_VARIABLE"),
        ("e evm 1 file:/no/such/file", "/no/such/file"),
        ("e evm 1 https://h|A: env:BTTC_NO_SUCH_VARIABLE", "BTTC_NO_SUCH_VARIABLE"),
        ("e evm 1 env:BTTC_NO_SUCH_VARIABLE|A: KEY", "BTTC_NO_SUCH_VARIABLE is not set"),
        ("e evm 1 env:BTTC-NO-SUCH", "letters, digits and _"),
    ] {
        let said = format!("{:#}", chain_settings(line).unwrap_err());
        assert!(said.contains(word), "{said}");
    }
    let said = format!("{:#}", chain_settings(&format!("e evm 1 file:{whole}|A: KEY")).unwrap_err());
    assert!(said.contains("one header"), "{said}");
}

#[test]
fn nothing_that_is_said_or_shown_holds_a_secret() {
    let lines = [
        "e evm 1 https://CANARY:CANARY@h/v2/CANARY?key=CANARY|Authorization: Bearer CANARY quorum=1",
        "e evm 1 https://h|x: CANARY quorum=5",
        "e evm 1 https://h|CANARY",
        "e evm 1 https//user:CANARY@h",
        "e evm 1 ftp://CANARY@h",
        "e evm 1 h|x: CANARY",
        "e evm 1 CANARY=1",
        "e evm 1 CANARY=CANARY",
        "e evm 1 https://h?key=CANARY colour=3",
        "e evm CANARY https://h",
        "e CANARY 1 https://h",
        "https://CANARY@h evm 1",
        "CANARY@h evm 1 https://h",
        "https://CANARY",
        "e evm 1 \"https://h|x: CANARY",
        "e evm 1 https://h|a b: CANARY",
        "e evm 1 https://h:port/CANARY",
        "e evm 1 https://us er:CANARY@h",
        "e evm 1 env:NAME|x: CANARY",
        "e evm 1 \"env:NAME|Authorization: Bearer CANARY\"",
        "e evm 1 file:/nowhere|x: CANARY",
        "e evm 1 env:CANARY/CANARY",
    ];
    for line in lines {
        let line = line.replace("CANARY", CANARY);
        for text in [said(chain_settings(&line)), shown(&line)] {
            assert!(!text.contains(CANARY), "{line} gives {text}");
        }
    }
    let line = format!("e evm 1 https://u:{CANARY}@h/{CANARY}|A: {CANARY} https://h2 quorum=1");
    assert_eq!(shown(&line), "e evm 1 https://h/…|a: … https://h2 quorum=1");
    assert_eq!(shown("e evm 1 env:NAME"), "e evm 1 env:NAME");
    assert_eq!(shown("e evm 1 env:NAME|A: KEY quorum=1"), "e evm 1 env:NAME|… quorum=1");
}
