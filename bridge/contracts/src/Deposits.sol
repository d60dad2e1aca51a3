// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Digests} from "./Digests.sol";
import {GatewayStorage} from "./GatewayStorage.sol";

/// @notice Coins and tokens on their way to BTTC. Each deposit has the next number and extends a running hash, so that
/// nobody can leave one out, change one or invent one.
abstract contract Deposits is GatewayStorage {
    function deposit(address token, uint256 amount, address recipient) external nonReentrant {
        if (token == NATIVE_COIN) revert NotMapped(token);
        _pull(token, amount);
        _record(token, amount, recipient);
    }

    function depositNative(address recipient) external payable nonReentrant {
        _record(NATIVE_COIN, msg.value, recipient);
    }

    /// @notice Adds to what can be paid out, and credits nobody: coins that circulate on BTTC from its first block, or what a
    /// loss left open. Anyone may.
    function fund(address token, uint256 amount) external payable nonReentrant {
        if (msg.value != (token == NATIVE_COIN ? amount : 0)) revert TransferFailed();
        if (token != NATIVE_COIN) _pull(token, amount);
        _lock(token, amount);
        emit Funded(token, msg.sender, amount);
    }

    function _pull(address token, uint256 amount) private {
        uint256 before = IERC20(token).balanceOf(address(this));
        // USDT on Ethereum returns nothing; what counts is what arrived.
        (bool ok,) = token.call(abi.encodeCall(IERC20.transferFrom, (msg.sender, address(this), amount)));
        if (!ok) revert TransferFailed();
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert FeeOnTransfer(amount, received);
    }

    function _lock(address token, uint256 amount) private {
        TokenState storage state = states[token];
        if (amount > type(uint112).max || state.locked + amount > type(uint112).max) revert AmountTooLarge(amount);
        state.locked += uint112(amount);
    }

    function _record(address token, uint256 amount, address recipient) private {
        Status memory s = status;
        if (s.frozen) revert IsFrozen();
        if (s.pausedUntil > _now()) revert IsPaused();
        // What comes in while nothing can go out might have to wait for a recovery.
        if (_now() > s.setExpiresAt) revert SetExpired();
        TokenConfig memory config = tokens[token];
        if (!config.mapped) revert NotMapped(token);
        if (recipient == address(0)) revert ZeroAddress();
        if (amount < config.minimum) revert AmountTooSmall(amount, config.minimum);
        _lock(token, amount);
        uint64 nonce = ++counters.depositCount;
        bytes32 hash = keccak256(
            abi.encode(
                Digests.DEPOSIT_TYPE,
                BRIDGE_ID,
                ROOT_CHAIN_ID,
                address(this),
                nonce,
                token,
                msg.sender,
                recipient,
                amount
            )
        );
        bytes32 acc = keccak256(abi.encode(depositAcc, hash));
        depositAcc = acc;
        emit Deposit(nonce, token, msg.sender, recipient, amount, acc);
    }
}
