// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Wrapped BTT: the chain's coin as an ERC-20 token, one for one
/// @notice Whoever sends coins gets as many tokens, and whoever gives tokens back gets the coins. Nobody has a special right,
/// and nothing can be changed. Name, symbol and decimals are constants, so that code alone, without storage, is a whole
/// contract: it is part of the genesis block.
contract WrappedBtt {
    string public constant name = "Wrapped BTT";
    string public constant symbol = "WBTT";
    uint8 public constant decimals = 18;

    mapping(address owner => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    event Transfer(address indexed src, address indexed dst, uint256 wad);
    event Approval(address indexed src, address indexed guy, uint256 wad);
    event Deposit(address indexed dst, uint256 wad);
    event Withdrawal(address indexed src, uint256 wad);

    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ERC20InvalidReceiver(address receiver);
    error PaymentRefused(address receiver);

    receive() external payable {
        deposit();
    }

    function deposit() public payable {
        // All balances together are at most all coins, which are far fewer than 2^256.
        unchecked {
            balanceOf[msg.sender] += msg.value;
        }
        emit Deposit(msg.sender, msg.value);
    }

    /// @notice Pays the caller `wad` coins for as many tokens.
    function withdraw(uint256 wad) external {
        _take(msg.sender, wad);
        emit Withdrawal(msg.sender, wad);
        // Last, as the receiver can call back. It may be a contract that needs more than 2300 gas.
        (bool paid,) = msg.sender.call{value: wad}("");
        if (!paid) revert PaymentRefused(msg.sender);
    }

    /// @notice The coins that are held here. Coins that came without a call, as those sent with the module at 0x1010 do, are
    /// among them, though no balance has them.
    function totalSupply() external view returns (uint256) {
        return address(this).balance;
    }

    /// @notice Lets `guy` take up to `wad` of the caller's tokens; the largest number is not used up.
    function approve(address guy, uint256 wad) external returns (bool) {
        allowance[msg.sender][guy] = wad;
        emit Approval(msg.sender, guy, wad);
        return true;
    }

    function transfer(address dst, uint256 wad) external returns (bool) {
        return _move(msg.sender, dst, wad);
    }

    /// @notice Takes tokens of `src`, who has approved the caller or is the caller.
    function transferFrom(address src, address dst, uint256 wad) external returns (bool) {
        if (src != msg.sender) {
            uint256 allowed = allowance[src][msg.sender];
            if (allowed != type(uint256).max) {
                if (allowed < wad) revert ERC20InsufficientAllowance(msg.sender, allowed, wad);
                unchecked {
                    allowance[src][msg.sender] = allowed - wad;
                }
            }
        }
        return _move(src, dst, wad);
    }

    function _move(address src, address dst, uint256 wad) private returns (bool) {
        // From neither could anybody ever get them back.
        if (dst == address(0) || dst == address(this)) revert ERC20InvalidReceiver(dst);
        _take(src, wad);
        // As in `deposit`.
        unchecked {
            balanceOf[dst] += wad;
        }
        emit Transfer(src, dst, wad);
        return true;
    }

    function _take(address src, uint256 wad) private {
        uint256 held = balanceOf[src];
        if (held < wad) revert ERC20InsufficientBalance(src, held, wad);
        unchecked {
            balanceOf[src] = held - wad;
        }
    }
}
