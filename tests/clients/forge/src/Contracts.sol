// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// A counter that says so when it counts.
contract Counter {
    event Counted(address indexed by, uint256 value);

    error Refused(uint256 got);

    uint256 public value;

    function add(uint256 amount) external returns (uint256) {
        if (amount > 100) revert Refused(amount);
        value += amount;
        emit Counted(msg.sender, value);
        return value;
    }
}

/// Counts elsewhere.
contract Caller {
    Counter public immutable counter;

    constructor(Counter counter_) {
        counter = counter_;
    }

    function addTwice(uint256 amount) external {
        counter.add(amount);
        counter.add(amount);
    }
}
