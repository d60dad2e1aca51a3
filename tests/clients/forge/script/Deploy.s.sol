// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Caller, Counter} from "../src/Contracts.sol";
import {vm} from "../src/Vm.sol";

contract Deploy {
    function run() external returns (Counter counter, Caller caller) {
        vm.startBroadcast();
        counter = new Counter();
        caller = new Caller(counter);
        caller.addTwice(21);
        vm.stopBroadcast();
        require(counter.value() == 42, "not counted");
    }
}

/// Forge sends what has a salt through the deterministic deployer.
contract Salted {
    function run() external returns (Counter counter) {
        vm.startBroadcast();
        counter = new Counter{salt: vm.envBytes32("SALT")}();
        vm.stopBroadcast();
    }
}
