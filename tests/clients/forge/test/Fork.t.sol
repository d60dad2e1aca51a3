// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Caller, Counter} from "../src/Contracts.sol";
import {vm} from "../src/Vm.sol";

/// Runs on a copy of the network, after `Deploy`.
contract ForkTest {
    Counter private counter = Counter(vm.envAddress("COUNTER"));
    Caller private caller = Caller(vm.envAddress("CALLER"));

    function test_state_of_the_network_is_there() external view {
        require(block.chainid == vm.envUint("CHAIN_ID"), "chain id");
        require(address(caller.counter()) == address(counter), "immutable");
        require(counter.value() == vm.envUint("VALUE"), "value");
        require(vm.envAddress("RICH").balance > 1 ether, "balance");
    }

    function test_calls_change_the_copy() external {
        uint256 before = counter.value();
        vm.prank(vm.envAddress("RICH"));
        caller.addTwice(4);
        require(counter.value() == before + 8, "counted");
    }

    function test_older_blocks_are_there() external {
        vm.rollFork(vm.envUint("BEFORE"));
        require(address(counter).code.length == 0, "not deployed yet");
    }
}
