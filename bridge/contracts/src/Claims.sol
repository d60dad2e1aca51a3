// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Checkpoints} from "./Checkpoints.sol";
import {Digests} from "./Digests.sol";

/// @notice Payouts of what was burned on BTTC. The leaf's index is the key against replay, a bucket bounds what may leave in
/// a window, and large amounts wait.
abstract contract Claims is Checkpoints {
    /// Gas that a recipient of the native coin may use.
    uint256 internal constant NATIVE_GAS = 100_000;

    function claim(
        uint32 treeId,
        uint64 index,
        address token,
        address sender,
        address recipient,
        uint256 amount,
        uint256 relayerFee,
        bytes32[32] calldata proof
    ) external nonReentrant {
        _requireOpen();
        {
            bytes32 leaf = keccak256(
                abi.encode(
                    Digests.WITHDRAWAL_TYPE,
                    BRIDGE_ID,
                    ROOT_CHAIN_ID,
                    address(this),
                    treeId,
                    index,
                    token,
                    sender,
                    recipient,
                    amount,
                    relayerFee
                )
            );
            _requireRoot(treeId, Digests.fold(Digests.twice(leaf), index, proof));
            _markClaimed(treeId, index);
        }
        // The ledger has checked both; a certified leaf that breaks them must not be paid.
        if (amount > type(uint112).max || relayerFee >= amount) revert AmountTooLarge(amount);
        TokenState memory state = states[token];
        uint256 floor = tokens[token].floor;
        if (amount > _max(floor, state.locked / 100)) {
            uint64 availableAt = _now() + LARGE_DELAY;
            _store(treeId, index, token, recipient, availableAt, amount, relayerFee);
            emit Claimed(treeId, index, recipient, token, amount, 0);
            emit Delayed(treeId, index, availableAt);
            return;
        }
        uint256 paid = _take(token, state, floor, amount);
        uint256 fee = relayerFee < paid ? relayerFee : paid;
        if (paid < amount) _store(treeId, index, token, recipient, 0, amount - paid, relayerFee - fee);
        emit Claimed(treeId, index, recipient, token, amount, paid);
        _payBoth(token, recipient, paid - fee, msg.sender, fee);
    }

    /// @notice Pays what is left of a withdrawal, as far as the bucket reaches.
    function release(uint32 treeId, uint64 index) external nonReentrant {
        _requireOpen();
        bytes32 key = _pendingKey(treeId, index);
        Pending memory p = _pending[key];
        if (p.remaining == 0) revert NothingPending(treeId, index);
        if (_now() < p.availableAt) revert TooEarly(p.availableAt);
        uint256 paid = _take(p.token, states[p.token], tokens[p.token].floor, p.remaining);
        uint256 fee = p.feeRemaining < paid ? p.feeRemaining : paid;
        uint256 remaining = p.remaining - paid;
        if (remaining == 0) {
            delete _pending[key];
        } else {
            _pending[key].remaining = uint112(remaining);
            _pending[key].feeRemaining = uint112(p.feeRemaining - fee);
        }
        emit Released(treeId, index, paid, remaining);
        // To whoever calls: a claimer that cannot receive must not hold up the recipient.
        _payBoth(p.token, p.recipient, paid - fee, msg.sender, fee);
    }

    /// @notice What waits of a withdrawal.
    function pending(uint32 treeId, uint64 index) external view returns (Pending memory) {
        return _pending[_pendingKey(treeId, index)];
    }

    /// @notice Whether a withdrawal was claimed.
    function isClaimed(uint32 treeId, uint64 index) external view returns (bool) {
        return _trees[treeId].claimed[index >> 8] & (1 << (index & 0xff)) != 0;
    }

    /// @notice What the bucket of a token holds now for a transfer of this size.
    function available(address token, uint256 amount) external view returns (uint256) {
        (uint256 level, uint256 capacity) = _level(states[token], tokens[token].floor);
        return _for(amount, level, capacity);
    }

    function _requireOpen() private view {
        Status memory s = status;
        if (s.frozen) revert IsFrozen();
        if (s.pausedUntil > _now()) revert IsPaused();
    }

    /// The newest root nearly always; a claim that was prepared before the last checkpoints still counts.
    function _requireRoot(uint32 treeId, bytes32 root) private view {
        Tree storage t = _trees[treeId];
        if (root != 0) {
            if (root == t.last) return;
            uint256 position = t.position;
            for (uint256 back; back < RING && back <= position; ++back) {
                if (t.ring[(position - back) % RING] == root) return;
            }
        }
        revert UnknownRoot(root);
    }

    function _markClaimed(uint32 treeId, uint64 index) private {
        mapping(uint256 => uint256) storage words = _trees[treeId].claimed;
        uint256 word = words[index >> 8];
        uint256 bit = 1 << (index & 0xff);
        if (word & bit != 0) revert AlreadyClaimed(treeId, index);
        words[index >> 8] = word | bit;
    }

    function _pendingKey(uint32 treeId, uint64 index) private pure returns (bytes32) {
        return bytes32((uint256(treeId) << 64) | index);
    }

    function _store(
        uint32 treeId,
        uint64 index,
        address token,
        address recipient,
        uint64 availableAt,
        uint256 remaining,
        uint256 fee
    ) private {
        _pending[_pendingKey(treeId, index)] =
            Pending(token, availableAt, recipient, msg.sender, uint112(remaining), uint112(fee));
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    /// What a bucket holds and can hold.
    function _level(TokenState memory state, uint256 floor) private view returns (uint256 level, uint256 capacity) {
        capacity = _max(floor, state.locked / 10);
        level = state.level + capacity * (uint32(block.timestamp) - state.updated) / BUCKET_WINDOW;
        if (level > capacity) level = capacity;
    }

    /// A quarter is kept for transfers below a hundredth.
    function _for(uint256 amount, uint256 level, uint256 capacity) private pure returns (uint256) {
        uint256 kept = amount * 100 < capacity ? 0 : capacity / 4;
        uint256 free = level > kept ? level - kept : 0;
        return amount < free ? amount : free;
    }

    /// Takes as much of an amount as the bucket gives out of it and out of what is locked.
    function _take(address token, TokenState memory state, uint256 floor, uint256 amount) private returns (uint256 paid) {
        (uint256 level, uint256 capacity) = _level(state, floor);
        paid = _for(amount, level, capacity);
        // More than was ever deposited is never paid, whatever is certified.
        if (paid > state.locked) revert AmountTooLarge(amount);
        states[token] = TokenState(uint112(state.locked - paid), uint112(level - paid), uint32(block.timestamp));
    }

    function _payBoth(address token, address recipient, uint256 amount, address claimer, uint256 fee) private {
        if (amount != 0) _pay(token, recipient, amount);
        if (fee != 0) _pay(token, claimer, fee);
    }

    /// Pays out. What counts is that exactly the amount is gone: USDT on TRON says false when it succeeds.
    function _pay(address token, address to, uint256 amount) private {
        if (token == NATIVE_COIN) {
            (bool sent,) = to.call{value: amount, gas: NATIVE_GAS}("");
            if (!sent) revert PayoutFailed(token);
            return;
        }
        uint256 before = _balance(token);
        bool ok;
        bytes4 selector = IERC20.transfer.selector;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, selector)
            mstore(add(free, 4), to)
            mstore(add(free, 36), amount)
            // What it returns is not looked at.
            ok := call(gas(), token, 0, free, 68, 0, 0)
        }
        if (!ok || _balance(token) + amount != before) revert PayoutFailed(token);
    }

    /// What the gateway holds of a token; a contract that does not say so is no token.
    function _balance(address token) private view returns (uint256 held) {
        bool ok;
        bytes4 selector = IERC20.balanceOf.selector;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, selector)
            mstore(add(free, 4), address())
            ok := staticcall(gas(), token, free, 36, 0, 32)
            ok := and(ok, gt(returndatasize(), 31))
            held := mload(0)
        }
        if (!ok) revert PayoutFailed(token);
    }
}
