//! The storage layout against the Solidity compiler's own, and the ABI files against the interfaces.

use bttc_modules::bridge::records as bridge;
use bttc_modules::governance::records::{Governance, Pool, Proposal, Upgrade, Vote};
use bttc_modules::interfaces::{IBridge, IBtt, IGovernance, IRewards, IStaking, IWrapped};
use bttc_modules::rewards::Rewards;
use bttc_modules::slashing::Signing;
use bttc_modules::staking::records::{Delegation, SetRecord, Staking, Unbonding, Validator};
use bttc_modules::storage::Field;
use bttc_modules::wrapped::Wrapped;
use std::path::{Path, PathBuf};
use std::process::Command;

fn structs() -> Vec<(&'static str, Vec<Field>)> {
    // A struct comes after those that it contains.
    vec![
        ("Pool", Pool::fields()),
        ("Vote", Vote::fields()),
        ("Upgrade", Upgrade::fields()),
        ("Proposal", Proposal::fields()),
        ("Governance", Governance::fields()),
        ("Signing", Signing::fields()),
        ("Rewards", Rewards::fields()),
        ("Validator", Validator::fields()),
        ("Delegation", Delegation::fields()),
        ("Unbonding", Unbonding::fields()),
        ("SetRecord", SetRecord::fields()),
        ("Staking", Staking::fields()),
        ("BridgeSetRecord", bridge::BridgeSetRecord::fields()),
        ("Token", bridge::Token::fields()),
        ("TreeRecord", bridge::TreeRecord::fields()),
        ("Boundary", bridge::Boundary::fields()),
        ("Parked", bridge::Parked::fields()),
        ("CommandRecord", bridge::CommandRecord::fields()),
        ("DestRecord", bridge::DestRecord::fields()),
        ("CheckpointRecord", bridge::CheckpointRecord::fields()),
        ("Accusation", bridge::Accusation::fields()),
        ("Applied", bridge::Applied::fields()),
        ("Attesting", bridge::Attesting::fields()),
        ("Gateway", bridge::Gateway::fields()),
        ("Bridge", bridge::Bridge::fields()),
        ("Wrapped", Wrapped::fields()),
    ]
}

/// The same variables in Solidity. `struct X` in a type is `X` where Solidity declares a variable of it.
fn solidity() -> String {
    let mut text = "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.20;\ncontract Layout {\n".to_owned();
    for (name, fields) in structs() {
        text.push_str(&format!("struct {name} {{\n"));
        for field in fields {
            text.push_str(&format!("  {} f_{};\n", field.kind.replace("struct ", ""), field.name));
        }
        text.push_str("}\n");
    }
    for (name, _) in structs() {
        text.push_str(&format!("{name} v_{name};\n"));
    }
    text.push_str("}\n");
    text
}

/// The compiler of the client tests, if it is installed.
fn solc() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/node_modules/solc");
    path.is_dir().then_some(path)
}

#[test]
fn variables_lie_where_solidity_puts_them() {
    let Some(solc) = solc() else {
        println!("skipped: the Solidity compiler is not installed (npm install in tests/clients)");
        return;
    };
    let input = serde_json::json!({
        "language": "Solidity",
        "sources": { "Layout.sol": { "content": solidity() } },
        "settings": { "outputSelection": { "*": { "*": ["storageLayout"] } } },
    });
    let script = "const s = require(process.argv[1]); const i = require('fs').readFileSync(0, 'utf8'); \
                  process.stdout.write(s.compile(i));";
    let mut child = Command::new("node")
        .args(["-e", script])
        .arg(&solc)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let output: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layout = &output["contracts"]["Layout.sol"]["Layout"]["storageLayout"];
    assert!(layout.is_object(), "{output}");
    let types = layout["types"].as_object().unwrap();
    for (name, fields) in structs() {
        let variable = format!("v_{name}");
        let entry = layout["storage"].as_array().unwrap().iter().find(|entry| entry["label"] == variable).unwrap();
        let members = types[entry["type"].as_str().unwrap()]["members"].as_array().unwrap();
        assert_eq!(members.len(), fields.len(), "{name}");
        for (member, field) in members.iter().zip(&fields) {
            assert_eq!(member["label"], format!("f_{}", field.name));
            assert_eq!(member["slot"].as_str().unwrap(), field.slot.to_string(), "{name}.{}", field.name);
            assert_eq!(member["offset"].as_u64().unwrap(), u64::from(field.offset), "{name}.{}", field.name);
        }
    }
}

#[test]
fn the_abi_files_are_those_of_the_interfaces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interfaces");
    let abis = [
        ("IStaking", serde_json::to_value(IStaking::abi::contract()).unwrap()),
        ("IRewards", serde_json::to_value(IRewards::abi::contract()).unwrap()),
        ("IGovernance", serde_json::to_value(IGovernance::abi::contract()).unwrap()),
        ("IBtt", serde_json::to_value(IBtt::abi::contract()).unwrap()),
        ("IBridge", serde_json::to_value(IBridge::abi::contract()).unwrap()),
        ("IWrapped", serde_json::to_value(IWrapped::abi::contract()).unwrap()),
    ];
    for (name, abi) in abis {
        let path = folder.join(format!("{name}.json"));
        let text = format!("{}\n", serde_json::to_string_pretty(&abi).unwrap());
        if std::env::var_os("BTTC_WRITE_ABI").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{} is not up to date: run this test with BTTC_WRITE_ABI=1", path.display());
    }
}
