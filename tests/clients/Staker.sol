// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import "IStaking.sol";
import "IGovernance.sol";
import "IRewards.sol";
import "IBtt.sol";

/// A pool contract as a dApp would write it: stakes what it is sent, votes and claims through the interfaces.
contract Staker {
    IStaking constant STAKING = IStaking(0x0000000000000000000000000000000000001000);
    IGovernance constant GOVERNANCE = IGovernance(0x0000000000000000000000000000000000001002);
    IRewards constant REWARDS = IRewards(0x0000000000000000000000000000000000001003);
    IBtt constant BTT = IBtt(0x0000000000000000000000000000000000001010);

    uint256 public received;
    bool public attack;

    /// Coins that come with a call run this; those that a module pays do not.
    receive() external payable {
        received += 1;
        if (attack) STAKING.withdraw(address(this));
    }

    function arm() external {
        attack = true;
    }

    function stake(uint32 id) external payable returns (uint256 shares) {
        shares = STAKING.delegate{value: msg.value}(id);
        (uint256 owned,,) = STAKING.delegation(id, address(this));
        require(owned >= shares && shares > 0, "shares");
    }

    function unstake(uint32 id, uint256 amount) external returns (uint256) {
        return STAKING.undelegate(id, amount);
    }

    function withdraw() external returns (uint256 paid) {
        uint256 before = address(this).balance;
        paid = STAKING.withdraw(address(this));
        require(address(this).balance == before + paid, "paid");
    }

    function claim(uint32 id) external returns (uint256 amount) {
        uint256 waiting = REWARDS.pendingRewards(id, address(this));
        uint256 before = address(this).balance;
        amount = STAKING.claimRewards(id);
        require(amount == waiting && address(this).balance == before + amount, "claim");
        require(REWARDS.pendingRewards(id, address(this)) == 0, "claimed twice");
        require(STAKING.claimRewards(id) == 0, "again");
    }

    function vote(uint64 id) external returns (uint256) {
        return GOVERNANCE.vote(id, new uint32[](0), IGovernance.Split(10000, 0, 0, 0));
    }

    /// What a refusal looks like to a contract.
    function refused(uint32 id) external payable returns (bytes4 selector, uint32 unknown) {
        try STAKING.delegate{value: msg.value}(id) returns (uint256) {
            revert("accepted");
        } catch (bytes memory data) {
            selector = bytes4(data);
            assembly {
                unknown := mload(add(data, 36))
            }
        }
        require(address(this).balance >= msg.value, "the value comes back");
    }

    /// Stakes, then fails: nothing may stay.
    function stakeAndRevert(uint32 id) external payable {
        STAKING.delegate{value: msg.value}(id);
        revert("changed my mind");
    }

    /// Stakes in a call whose failure is caught.
    function stakeInside(uint32 id) external payable returns (bool) {
        (bool good,) = address(this).call(abi.encodeCall(this.stakeAndRevert, (id)));
        return good;
    }

    /// With so little gas: either all of it happens or nothing.
    function stakeWithGas(uint32 id, uint256 limit) external payable returns (bool good, uint256 used) {
        (uint256 before,,) = STAKING.delegation(id, address(this));
        uint256 balance = address(this).balance;
        uint256 start = gasleft();
        (good,) = address(STAKING).call{value: msg.value, gas: limit}(abi.encodeCall(IStaking.delegate, (id)));
        used = start - gasleft();
        (uint256 afterwards,,) = STAKING.delegation(id, address(this));
        require(good ? afterwards > before : afterwards == before, "half a delegation");
        require(address(this).balance == (good ? balance - msg.value : balance), "half a payment");
    }

    function viaStatic(uint32 id) external view returns (bool read, bool written) {
        (read,) = address(STAKING).staticcall(abi.encodeCall(IStaking.validator, (id)));
        (written,) = address(STAKING).staticcall(abi.encodeCall(IStaking.claimRewards, (id)));
    }

    function viaDelegate(uint32 id) external payable returns (bool good) {
        (good,) = address(STAKING).delegatecall(abi.encodeCall(IStaking.delegate, (id)));
    }

    function valueToNonPayable(uint32 id) external payable returns (bool called, bool sent, bool view_) {
        (called,) = address(STAKING).call{value: msg.value}(abi.encodeCall(IStaking.claimRewards, (id)));
        (sent,) = address(STAKING).call{value: msg.value}("");
        (view_,) = address(REWARDS).call{value: msg.value}(abi.encodeCall(IRewards.paid, ()));
    }

    function malformed() external returns (bool short, bool unknown, bool dirty) {
        (short,) = address(STAKING).call(hex"5c19a9");
        (unknown,) = address(STAKING).call(hex"deadbeef");
        (dirty,) = address(STAKING).call(abi.encodeWithSelector(IStaking.validator.selector, uint256(1) << 200 | 1));
    }

    function codeOf(address module) external view returns (uint256 size) {
        return module.code.length;
    }

    function payOut(address to, uint256 amount) external returns (bool) {
        return BTT.transfer(to, amount);
    }
}
