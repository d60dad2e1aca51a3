// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A plain token for local networks.
contract PlainToken is ERC20 {
    uint8 private immutable DECIMALS;

    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 supply) ERC20(name_, symbol_) {
        DECIMALS = decimals_;
        _mint(msg.sender, supply);
    }

    function decimals() public view override returns (uint8) {
        return DECIMALS;
    }
}

/// @notice Takes one per cent of every transfer.
contract FeeToken is PlainToken {
    constructor(string memory n, string memory s, uint8 d, uint256 supply) PlainToken(n, s, d, supply) {}

    function _update(address from, address to, uint256 value) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : value / 100;
        if (fee != 0) super._update(from, address(0), fee);
        super._update(from, to, value - fee);
    }
}

/// @notice A token that can refuse a holder.
contract BlacklistToken is PlainToken {
    mapping(address => bool) public refused;

    constructor(string memory n, string memory s, uint8 d, uint256 supply) PlainToken(n, s, d, supply) {}

    function refuse(address who, bool yes) external {
        refused[who] = yes;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!refused[from] && !refused[to], "refused");
        super._update(from, to, value);
    }
}

/// @notice What old tokens have in common: balances without OpenZeppelin's return values.
abstract contract OldToken {
    string public name;
    string public symbol;
    uint8 public decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 supply) {
        (name, symbol, decimals, totalSupply) = (name_, symbol_, decimals_, supply);
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    function _move(address from, address to, uint256 value) internal {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// @notice As USDT on Ethereum: nothing is returned, and an allowance must be zero before it is set.
contract NoReturnToken is OldToken {
    constructor(string memory n, string memory s, uint8 d, uint256 supply) OldToken(n, s, d, supply) {}

    function approve(address spender, uint256 value) external {
        require(value == 0 || allowance[msg.sender][spender] == 0, "set it to zero first");
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
    }
}

/// @notice As USDT on TRON: `transfer` says false when it succeeds.
contract FalseReturnToken is OldToken {
    constructor(string memory n, string memory s, uint8 d, uint256 supply) OldToken(n, s, d, supply) {}

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return false;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
        return true;
    }
}
