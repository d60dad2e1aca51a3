// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// As much of a token as an indexer follows.
contract Token {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) public balanceOf;

    constructor(uint256 supply) {
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    /// Several at once: several logs of one transaction.
    function spread(address[] calldata to, uint256 value) external {
        for (uint256 i; i < to.length; ++i) this.pull(msg.sender, to[i], value);
    }

    function pull(address from, address to, uint256 value) external {
        require(msg.sender == address(this), "not for others");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}
