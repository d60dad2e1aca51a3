// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// Something of everything that a wallet library asks a node for.
contract Probe {
    event Stored(address indexed by, uint256 indexed key, string text);

    error TooLarge(uint256 got, uint256 limit);

    mapping(uint256 => string) private texts;
    uint256 public count;

    function store(uint256 key, string calldata text) external {
        texts[key] = text;
        count += 1;
        emit Stored(msg.sender, key, text);
    }

    function read(uint256 key) external view returns (string memory) {
        return texts[key];
    }

    function failWithText() external pure {
        revert("nothing to see here");
    }

    function failWithError(uint256 got) external pure {
        if (got > 10) revert TooLarge(got, 10);
    }
}
