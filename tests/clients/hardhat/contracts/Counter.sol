// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

contract Counter is Ownable {
    error TooMuch(uint256 asked, uint256 most);

    event Counted(address indexed by, uint256 value);

    uint256 public constant MOST = 100;
    uint256 public value;

    constructor(uint256 start) Ownable(msg.sender) {
        value = start;
    }

    function add(uint256 more) external payable {
        require(value + more <= MOST, TooMuch(value + more, MOST));
        value += more;
        emit Counted(msg.sender, value);
    }

    function empty(address payable to) external onlyOwner {
        (bool done,) = to.call{value: address(this).balance}("");
        require(done, "refused");
    }
}
