// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {PlainToken} from "../src/test-tokens/TestTokens.sol";
import {EvmGateway} from "../src/EvmGateway.sol";
import {IGateway} from "../src/IGateway.sol";
import {Base} from "./Base.sol";

/// Gas of what relayers pay for, kept in `snapshots/`. Costs of execution only; `scripts/bench` adds calldata.
contract GasTest is Base {
    function checkpoints(uint256 members, string memory name) internal {
        vm.warp(1_800_000_000);
        (seq, sideBlock) = (0, 0);
        Set memory set = makeSet(1, members, 10);
        gateway = deploy(set);
        for (uint64 i = 1; i < 70; ++i) {
            IGateway.Checkpoint memory cp = next(set, set.hash);
            IGateway.Dest[] memory dests = new IGateway.Dest[](3);
            dests[0] = IGateway.Dest(uint64(block.chainid), address(gateway), 1, keccak256(abi.encode(i)), i);
            dests[1] = IGateway.Dest(56, address(1), 1, keccak256(abi.encode(i)), i);
            dests[2] = IGateway.Dest(728126428, address(2), 1, keccak256(abi.encode(i)), i);
            gateway.submitCheckpoint(cp, dests, set.encoded, sign(set, digestOf(cp, dests), enough(set)));
        }
        vm.snapshotGasLastCall("gas", name);
    }

    function test_checkpoint_21() public {
        checkpoints(21, "checkpoint of 21 members");
    }

    function test_checkpoint_50() public {
        checkpoints(50, "checkpoint of 50 members");
    }

    function test_checkpoint_100() public {
        checkpoints(100, "checkpoint of 100 members");
    }

    function test_claims() public {
        vm.warp(1_800_000_000);
        Set memory set = makeSet(1, 4, 10);
        gateway = deploy(set);
        PlainToken token = new PlainToken("Plain", "PLN", 18, 1e30);
        token.approve(address(gateway), type(uint256).max);
        mapToken(set, address(token), 1e20);
        EvmGateway(address(gateway)).deposit(address(token), 1e20, address(5));
        Leaf memory a = Leaf(0, address(token), address(5), address(0xB0B), 1e18, 0);
        Leaf memory b = Leaf(1, address(token), address(5), address(0xB0B), 1e18, 0);
        (bytes32 root, bytes32[32] memory pa, bytes32[32] memory pb) = twoLeaves(hashOf(a), hashOf(b));
        submit(set, next(set, set.hash), dest(1, root, 2));
        claim(a, pa);
        vm.snapshotGasLastCall("gas", "claim, new holder and bitmap word");
        claim(b, pb);
        vm.snapshotGasLastCall("gas", "claim");
    }
}
