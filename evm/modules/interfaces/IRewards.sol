// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title Rewards and slashing, to read
/// @notice Native module at 0x0000000000000000000000000000000000001003. Amounts are in wei of BTT.
interface IRewards {
    /// @notice The pool that pays rewards and the treasury.
    function rewardPool() external view returns (uint256);

    /// @notice Rewards that were allocated and are not claimed yet.
    function outstanding() external view returns (uint256);

    /// @notice Rewards that were claimed since the beginning.
    function paid() external view returns (uint256);

    /// @notice Fees collected for validators in the current epoch.
    function epochFees() external view returns (uint256);

    /// @notice Rewards of an account that wait at a validator; commission included for its owner.
    function pendingRewards(uint32 id, address delegator) external view returns (uint256);

    /// @notice Slashes of a validator: when, and what one wei that was there from the beginning is worth after it (times
    /// 10^30).
    function slashes(uint32 id) external view returns (uint64[] memory times, uint256[] memory factors);

    /// @notice Signatures that a validator missed in its window, and since which height they are counted.
    function missed(uint32 id) external view returns (uint64 blocks, uint64 window, uint64 since);
}
